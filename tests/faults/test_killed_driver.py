"""A driver killed at any moment: started again, it leaves what an undisturbed one leaves."""

import os
import random
import signal
from pathlib import Path
from subprocess import TimeoutExpired

import pytest
from lines import (
    Undisturbed,
    assert_nothing_left,
    assert_same_tables,
    finish,
    is_in,
    record,
    start,
    tables,
    wait_for,
)
from pyspark.sql import SparkSession

KILLS = int(os.environ.get("REWEIGHT_KILLS", "5"))
SEED = int(os.environ.get("REWEIGHT_SEED", "0"))

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.mark.parametrize("number", range(KILLS))
def test_a_killed_run_started_again_ends_as_if_it_had_not_been_killed(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path, number: int
) -> None:
    # One moment in each equal part of the time, so that few kills reach all stages.
    drawn = random.Random(SEED * 10_000 + number).random()
    moment = undisturbed.seconds * (number + drawn) / KILLS
    root = tmp_path / "root"
    process = start(root)
    try:
        process.communicate(timeout=moment)
    except TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    finish(start(root))
    assert_same_tables(tables(spark, root), undisturbed.tables)
    assert_nothing_left(root)


def test_the_record_of_a_stage_says_that_it_was_killed_before(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    process = start(root)
    wait_for(lambda: is_in(root, "build_samples"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = finish(start(root))
    assert "taking up the last attempt" in said
    assert "[1/8]" not in said
    assert [e["status"] for e in record(root, "build_samples")["earlier"]] == ["killed"]
    assert record(root, "clean_logs")["earlier"] == []
    assert_same_tables(tables(spark, root), undisturbed.tables)
