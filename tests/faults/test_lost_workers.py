"""Executors and Python workers that are killed while they clean, train and score."""

from pathlib import Path

import psutil
import pytest
from lines import (
    Undisturbed,
    assert_nothing_left,
    assert_same_tables,
    children,
    finish,
    is_in,
    start,
    tables,
    wait_for,
)
from pyspark.sql import SparkSession

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

CLUSTER = {
    "spark.master": "local-cluster[2,1,1024]",
    "spark.executor.memory": "900m",
    # A lost executor is no reason to give a task up.
    "spark.task.maxFailures": "8",
}


def kill(victims: list[psutil.Process]) -> None:
    for victim in victims:
        victim.kill()


def test_executors_killed_in_three_stages_change_nothing(
    spark: SparkSession, undisturbed: Undisturbed, spark_home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    process = start(root, spark=CLUSTER, home=spark_home)
    for stage in ("clean_logs", "fit_importance", "score_weights"):
        wait_for(lambda stage=stage: is_in(root, stage))  # type: ignore[misc]
        executor = wait_for(lambda: children(process, "CoarseGrainedExecutorBackend"))[0]
        kill([executor])
    finish(process)
    assert_same_tables(tables(spark, root), undisturbed.tables)
    assert_nothing_left(root)


def test_a_python_worker_killed_while_scoring_is_replaced(
    spark: SparkSession, undisturbed: Undisturbed, spark_home: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    process = start(root, spark=CLUSTER, home=spark_home)
    wait_for(lambda: is_in(root, "score_weights"))
    kill(wait_for(lambda: children(process, "pyspark.daemon") or not is_in(root, "score_weights")))
    finish(process)
    assert_same_tables(tables(spark, root), undisturbed.tables)
