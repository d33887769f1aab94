"""What the docs promise of every session, in one process; leaves its tables and prints a summary.

python tests/connect/everything.py ROOT '{"spark.remote": "local[2]"}'
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import reweight
from pipelines import TABLES, TINY
from reweight.config import Run, RunConfig, read_config
from reweight.core.session import spark_session
from reweight.diagnose.stage import diagnose
from reweight.explain.stage import explain
from reweight.runner.records import run_stage
from reweight.spark_ml import SampleWeighter
from reweight.tune.stage import tune

NUMBERS = ["x0", "x1"]


def main(root: Path, settings: dict[str, str]) -> dict[str, Any]:
    root.mkdir(parents=True)
    warehouse = {"spark.sql.warehouse.dir": str(root / "warehouse")}
    spark = spark_session(root / "spark.log", settings | warehouse)
    seconds, began = {}, time.monotonic()

    def lap(name: str) -> None:
        seconds[name] = round(time.monotonic() - began - sum(seconds.values()), 1)

    try:
        catalog = "spark_catalog.everything"
        spark.sql(f"CREATE SCHEMA {catalog}")
        overrides = (
            *TINY,
            f"root={root}",
            f"catalog={catalog}",
            "tuning={method: importance_mlp_robust, values: [0.1, 1.0]}",
        )
        view = reweight.run("tests/shop.yaml", *overrides)
        lap("pipeline")
        run = Run.open(spark, read_config(RunConfig, "tests/shop.yaml", overrides))
        for stage in (diagnose, explain, tune):
            run_stage(run, stage)
            lap(stage.__name__)
        view.show()
        tables = root / "tables"
        tables.mkdir(exist_ok=True)
        for name in (*TABLES, "attributions"):
            rows = view.table(name).toPandas()
            rows.attrs.clear()  # Spark Connect notes there what pandas cannot write
            rows.to_parquet(tables / f"{name}.parquet")
        weights = weighted(spark, root)
        lap("spark_ml")
        records = {name: record["status"] for name, record in view.records.items()}
        return {
            "session": type(spark).__module__,
            "records": records,
            "metrics": len(view.metrics),
            "weights": weights,
            "seconds": seconds,
        }
    finally:
        spark.stop()


def weighted(spark: SparkSession, root: Path) -> list[float]:
    """The weights that an estimator in a pipeline gives, stored and read in between."""
    noise = (F.xxhash64("id") % 1000 / 1000).alias("x0")
    rows = spark.range(600).select("id", noise, (F.col("id") % 7 / 7).alias("x1"))
    rows = rows.withColumn("label", (F.col("x0") + F.col("x1") > 0.6).cast("double"))
    weighter = SampleWeighter(
        method="self_confidence",
        methodOptions={"training": {"epochs": 3, "members": 4, "hidden": [8]}},
        # Elsewhere the ranks are on executors.
        fitting={"batch_size": 64, "shards": 1, "where": "driver"},
        scratchDir=str(root / "scratch"),
    )
    assembler = VectorAssembler(inputCols=NUMBERS, outputCol="features")
    model = Pipeline(stages=[assembler, weighter, LogisticRegression(weightCol="weight")]).fit(rows)
    model.write().overwrite().save(str(root / "model"))
    again = PipelineModel.load(str(root / "model"))
    found = again.transform(rows).orderBy("id").select("weight").limit(50).collect()
    return [row["weight"] for row in found]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
