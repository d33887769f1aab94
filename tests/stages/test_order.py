"""Stages that are started before the ones that they read from."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.config import load_config
from reweight.errors import TableError
from reweight.runs import Run, Stage
from reweight.stages import (
    build_samples,
    diagnose,
    evaluate,
    explain,
    fit_importance,
    report,
    score_weights,
    train_ranker,
    tune,
)

READING = {
    build_samples: "clean_logs",
    fit_importance: "build_samples",
    score_weights: "build_samples",
    train_ranker: "build_samples",
    evaluate: "train_ranker",
    report: "evaluate",
    diagnose: "clean_logs",
    explain: "build_samples",
    tune: "build_samples",
}


@pytest.mark.parametrize(("stage", "first"), READING.items(), ids=[one.__name__ for one in READING])
def test_a_stage_that_comes_too_early_names_the_one_to_run_first(
    spark: SparkSession, tmp_path: Path, stage: Stage, first: str
) -> None:
    demo = Path(__file__).parents[2] / "conf" / "demo.yaml"
    run = Run.open(spark, load_config(str(demo), (f"root={tmp_path}",)))
    with pytest.raises(TableError, match=f"run the stage '{first}' first"):
        stage(run)
