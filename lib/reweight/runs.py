"""A run in progress: what every stage is given, and the record that it leaves.

One process at a time works on a run: it holds the run's lock, which the operating system takes back
when the process ends, however it ends.
"""

import functools
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from filelock import FileLock, Timeout
from pyspark.sql import SparkSession

from reweight import cleaning
from reweight.config import ELSEWHERE, BenchmarkConfig, Config, RunConfig, digest
from reweight.errors import ReweightError, RunError
from reweight.files import write_whole
from reweight.tables import Store

Summary = Mapping[str, Any]


@dataclass
class JobRun(Generic[Config]):
    """A config, a session and the run's places.

    Attributes:
        spark: the session.
        config: the whole config; a stage reads its own section.
        store: the run's slices of the tables.
        logs: versions of the raw logs that the stage read, by their place in ``cleaning``.
    """

    spark: SparkSession
    config: Config
    store: Store
    logs: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def open(cls, spark: SparkSession, config: Config) -> Self:
        """Starts a run or takes one up again.

        Raises:
            TableError: the schema of the tables is not there.
            SetupError: a tracker is not installed.
        """
        config.tracking.check()
        root = str(Path(config.root).absolute())  # Delta's SQL knows no relative path
        run = cls(spark, config, Store(spark, root, config.run_id, config.catalog))
        run.store.check()
        run.folder.mkdir(parents=True, exist_ok=True)
        write_json(run.folder / "config.json", config.kept())
        return run

    @property
    def folder(self) -> Path:
        """What the run leaves beside the tables: models, statistics, records, the report."""
        return run_folder(self.config.root, self.config.run_id)

    def say(self, text: str) -> None:
        """Prints a line of progress."""
        print(f"  {text}", flush=True)


# Of any job on a line.
AnyRun = TypeVar("AnyRun", bound=RunConfig)
# Of the line, and of the benchmark.
Run = JobRun[RunConfig]
BenchmarkRun = JobRun[BenchmarkConfig]
Stage = Callable[[Any], Summary]


def run_folder(root: str, run_id: str) -> Path:
    """``<root>/runs/<run_id>``: on a cluster a path that driver and executors share."""
    return Path(root) / "runs" / run_id


def scratch_folder(root: str, run_id: str) -> Path:
    """What a session that we start ourselves spills to.

    Its name is the run's, so that the next attempt of a killed run can clear it.
    """
    name = hashlib.sha256(str(run_folder(root, run_id).absolute()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"reweight-{os.getuid()}-{name}"


@contextmanager
def run_lock(root: str, run_id: str) -> Iterator[None]:
    """Holds the run for this process, and clears what a killed one left half written.

    Raises:
        RunError: another process works on the run.
    """
    folder = run_folder(root, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "owner.json"
    lock = FileLock(folder / "run.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"run '{run_id}' is in progress already",
            expected="one process at a time for a run",
            came=owner.read_text() if owner.exists() else "another process holds its lock",
            do="wait for it, or give this run another run_id; nothing was changed",
        ) from error
    try:
        who = {"host": socket.gethostname(), "pid": os.getpid(), "since": _now()}
        owner.write_text(json.dumps(who))
        for part in folder.rglob("*.part"):
            part.unlink(missing_ok=True)
        shutil.rmtree(scratch_folder(root, run_id), ignore_errors=True)
        yield
    finally:
        shutil.rmtree(scratch_folder(root, run_id), ignore_errors=True)
        owner.unlink(missing_ok=True)
        lock.release()


def run_stage(run: JobRun[Any], stage: Stage) -> Summary:
    """Runs one stage and writes its record, before, after, and when it fails.

    A record that says ``running`` though nobody holds the run is that of a killed attempt; it is
    kept in the next one's ``earlier``.

    Returns:
        What the stage said of itself: counts by name.
    """
    path = run.folder / "records" / f"{stage.__name__}.json"
    config_hash, store = run.config.hash(), run.store
    record = {
        "stage": stage.__name__,
        "run_id": run.config.run_id,
        "config_hash": config_hash,
        "revision": revision(),
        "started": _now(),
        "earlier": _unfinished(path),
    }
    store.lineage = {"stage": stage.__name__, "config_hash": config_hash, "revision": revision()}
    store.inputs, store.outputs, store.retries, run.logs = {}, {}, 0, {}
    start = time.monotonic()
    end: dict[str, Any] = {"status": "running"}
    write_json(path, record | end)
    try:
        end = {"summary": dict(stage(run)), "status": "done"}
    except BaseException as error:
        end = {"status": "failed", "error": _said(error)}
        raise
    finally:
        spent = {"seconds": round(time.monotonic() - start, 2), "retries": store.retries}
        tables = {"inputs": store.inputs, "outputs": store.outputs, "logs": run.logs}
        record |= spent | tables | {"summary": {}} | end
        write_json(path, record)
        said = run.config.model_dump(mode="json", by_alias=True, exclude=ELSEWHERE)
        run.config.tracking.tell(run.folder, record, said, run.say)
    return end["summary"]  # type: ignore[no-any-return]


def attempt(run: JobRun[Any]) -> Path:
    """The file that says whether the last attempt was broken off: without it none is taken up."""
    return run.folder / "attempt.json"


def pending(run: JobRun[Any], stages: Sequence[Stage]) -> Sequence[Stage]:
    """The stages that are left to do.

    All of them, unless the attempt before this one, with the same config, catalog and code, was
    broken off: then those that it did not finish, or from that on whose logs are others now.

    Raises:
        SourceError: logs that were read are gone.
    """
    path = attempt(run)
    now = {
        "config_hash": run.config.hash(),
        "revision": revision(),
        "catalog": run.config.catalog,
        "stages": [s.__name__ for s in stages],
    }
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("finished", True) or any(before.get(k) != v for k, v in now.items()):
        write_json(path, now | {"started": _now(), "finished": False})
        return stages
    records = read_records(run.folder)
    for number, stage in enumerate(stages):
        record = records.get(stage.__name__, {"status": "never begun"})
        if record["status"] != "done" or record["started"] < before["started"]:
            return stages[number:]
        if not _same_logs(run, record):
            run.say(f"the logs that {stage.__name__} read may have changed: it is done again")
            return stages[number:]
    return ()


def _same_logs(run: JobRun[Any], record: Mapping[str, Any]) -> bool:
    """Whether the raw logs are those that the stage read; one without a version may not be."""
    read = record["logs"]
    now = cleaning.versions(run.spark, run.config.cleaning) if read else {}
    return read == now and None not in now.values()


def finish(run: JobRun[Any]) -> None:
    """Says that the attempt is over: the next one begins with the first stage again."""
    path = attempt(run)
    write_json(path, json.loads(path.read_text()) | {"finished": True})


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of the stages that a run has been through, by stage name, oldest first."""
    found = {p.stem: json.loads(p.read_text()) for p in (folder / "records").glob("*.json")}
    return dict(sorted(found.items(), key=lambda item: str(item[1]["started"])))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_whole(path, json.dumps(value, indent=1, default=str).encode())


def _unfinished(path: Path) -> list[dict[str, Any]]:
    """The attempts at this stage since it was last done, oldest first."""
    if not path.exists():
        return []
    record = json.loads(path.read_text())
    if record["status"] == "done":
        return []
    status = {"running": "killed"}.get(record["status"], record["status"])
    kept = {k: record[k] for k in ("started", "config_hash", "error") if k in record}
    return [*record.get("earlier", []), kept | {"status": status}]


def _said(error: BaseException) -> str:
    """What may be kept of an error: our own words, but of others (they quote rows) the kind."""
    return str(error) if isinstance(error, ReweightError) else type(error).__name__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@functools.cache
def revision() -> str:
    """What code runs: its Git revision, and a hash of the files where that does not name them."""
    # A repository that only lies around the package, as one with a .venv in it, says nothing of it.
    own = _git("ls-files", "--error-unmatch", Path(__file__).name)
    name = _git("describe", "--always", "--dirty", "--abbrev=12") if own else ""
    clean = name and not name.endswith("-dirty")
    return name if clean else f"{name or 'packed'}-{_sources()}"


def _git(*arguments: str) -> str:
    """What Git says in the package's folder: nothing where it is not installed, or refuses."""
    try:
        found = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    return "" if found.returncode else found.stdout.strip()


def _sources() -> str:
    package = Path(__file__).parent
    told = [
        str(path.relative_to(package)) + hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(package.rglob("*.py"))
    ]
    return digest(*told)[:8]


def fail(message: str) -> None:
    """Prints an error for a person."""
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
