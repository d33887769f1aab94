"""Samples of any size that did not go through the line: a hash of the row's number."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import FeatureStats
from reweight.config import Run, load_config
from reweight.core.files import write_json
from reweight.core.tables import SAMPLES

DIM = 100
CONFIG = str(Path(__file__).parents[1] / "shop.yaml")


def samples(spark: SparkSession, rows: int, dim: int = DIM, partitions: int = 8) -> DataFrame:
    """Rows of the table ``samples``: 60 % train, 20 % validation, 20 % test; 10 % positive."""
    row = F.col("id")
    features = F.transform(
        F.sequence(F.lit(1), F.lit(dim)),
        lambda j: ((F.xxhash64(row, j) % 1000) / 500.0).cast("float"),
    )
    place = row % 10
    split = F.when(place < 6, "train").when(place < 8, "validation").otherwise("test")
    made = spark.range(0, rows, 1, partitions).select(
        F.xxhash64(row).alias("sample_id"),
        F.xxhash64(row % (rows // 5 + 1), F.lit("group")).cast("string").alias("group_id"),
        F.timestamp_seconds(F.lit(1_700_000_000) + row % 86_400).alias("event_time"),
        features.alias("features"),
        split.alias("split"),
        F.lit(True).alias("mature"),
        F.lit(False).alias("target"),
        F.array().cast("array<int>").alias("ids"),
    )
    z = F.aggregate(F.slice("features", 1, 10), F.lit(0.0), lambda a, x: a + x) / 3 - 2.5
    chance = F.pmod(F.xxhash64("sample_id", F.lit("label")), F.lit(10_000)) / 10_000
    none = {
        "label_time": "timestamp",
        "undo_time": "timestamp",
        "elapsed": "double",
        "delay": "double",
        "undone": "double",
        "segment": "string",
        "position": "int",
        "propensity": "double",
        "value": "double",
        "kept": "string",
        "design_weight": "double",
    }
    return made.withColumns(
        {
            "label": (chance < 1 / (1 + F.exp(-z))).cast("float"),
            **{name: F.lit(None).cast(kind) for name, kind in none.items()},
        }
    )


def open_run(spark: SparkSession, root: Path, run_id: str, *overrides: str, dim: int = DIM) -> Run:
    """A run whose table ``samples`` is still to be written."""
    names = (f"root={root}", f"run_id={run_id}", "ranking.recalibrate=[]", "weighting.ess_refuse=0")
    run = Run.open(spark, load_config(CONFIG, (*names, *overrides)))
    run.folder.path.mkdir(parents=True, exist_ok=True)
    stats = FeatureStats(
        names=tuple(f"f{i}" for i in range(dim)), scaling={}, vocabulary={}, cardinalities={}
    )
    write_json(run.folder.features, stats.model_dump())
    return run


def filled(spark: SparkSession, root: Path, run_id: str, rows: int, *overrides: str) -> Run:
    """A run with its table ``samples``."""
    run = open_run(spark, root, run_id, *overrides)
    columns = SAMPLES.columns()
    assert columns is not None
    run.store.write(SAMPLES, samples(spark, rows).select(*columns.names[1:]))
    return run
