"""A small run of the whole line, made once and looked at by many tests."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.config import load_config
from reweight.runs import Run, run_stage
from reweight.stages import PIPELINE

SMALL = (
    "simulation.sessions=600",
    "importance.2.epochs=3",
    "importance.3.epochs=2",
    "fitting.batch_size=256",
    "fitting.ranks=1",
    "features.categorical.item.buckets=32",
    "ranking.max_iter=20",
    "evaluation.replicates=100",
    "evaluation.buckets=40",
)

OpenRun = Callable[..., Run]


@pytest.fixture(scope="session")
def open_run(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> OpenRun:
    """Opens a run of the small demo; further overrides go over it."""
    root = tmp_path_factory.mktemp("runs")

    def opened(run_id: str, *overrides: str) -> Run:
        demo = Path(__file__).parents[2] / "conf" / "demo.yaml"
        names = (f"run_id={run_id}", f"root={root}")
        return Run.open(spark, load_config(str(demo), (*names, *SMALL, *overrides)))

    return opened


@pytest.fixture(scope="session")
def run(open_run: OpenRun) -> Run:
    """A run that has been through every stage."""
    opened = open_run("first")
    for stage in PIPELINE:
        run_stage(opened, stage)
    return opened
