"""A driver killed at any moment: started again, it leaves what an undisturbed one leaves."""

import os
import random
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import (
    STAGES,
    Undisturbed,
    assert_nothing_left,
    assert_same_tables,
    finish,
    record,
    start,
    tables,
    wait_for,
)

KILLS = int(os.environ.get("REWEIGHT_KILLS", "5"))
# Of a line that is killed more than once, each attempt goes on where the one before ended.
RUNS = int(os.environ.get("REWEIGHT_RUNS", "1"))
SEED = int(os.environ.get("REWEIGHT_SEED", "0"))

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


def moments(line: int, end: float) -> list[float]:
    """When to kill a line: of all kills, one in each equal part of the time."""
    return [
        end * (number + random.Random(SEED * 10_000 + number).random()) / KILLS
        for number in range(line, KILLS, RUNS)
    ]


def run_until(root: Path, begun: dict[str, float], moment: float) -> None:
    """Starts the line and kills it at a moment of the undisturbed one, which was faster or slower.

    Args:
        root: of its tables.
        begun: when the stages of the undisturbed line began, seconds after its start.
        moment: seconds after its start.
    """
    before, own, process = states(root, "started"), time.monotonic(), start(root)
    stage = next((stage for stage in reversed(STAGES) if begun[stage] <= moment), None)
    if stage is None:
        time.sleep(moment)
    else:
        wait_for(lambda: states(root, "started") != before)
        slower = (time.monotonic() - own) / begun[STAGES[0]]
        wait_for(
            lambda: (
                states(root, "started")[stage] != before[stage]
                or states(root, "status")[stage] == "done"
            )
        )
        time.sleep(slower * (moment - begun[stage]))
    process.kill()
    process.wait()


def states(root: Path, what: str) -> dict[str, str | None]:
    """An entry of the records of all stages."""
    return {stage: record(root, stage).get(what) for stage in STAGES}


@pytest.mark.parametrize("line", range(RUNS))
def test_a_killed_run_started_again_ends_as_if_it_had_not_been_killed(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path, line: int
) -> None:
    root, begun = tmp_path / "root", undisturbed.begun()
    killed: list[str] = []
    for moment in moments(line, begun["end"]):
        run_until(root, begun, moment)
        left = states(root, "status")
        killed += [stage for stage, status in left.items() if status == "running"]
    said = finish(start(root))
    assert_same_tables(tables(spark, root), undisturbed.tables)
    assert_nothing_left(root)
    if "done" not in left.values() or left["report"] == "done":
        return
    # What was done is not done again, and the record of what was not says that it was killed.
    assert "since nothing that they depend on has changed" in said
    for place, (stage, status) in enumerate(left.items(), 1):
        assert (f"[{place}/{len(STAGES)}]" in said) == (status != "done"), (left, said)
        earlier = [attempt["status"] for attempt in record(root, stage)["earlier"]]
        assert earlier == ["killed"] * killed.count(stage), (stage, killed)
