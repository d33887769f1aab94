"""Days whose job is killed at any moment, and started again, leave the same tables."""

import os
import random
import shutil
import subprocess
import time
from datetime import date, timedelta
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import assert_same_tables, finish, start, tables, wait_for
from reweight.core.run_folder import RunFolder
from reweight.daily.days import read_days

KILLS = int(os.environ.get("REWEIGHT_KILLS", "5"))
SEED = int(os.environ.get("REWEIGHT_SEED", "0"))
FIRST = date(2026, 1, 5)
DAYS = [FIRST + timedelta(number) for number in range(10)]
HISTORY = {
    "keys": ["user_id"],
    "counts": {"shown": "event_type = 'impression'"},
    "windows": ["2 days", "all"],
    "grain": "1 hour",
}
LOG = (
    f"simulation={{by_day: true, days: {4 + len(DAYS)}, users: 60, items: 40}}",
    "simulation.sessions=700",
    "importance=[{method: random}, {method: class_balanced}]",
    "sampling.label.window=6 hours",
    'splits={by: time, shares: null, cuts: ["2026-01-03", "2026-01-04"]}',
    f"features.history={{user: {HISTORY}}}",
)
REFERENCE = ("run_id=reference", f"cleaning.sources.log.where=ts < '{FIRST}'")
DONE = "done"
NAMES = ("events", "rejected", "history", "samples", "weights")

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]


def test_days_whose_job_is_killed_are_days_whose_job_is_not(
    spark: SparkSession, tmp_path: Path
) -> None:
    root, killed = tmp_path / "root", tmp_path / "killed"
    finish(start(root, *LOG, *REFERENCE))
    shutil.copytree(root, killed)
    process = begin(root)
    wait_for(lambda: status(root, DAYS[0]))
    began = time.monotonic()
    finish(process)
    a_day = (time.monotonic() - began) / len(DAYS)

    chance = random.Random(SEED)
    for number in range(KILLS):
        day, part = divmod(len(DAYS) * (number + chance.random()) / KILLS, 1)
        kill_at(killed, DAYS[int(day)], part * a_day)
    finish(begin(killed))
    assert {status(killed, day) for day in DAYS} == {DONE}
    assert_same_tables(tables(spark, killed, NAMES), tables(spark, root, NAMES))


def begin(root: Path) -> subprocess.Popen[str]:
    """Starts the job that takes all days; those that are done it leaves alone."""
    span = f"begin: '{DAYS[0]}', end: '{DAYS[-1]}'"
    section = f"{{first: '{FIRST}', paths: {{log: '{root}/raw/day={{day}}'}}, {span}}}"
    return start(root, *LOG, "model_run_id=reference", f"daily={section}", job="daily")


def kill_at(root: Path, day: date, seconds: float) -> None:
    """Starts the job and kills it so long after it has begun with a day."""
    note = RunFolder.of(str(root), "line").day(str(day))
    now, process = time.time(), begin(root)
    wait_for(lambda: process.poll() is not None or written(note) > now or status(root, day) == DONE)
    time.sleep(seconds)
    process.kill()
    process.wait()


def written(path: Path) -> float:
    """When a file was written; 0 if there is none."""
    return path.stat().st_mtime if path.exists() else 0


def status(root: Path, day: date) -> str | None:
    """What the run has noted of a day."""
    noted = read_days(RunFolder.of(str(root), "line")).get(day)
    return noted and noted.status
