"""A run in progress: what every stage is given, and the record that it leaves."""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from reweight.config import RunConfig
from reweight.tables import Store

Summary = Mapping[str, Any]


@dataclass
class Run:
    """A config, a session and the run's places.

    Attributes:
        spark: the session.
        config: the whole config; a stage reads its own section.
        store: the run's slices of the tables.
    """

    spark: SparkSession
    config: RunConfig
    store: Store

    @classmethod
    def open(cls, spark: SparkSession, config: RunConfig) -> "Run":
        """Starts a run or takes one up again."""
        root = str(Path(config.root).absolute())  # Delta's SQL knows no relative path
        run = cls(spark, config, Store(spark, root, config.run_id))
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / "config.json", config.model_dump(mode="json"))
        return run

    @property
    def folder(self) -> Path:
        """What the run leaves beside the tables: models, statistics, records, the report."""
        return run_folder(self.config.root, self.config.run_id)

    def say(self, text: str) -> None:
        """Prints a line of progress."""
        print(f"  {text}", flush=True)


Stage = Callable[[Run], Summary]


def run_folder(root: str, run_id: str) -> Path:
    """``<root>/runs/<run_id>``: on a cluster a path that driver and executors share."""
    return Path(root) / "runs" / run_id


def run_stage(run: Run, stage: Stage) -> Summary:
    """Runs one stage and writes its record, also when it fails.

    Returns:
        What the stage said of itself: counts by name.
    """
    name = stage.__name__
    record = {
        "stage": name,
        "run_id": run.config.run_id,
        "config_hash": run.config.hash(),
        "revision": revision(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    store = run.store
    store.lineage = {"stage": name, "config_hash": record["config_hash"], "revision": revision()}
    store.inputs, store.outputs = {}, {}
    start = time.monotonic()
    summary: Summary = {}
    status = "failed"
    try:
        summary = stage(run)
        status = "done"
    finally:
        write_json(
            run.folder / "records" / f"{name}.json",
            {
                **record,
                "status": status,
                "seconds": round(time.monotonic() - start, 2),
                "inputs": store.inputs,
                "outputs": store.outputs,
                "summary": dict(summary),
            },
        )
    return summary


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of the stages that a run has been through, by stage name, oldest first."""
    found = {p.stem: json.loads(p.read_text()) for p in (folder / "records").glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: str(item[1]["started"])))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=1, default=str))
    part.replace(path)


@functools.cache
def revision() -> str:
    """Git revision of the code that runs, or 'unknown' outside a checkout."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def fail(message: str) -> None:
    """Prints an error for a person."""
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
