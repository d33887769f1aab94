"""Evaluation with its bootstrap, against one aggregation of the same predictions."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from tests.perf.measuring import Figure, by_turns, median_ratio, session

from reweight.evaluate.comparison import measure as metrics_of
from reweight.evaluate.reduction import reduce_predictions
from reweight.evaluate.section import Evaluation

ROWS, METHODS = 1_000_000, ("uniform", "a", "b", "c")


def measure(work: Path, sizes: tuple[int, ...]) -> list[Figure]:
    """Seconds per million predictions, and how many plain aggregations that is."""
    with session(work) as spark:
        folder = str(work / "predictions")
        predictions(spark).write.mode("overwrite").parquet(folder)
        rows = spark.read.parquet(folder)
        seconds = by_turns({"evaluation": lambda: evaluate(rows), "one pass": lambda: once(rows)})
    count = ROWS * len(METHODS)
    detail = {
        "predictions": count,
        "seconds": {k: [round(s, 1) for s in own] for k, own in seconds.items()},
    }
    ratio = median_ratio(seconds["evaluation"], seconds["one pass"])
    return [Figure("evaluation / one aggregation by method and group (times)", ratio, "", detail)]


def predictions(spark: SparkSession) -> DataFrame:
    row = F.col("id")
    made = spark.range(ROWS).select(
        F.explode(F.array(*[F.lit(m) for m in METHODS])).alias("method"),
        F.xxhash64(row).alias("sample_id"),
        (row % (ROWS // 10)).cast("string").alias("group_id"),
        F.when(row % 20 == 0, "rare").otherwise("main").alias("segment"),
        F.when(row % 2 == 0, "test").otherwise("validation").alias("split"),
    )
    p = F.pmod(F.xxhash64("sample_id", "method"), F.lit(100_000)) / 100_001.0 + 5e-6
    label = (F.pmod(F.xxhash64("sample_id"), F.lit(10)) == 0).cast("float")
    return made.withColumns({"probability": p, "label": label})


def evaluate(rows: DataFrame) -> None:
    section = Evaluation()
    metrics_of(reduce_predictions(rows, section, 0).values, section, "uniform")


def once(rows: DataFrame) -> None:
    mean = rows.groupBy("method", "split", "group_id").agg(F.avg("probability").alias("p"))
    mean.agg(F.sum("p")).collect()
