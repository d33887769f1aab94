"""The records of stages: what each of them read, did and left."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from reweight.core.digest import digest
from reweight.core.errors import ReweightError
from reweight.core.failing_rows import failing_rows_named
from reweight.core.files import write_json
from reweight.core.revision import code_of, revision
from reweight.core.run import JobRun, Stage, Summary, left_by, read_by
from reweight.core.run_folder import RunFolder
from reweight.core.session import planned_for
from reweight.core.watched import Watched, noted
from reweight.runner.lock import now
from reweight.runner.pipeline import PIPELINE


def run_stage(run: JobRun[Any], stage: Stage, order: Sequence[Stage] = PIPELINE) -> Summary:
    """Runs one stage and writes its record: before, after, and when it fails.

    A record with the status ``running`` although no process holds the run belongs to a killed
    attempt; the next record keeps it in ``earlier``. The ``key`` of a record names what the stage
    left: it is made of all that the stage depends on, and of the time.

    Args:
        run: the run.
        stage: the stage.
        order: the stages of which each depends on those before it.

    Returns:
        The summary of the stage: counts by name.
    """
    path, store = run.folder.record(stage.__name__), run.store
    config_hash = run.config.hash()
    record: dict[str, Any] = {
        "stage": stage.__name__,
        "run_id": run.config.run_id,
        "config_hash": config_hash,
        "revision": revision(),
        "started": now(),
        "earlier": _unfinished(path),
        "code": code_of(stage.__module__),
        "catalog": run.config.catalog,
        "before": key_before(run.folder, stage, order),
    }
    store.lineage = {"stage": stage.__name__, "config_hash": config_hash, "revision": revision()}
    store.inputs, store.outputs, store.retries = {}, {}, 0
    start = time.monotonic()
    config = Watched(run.config)
    logs: Mapping[str, str | None] = {}
    end: dict[str, Any] = {"status": "running"}
    write_json(path, record | end)
    try:
        # Before the stage reads the logs, so that files added meanwhile make the versions differ.
        logs = read_by(stage, run)
        with failing_rows_named(), planned_for(run.spark, _known_rows(run.folder, stage, order)):
            summary = dict(stage(replace(run, config=cast(Any, config))))
        instead_of = getattr(stage, "instead_of", ())
        facts = {"settings": noted(config, instead_of), "left": left_by(stage, run)}
        end = {"summary": summary, "status": "done"} | facts
    except BaseException as error:
        end = {"status": "failed", "error": _storable(error)}
        raise
    finally:
        spent = {"seconds": round(time.monotonic() - start, 2), "retries": store.retries}
        tables = {"inputs": store.inputs, "outputs": store.outputs, "logs": logs}
        own = store.own
        filled = [name for name in store.outputs if name in own and own[name].rows]
        record |= spent | tables | {"filled": filled, "summary": {}} | end
        write_json(path, record | {"key": _key(record)})
        log_to_trackers(run, record)
    return summary


def log_to_trackers(run: JobRun[Any], record: Mapping[str, Any]) -> None:
    """Logs the record of a stage to the trackers, as part of the run with the current config."""
    config = run.config.model_dump(mode="json", by_alias=True, exclude=run.config.elsewhere)
    current = dict(record) | {"config_hash": run.config.hash()}
    run.config.tracking.log(run.folder, current, config)


def read_record(folder: RunFolder, stage: Stage) -> dict[str, Any] | None:
    """The record of a stage; None if it has never been run."""
    path = folder.record(stage.__name__)
    return json.loads(path.read_text()) if path.exists() else None


def key_before(folder: RunFolder, stage: Stage, order: Sequence[Stage]) -> str | None:
    """The key of the stage before; empty if there is none, None if it did not finish.

    A stage that has never been run is passed over: a log may exist already.
    """
    for earlier in reversed(_earlier(stage, order)):
        if record := read_record(folder, earlier):
            key: str | None = record.get("key") if record["status"] == "done" else None
            return key
    return ""


def has_worked(summary: Summary) -> bool:
    """Whether a stage did something: it may have nothing to do in a run."""
    return "skipped" not in summary


def _known_rows(folder: RunFolder, stage: Stage, order: Sequence[Stage]) -> float:
    """The raw rows that an earlier stage counted; infinite where none has."""
    for earlier in _earlier(stage, order):
        if earlier.__name__ == "clean_logs" and (record := read_record(folder, earlier)):
            return float(record["summary"].get("raw", math.inf))
    return math.inf


def _earlier(stage: Stage, order: Sequence[Stage]) -> Sequence[Stage]:
    return order[: order.index(stage)] if stage in order else ()


def _key(record: Mapping[str, Any]) -> str | None:
    """What names the results of a stage; that of the stage before if there are none."""
    if not has_worked(record["summary"]) and not record["logs"]:
        before: str | None = record["before"]
        return before
    return digest(json.dumps(record, default=str))


def _unfinished(path: Path) -> list[dict[str, Any]]:
    """The attempts at this stage since it last finished, oldest first."""
    if not path.exists():
        return []
    record = json.loads(path.read_text())
    if record["status"] == "done":
        return []
    status = {"running": "killed"}.get(record["status"], record["status"])
    facts = {k: record[k] for k in ("started", "config_hash", "error") if k in record}
    return [*record.get("earlier", []), facts | {"status": status}]


def _storable(error: BaseException) -> str:
    """What may be stored of an error: the message of our own, but only the type of others."""
    # The messages of other errors may quote rows.
    return str(error) if isinstance(error, ReweightError) else type(error).__name__
