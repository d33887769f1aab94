"""What a stage is run with."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.config import Run, load_config
from reweight.core.run import Summary
from reweight.core.session import FEW
from reweight.runner.records import run_stage

SHOP = str(Path(__file__).parents[1] / "shop.yaml")
ADAPTIVE = "spark.sql.adaptive.enabled"


@pytest.mark.parametrize(("raw", "expected"), [(FEW, "false"), (FEW + 1, "true")])
def test_stages_after_the_log_was_counted_are_planned_for_its_rows(
    spark: SparkSession, tmp_path: Path, raw: int, expected: str
) -> None:
    seen = []

    def clean_logs(run: Run) -> Summary:
        seen.append(run.spark.conf.get(ADAPTIVE))
        return {"raw": raw}

    def later(run: Run) -> Summary:
        seen.append(run.spark.conf.get(ADAPTIVE))
        return {}

    run = Run.open(spark, load_config(SHOP, [f"root={tmp_path}"]))
    before = spark.conf.get(ADAPTIVE)
    spark.conf.set(ADAPTIVE, "true")
    try:
        for stage in (clean_logs, later):
            run_stage(run, stage, (clean_logs, later))
        assert seen == ["true", expected]
        assert spark.conf.get(ADAPTIVE) == "true"
    finally:
        spark.conf.set(ADAPTIVE, str(before))
