"""Stages that are started before the ones that they read from."""

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.build_samples.stage import build_samples
from reweight.config import Run, load_config
from reweight.core.errors import TableError
from reweight.core.run import Stage
from reweight.diagnose.stage import diagnose
from reweight.evaluate.stage import evaluate
from reweight.explain.stage import explain
from reweight.fit_importance.stage import fit_importance
from reweight.report.stage import report
from reweight.score_weights.stage import score_weights
from reweight.train_ranker.stage import train_ranker
from reweight.tune.stage import tune

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
    demo = Path(__file__).parents[1] / "shop.yaml"
    run = Run.open(spark, load_config(str(demo), (f"root={tmp_path}",)))
    with pytest.raises(TableError, match=f"run the stage '{first}' first"):
        stage(run)
