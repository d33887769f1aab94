"""How things are measured: by turns, in processes of their own, with their memory."""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from pyspark.sql import SparkSession

from reweight.core.session import spark_session

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Figure:
    """One measured ratio.

    Attributes:
        name: what over what.
        value: the ratio.
        goal: what it should be, as ">= 0.8"; empty where there is none.
        detail: the measurements behind it.
    """

    name: str
    value: float
    goal: str = ""
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def bound(self) -> float | None:
        """The number of the goal."""
        return float(self.goal.split()[1]) if self.goal else None

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.goal.startswith(">=") else self.value <= self.bound

    def __str__(self) -> str:
        mark = {True: " reached", False: " MISSED", None: ""}[self.reached]
        return f"{self.name}: {self.value:.3f} {self.goal}{mark}  {self.detail}"


def by_turns(things: dict[str, Callable[[], Any]], rounds: int = 3) -> dict[str, list[float]]:
    """Seconds of each thing, taken in turn, so that a busy moment of the machine hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, thing in things.items():
            begin = time.monotonic()
            thing()
            seconds[name].append(time.monotonic() - begin)
    return seconds


def median_ratio(above: list[float], below: list[float]) -> float:
    """The median of the ratios of the rounds."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


@contextmanager
def session(folder: Path, **settings: str) -> Iterator[SparkSession]:
    """A session on two cores."""
    own = {"spark.master": "local[2]", "spark.driver.memory": "4g"}
    spark = spark_session(folder / "spark.log", own | settings, folder / "scratch")
    try:
        yield spark
    finally:
        spark.stop()


class Memory:
    """Peak memory of a process and of those below it, by kind, in MB: pages of theirs alone.

    Pages of libraries are left out: whether they are a process's own depends on who else runs.
    """

    KINDS = {
        "CoarseGrainedExecutorBackend": "executor",
        "SparkSubmit": "driver (JVM)",
        "PythonGatewayServer": "driver (JVM)",
        "torch.distributed.run": "torchrun",
        "pyspark.daemon": "Python worker",
        "pyspark/daemon": "Python worker",
        "jobs/": "driver (Python)",
    }

    def __init__(self, pid: int) -> None:
        self.peak: dict[str, float] = {}
        self._process, self._stop = psutil.Process(pid), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, float]:
        """Ends the watch."""
        self._stop.set()
        self._thread.join()
        return {kind: round(peak / 2**20) for kind, peak in sorted(self.peak.items())}

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            try:
                for one in (self._process, *self._process.children(recursive=True)):
                    self._look(one)
            except psutil.Error:
                continue

    def _look(self, process: psutil.Process) -> None:
        try:
            command = " ".join(process.cmdline())
            kind = next((v for k, v in self.KINDS.items() if k in command), "rank")
            used = sum(part.private_dirty for part in process.memory_maps())
        except psutil.Error:
            return
        self.peak[kind] = max(self.peak.get(kind, 0), used)


def run_job(
    job: str,
    config: str,
    *overrides: str,
    spark: dict[str, str] | None = None,
    force: bool = True,
) -> dict[str, float]:
    """Runs a job in a process of its own; returns its peak memory in MB by kind of process."""
    settings = {"spark.master": "local[2]", "spark.driver.memory": "3g"} | (spark or {})
    process = subprocess.Popen(
        [
            sys.executable,
            f"jobs/{job}.py",
            *(["--force"] if force else []),
            config,
            *overrides,
            f"spark={json.dumps(settings)}",
        ],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    memory = Memory(process.pid)
    said, _ = process.communicate()
    peak = memory.stop()
    if process.returncode:
        raise RuntimeError(said[-4000:])
    return peak


def stage_seconds(root: Path, run_id: str) -> dict[str, float]:
    """Seconds of each stage of a run, from its records."""
    records = (root / "runs" / run_id / "records").glob("*.json")
    return {path.stem: json.loads(path.read_text())["seconds"] for path in records}
