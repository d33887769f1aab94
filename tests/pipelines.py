"""The tiny line in processes of its own: left alone, on clusters, disturbed; and what it leaves."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock
from pyspark.sql import SparkSession

from reweight.core.run_folder import RunFolder
from reweight.runner.pipeline import PIPELINE

ROOT = Path(__file__).parents[1]
# The Delta package of the Spark under test; the files of conf/spark name that of Spark 4.
DELTA_PACKAGE = run_path(str(ROOT / "scripts" / "spark_defaults.py"))["delta_package"]()
TINY = (
    "run_id=line",
    "simulation.sessions=400",
    "importance=[{method: random}, {method: importance_mlp, training: {epochs: 6}}]",
    "fitting.ranks=2",
    "fitting.batch_size=128",
    "features.history={}",
    "ranking.max_iter=5",
    "ranking.recalibrate=[]",
    "evaluation.replicates=100",
    "weighting.ess_refuse=0",
)
SPARK = {
    "spark.master": "local[2]",
    "spark.driver.memory": "1g",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
}
CLUSTER = {
    "spark.master": "local-cluster[2,1,1024]",
    "spark.executor.memory": "900m",
    # A lost executor is no reason to give a task up.
    "spark.task.maxFailures": "8",
}
SECRET = "not-for-anybodys-eyes"
# Columns that are sums of floats in some order: equal to tolerance; all others to the last bit.
FLOATS = {
    "weights": ["importance", "weight"],
    "predictions": ["probability"],
    "metrics": ["value", "low", "high"],
}
TABLES = ("truth", "events", "rejected", "samples", *FLOATS)
STAGES = tuple(stage.__name__ for stage in PIPELINE)

# Others may not read what a job of this process writes.
UMASK = 0o027


@dataclass(frozen=True)
class Undisturbed:
    """What a run left that was left alone.

    Attributes:
        root: of its tables.
        began: when its process was started, seconds since 1970.
        said: what it printed.
        tables: name -> rows.
    """

    root: Path
    began: float
    said: str
    tables: dict[str, pd.DataFrame]

    def before_training(self, root: Path) -> None:
        """Makes another root a line that is about to train."""
        shutil.copytree(self.root, root)
        shutil.rmtree(root / "runs" / "line" / "models")

    def begun(self) -> dict[str, float]:
        """When the stages began, and the end: seconds after the start of the process."""
        records = [record(self.root, stage) for stage in STAGES]
        starts = [datetime.fromisoformat(r["started"]).timestamp() - self.began for r in records]
        return dict(
            zip((*STAGES, "end"), (*starts, starts[-1] + records[-1]["seconds"]), strict=True)
        )


@contextlib.contextmanager
def shared_folder(basetemp: Path, worker_id: str, name: str) -> Iterator[tuple[Path, bool]]:
    """A folder of all processes that test, and whether this one is the first, which fills it.

    The others wait until it is filled; where that failed, the next one is the first.
    """
    folder = (basetemp if worker_id == "master" else basetemp.parent) / name
    folder.mkdir(exist_ok=True)
    filled = folder / "filled"
    with FileLock(folder.with_suffix(".lock")):
        first = not filled.exists()
        yield folder, first
        filled.touch()


def start(
    root: Path,
    *overrides: str,
    job: str = "pipeline",
    spark: dict[str, str] | None = None,
    home: Path | None = None,
) -> subprocess.Popen[str]:
    """Starts a job on the tiny line."""
    secret = {"spark.hadoop.fs.s3a.secret.key": SECRET}
    settings = json.dumps(SPARK | secret | (spark or {}))
    return subprocess.Popen(
        [
            sys.executable,
            f"jobs/{job}.py",
            "tests/shop.yaml",
            f"root={root}",
            *TINY,
            *overrides,
            f"spark={settings}",
        ],
        cwd=ROOT,
        env=os.environ | {"A_PASSWORD": SECRET} | ({"SPARK_HOME": str(home)} if home else {}),
        umask=UMASK,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str], status: int = 0, timeout: float = 400) -> str:
    """Waits for a job; returns what it printed."""
    said, _ = process.communicate(timeout=timeout)
    assert process.returncode == status, said[-6000:]
    return said


def wait_for(what: Callable[[], Any], timeout: float = 240) -> Any:
    """The first true value of ``what``."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {timeout} s")


def record(root: Path, stage: str) -> dict[str, Any]:
    """The record of a stage; empty where there is none."""
    path = root / "runs" / "line" / "records" / f"{stage}.json"
    return json.loads(path.read_text()) if path.exists() else {}  # type: ignore[no-any-return]


def is_in(root: Path, stage: str) -> bool:
    """Whether the stage is in progress."""
    return record(root, stage).get("status") == "running"


def children(process: subprocess.Popen[str], *words: str) -> list[psutil.Process]:
    """Processes below a job whose command line has all of the words."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            command = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if all(word in command for word in words):
            found.append(child)
    return found


def at_work(process: subprocess.Popen[str], root: Path, stage: str, *words: str) -> psutil.Process:
    """A process below a job, told by its command line, that computes while a stage is running."""

    def spent(child: psutil.Process) -> float:
        with contextlib.suppress(psutil.Error):
            return float(child.cpu_times().user)
        return 0.0

    def found() -> psutil.Process | None:
        assert process.poll() is None
        before = {child: spent(child) for child in children(process, *words)}
        time.sleep(0.1)
        busy = {child for child, seconds in before.items() if spent(child) - seconds > 0.03}
        return next(iter(busy)) if busy and is_in(root, stage) else None

    victim: psutil.Process = wait_for(found)
    return victim


def tasks_lost(events: Path) -> int:
    """Tasks that did not end well, by Spark's own log of its events."""
    files = [path for path in events.rglob("[!.]*") if path.is_file()]
    lines = [line for path in files for line in path.read_text().splitlines()]
    ended = [event for line in lines if (event := json.loads(line))["Event"].endswith("TaskEnd")]
    return sum(event["Task End Reason"]["Reason"] != "Success" for event in ended)


def tables(
    spark: SparkSession, root: Path, names: Iterable[str] = TABLES
) -> dict[str, pd.DataFrame]:
    """The tables of a root, as frames in an order of their own; they are tiny."""
    found = {}
    for name in names:
        rows = spark.read.format("delta").load(f"{root}/tables/{name}").toPandas()
        exact = rows.drop(columns=FLOATS.get(name, [])).map(str)
        # Files carry names of their own, and the folder of the raw log is the run's. A p-value
        # follows from the other numbers, and moves much where a difference is next to nothing.
        exact = exact.drop(columns=["source_file", "p"], errors="ignore")
        floats = rows[FLOATS.get(name, [])].astype(float)
        found[name] = (
            pd.concat([exact, floats], axis=1)
            .sort_values(list(exact.columns))
            .reset_index(drop=True)
        )
    return found


def assert_same_tables(came: dict[str, pd.DataFrame], expected: dict[str, pd.DataFrame]) -> None:
    """Demands that what came has the rows that were expected; sums of floats to tolerance."""
    for name in came:
        wanted = expected[name]
        own = FLOATS.get(name, [])
        assert len(wanted) > 0, name
        pd.testing.assert_frame_equal(
            came[name].drop(columns=own), wanted.drop(columns=own), obj=name
        )
        for column in own:
            np.testing.assert_allclose(
                came[name][column], wanted[column], rtol=1e-4, atol=1e-6, err_msg=name
            )


def assert_nothing_left(root: Path) -> None:
    """Demands that no temporary file stays, and that the records are complete."""
    folder = root / "runs" / "line"
    assert not list(folder.rglob("*.part"))
    for name in ("snapshot", "models/checkpoint.pt", "models/ranks", "owner.json"):
        path = folder / name
        assert not path.exists() or (path.is_dir() and not any(path.iterdir())), name
    assert not RunFolder.of(str(root), "line").scratch.exists()
    assert {record(root, stage)["status"] for stage in STAGES} == {"done"}
    epochs = json.loads((folder / "models" / "curves.json").read_text())
    assert [e["epoch"] for e in epochs["importance_mlp_robust"]] == [1, 2, 3, 4, 5, 6]
