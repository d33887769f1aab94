"""Executors and Python workers that are killed while they clean and score."""

import shutil
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import (
    CLUSTER,
    Undisturbed,
    assert_nothing_left,
    assert_same_tables,
    at_work,
    finish,
    start,
    tables,
    tasks_lost,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("stages", "victim"),
    [
        (("clean_logs", "score_weights"), "CoarseGrainedExecutorBackend"),
        (("score_weights",), "pyspark.daemon"),
    ],
    ids=["executors", "a Python worker"],
)
def test_what_is_killed_at_work_is_replaced_and_changes_nothing(
    spark: SparkSession,
    undisturbed: Undisturbed,
    spark_home: Path,
    tmp_path: Path,
    stages: tuple[str, ...],
    victim: str,
) -> None:
    root, events = tmp_path / "root", tmp_path / "events"
    events.mkdir()
    settings = {
        "spark.eventLog.enabled": "true",
        "spark.eventLog.compress": "false",
        "spark.eventLog.dir": events.as_uri(),
        # Tasks are long where each has to import what it needs.
        "spark.python.worker.reuse": "false",
    }
    shutil.copytree(undisturbed.root, root)
    for stage in stages:
        process = start(root, job=stage, spark=CLUSTER | settings, home=spark_home)
        at_work(process, root, stage, victim).kill()
        finish(process)
    # A task may end between the look and the kill, but not at each.
    assert tasks_lost(events) >= 1
    assert_same_tables(tables(spark, root), undisturbed.tables)
    assert_nothing_left(root)
