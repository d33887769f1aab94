"""The ranker: against scikit-learn, and with the join of samples and weights against without."""

import resource
from pathlib import Path

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from sklearn.linear_model import LogisticRegression
from tests.perf.measuring import Figure, by_turns, median_ratio, session
from tests.perf.synthetic import filled
from torch.multiprocessing import get_context

from reweight.config import Run
from reweight.core.tables import SAMPLES, WEIGHTS
from reweight.score_weights.rows import wide_weights
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression as Ranker
from reweight.train_ranker.rows import weighted_train, with_vector

ROWS, NAMES = 1_000_000, ["uniform", "random"]


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Two ratios of time, and one of memory."""
    with session(work) as spark:
        run = filled(spark, work / "ranking", "ranking", ROWS)
        write_weights(run)
        ready = str(work / "ranking" / "ready")
        samples, weights = run.store.read(SAMPLES), run.store.read(WEIGHTS)
        wide = wide_weights(weights, NAMES)
        train = samples.where("split = 'train'").select("sample_id", "features", "label")
        train.join(wide, "sample_id").write.format("delta").mode("overwrite").save(ready)
        table = spark.read.format("delta").load(ready)
        seconds = by_turns(
            {
                "join": lambda: rank(run, weighted_train(samples, wide, (), NAMES)),
                "ready": lambda: rank(run, with_vector(table, ())),
            }
        )
        own = by_turns(
            {"Spark": lambda: rank(run, with_vector(table, ()), NAMES[:1]), "sklearn": sklearn}
        )
    return [
        Figure(
            "ranker with the join / ranker on a ready table (times)",
            median_ratio(seconds["join"], seconds["ready"]),
            "<= 1.3",
            {"rows": ROWS, "seconds": _rounded(seconds)},
        ),
        Figure(
            "Spark LR / scikit-learn (times)",
            median_ratio(own["Spark"], own["sklearn"]),
            "",
            {"rows": ROWS * 6 // 10, "seconds": _rounded(own), "scikit-learn MB": sklearn_memory()},
        ),
    ]


def write_weights(run: Run) -> None:
    samples = run.store.read(SAMPLES).select("sample_id")
    drawn = F.pmod(F.xxhash64("sample_id", F.lit("w")), F.lit(1000)) / 500.0
    recorded = [F.lit(None).cast("float").alias("label"), F.lit(False).alias("in_sample")]
    recorded += [F.lit(None).cast("timestamp").alias("event_time")]
    rows = [
        F.struct(F.lit(name).alias("method"), w.alias("importance"), w.alias("weight"), *recorded)
        for name, w in zip(NAMES, (F.lit(1.0), drawn), strict=True)
    ]
    run.store.write(WEIGHTS, samples.select("sample_id", F.inline(F.array(*rows))))


def rank(run: Run, train: DataFrame, names: list[str] = NAMES) -> None:
    """A ranker on each column of weights, as the stage does it."""
    train = train.persist()
    for name in names:
        Ranker(max_iter=50).fitted(train, name, ROWS * 0.6)
    train.unpersist()


def sklearn() -> None:
    """The same fit by scikit-learn, in a process of its own."""
    with get_context("spawn").Pool(1) as pool:
        pool.apply(_fit)


def sklearn_memory() -> int:
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_fit)


def _fit() -> int:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(ROWS * 6 // 10, 100))
    y = generator.random(len(x)) < 1 / (1 + np.exp(-x[:, :10].sum(1) / 3 + 2.5))
    LogisticRegression(C=1.0, max_iter=50).fit(x, y, sample_weight=np.ones(len(x)))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _rounded(seconds: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(s, 1) for s in own] for name, own in seconds.items()}
