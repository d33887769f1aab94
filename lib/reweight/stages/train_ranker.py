"""The stage train_ranker."""

from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.ranking import (
    Ranker,
    check_training,
    fit_ranker,
    recalibrated,
    with_probabilities,
    with_vector,
)
from reweight.run import Run, write_json
from reweight.stages.build_samples import read_stats
from reweight.stages.score_weights import read_policies
from reweight.tables import PREDICTIONS, SAMPLES, WEIGHTS
from reweight.weighting import wide_weights

RANKERS = "rankers"


def train_ranker(run: Run) -> dict[str, Any]:
    """Trains a weighted logistic regression per method and predicts validation and test rows."""
    samples = run.store.read(SAMPLES)
    cardinalities = tuple(read_stats(run).cardinalities.values())
    train = weighted_train(run, samples, run.store.read(WEIGHTS), cardinalities)
    train = train.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        rankers = fit_rankers(run, train)
    finally:
        train.unpersist()
    judged = samples.where("split in ('validation', 'test')")
    rows = run.store.write(PREDICTIONS, predictions(judged, rankers, cardinalities))
    for name, ranker in rankers.items():
        folder = run.folder / RANKERS / name
        ranker.model.write().overwrite().save(str(folder.absolute()))
        write_json(folder / "shift.json", ranker.shift)
    iterations = {name: r.model.summary.totalIterations for name, r in rankers.items()}
    return {"predictions": rows, "iterations": iterations}


def weighted_train(
    run: Run, samples: DataFrame, weights: DataFrame, cardinalities: tuple[int, ...]
) -> DataFrame:
    """Training rows: ``label``, ``vector`` and a column of weights per method."""
    names = [m.name for m in run.config.importance]
    train = samples.where("split = 'train'")
    train = train.join(wide_weights(weights, names), on="sample_id", how="inner")
    train = with_vector(train, cardinalities)
    return train.select(F.col("label").cast("double"), "vector", *names)


def fit_rankers(run: Run, train: DataFrame) -> dict[str, Ranker]:
    """One ranker per method, each on its own weights of the same rows."""
    section, methods = run.config.ranking, run.config.importance
    names = [m.name for m in methods]
    sums = check_training(train, names, run.config.weighting.ess_refuse)
    policies = read_policies(run)
    rankers = {}
    for method in methods:
        total = policies[method.name].raw_sum if method.keeps_scale else sums[method.name]
        ranker = fit_ranker(train, method.name, total, section)
        if method.name in section.recalibrate:
            ranker = recalibrated(ranker, train)
        rankers[method.name] = ranker
        run.say(f"{method.name}: {ranker.model.summary.totalIterations} iterations")
    return rankers


def predictions(
    samples: DataFrame, rankers: dict[str, Ranker], cardinalities: tuple[int, ...]
) -> DataFrame:
    """Rows of the table ``predictions``: one per sample and method."""
    wide = with_vector(samples, cardinalities).transform(with_probabilities, rankers)
    long = F.array(
        *[F.struct(F.lit(n).alias("method"), F.col(n).alias("probability")) for n in rankers]
    )
    return wide.select("sample_id", "group_id", "segment", "split", "label", F.inline(long))
