"""The stage train_ranker.

Reads:
    The tables ``samples`` and ``weights``.

Writes:
    The table ``predictions`` of validation and test rows, and ``rankers/<method>``: Spark ML's
    model and the shift of its intercept.

Refuses:
    Weights that are null, negative or not finite, soft labels outside of [0, 1], a class without
    weight, and an ESS below ``weighting.ess_refuse``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.columns import soft_label
from reweight.importance import ImportanceMethod
from reweight.ranking import (
    Ranker,
    check_training,
    doubled,
    fit_ranker,
    gathered,
    recalibrated,
    with_probabilities,
    with_vector,
)
from reweight.runs import Run, write_json
from reweight.stages.build_samples import read_stats
from reweight.stages.score_weights import read_policies
from reweight.tables import PREDICTIONS, SAMPLES, WEIGHTS
from reweight.weighting import PolicyStats, wide_weights

RANKERS = "rankers"


def train_ranker(run: Run) -> dict[str, Any]:
    """Trains a weighted logistic regression per method and predicts validation and test rows."""
    samples = run.store.read(SAMPLES)
    cardinalities = tuple(read_stats(run).cardinalities.values())
    names = [m.name for m in run.config.importance]
    soft = [m.name for m in run.config.importance if m.soft]
    wide = wide_weights(run.store.read(WEIGHTS), names, soft)
    train = weighted_train(samples, wide, cardinalities, names, soft)
    # In memory Spark ML holds blocks of its own while it iterates: ours would crowd them out.
    train = train.persist(StorageLevel.DISK_ONLY)
    try:
        rankers = fit_rankers(
            run,
            train,
            run.config.importance,
            read_policies(run),
            floor=run.config.weighting.ess_refuse,
        )
        expanded = {name: doubled(train, name).count() for name in soft}
    finally:
        train.unpersist()
    judged = samples.where("split in ('validation', 'test')")
    rows = run.store.write(PREDICTIONS, predictions(judged, rankers, cardinalities))
    for name, ranker in rankers.items():
        folder = run.folder / RANKERS / name
        ranker.model.write().overwrite().save(str(folder.absolute()))
        write_json(folder / "shift.json", ranker.shift)
    summary = {
        "predictions": rows,
        "iterations": {n: _iterations(run, r) for n, r in rankers.items()},
    }
    return summary | ({"rows of soft labels": expanded} if expanded else {})


def weighted_train(
    samples: DataFrame,
    wide: DataFrame,
    cardinalities: tuple[int, ...],
    names: list[str],
    soft: Sequence[str] = (),
) -> DataFrame:
    """Training rows: ``label``, ``vector``, weights per method, and labels per soft method."""
    train = samples.where("split = 'train'")
    size: Any = train.agg(F.count("*"), F.max(F.size("features"))).first()
    joined = with_vector(train.join(wide, on="sample_id", how="inner"), cardinalities)
    labels = [F.col(name).cast("double").alias(name) for name in ("label", *map(soft_label, soft))]
    joined = joined.select(*labels, "vector", *names)
    return gathered(joined, size[0], size[1] + len(cardinalities))


def fit_rankers(
    run: Run,
    train: DataFrame,
    methods: Sequence[ImportanceMethod],
    policies: Mapping[str, PolicyStats],
    *,
    floor: float,
) -> dict[str, Ranker]:
    """One ranker per method, each on its own weights of the same rows."""
    section = run.config.ranking
    soft = [m.name for m in methods if m.soft]
    sums = check_training(train, [m.name for m in methods], floor, soft)
    rankers = {}
    for method in methods:
        total = policies[method.name].raw_sum if method.keeps_scale else sums[method.name]
        rows = doubled(train, method.name) if method.soft else train
        ranker = fit_ranker(rows, method.name, total, section)
        if method.name in section.recalibrate:
            own = F.col(soft_label(method.name) if method.soft else "label")
            ranker = recalibrated(ranker, train.withColumn("label", own))
        rankers[method.name] = ranker
        run.say(f"{method.name}: fitted, iterations {_iterations(run, ranker)}")
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


def _iterations(run: Run, ranker: Ranker) -> str:
    done = ranker.model.summary.totalIterations
    return (
        f"{done}, the limit (ranking.max_iter)"
        if done == run.config.ranking.max_iter
        else str(done)
    )
