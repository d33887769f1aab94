"""The records of stages, and the stages of an interrupted attempt that remain to be run."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reweight.core.errors import ReweightError
from reweight.core.failing_rows import failing_rows_named
from reweight.core.files import write_json
from reweight.core.revision import revision
from reweight.core.run import JobRun, Stage, Summary
from reweight.core.run_folder import read_records
from reweight.runner.lock import now

_LOG = logging.getLogger(__name__)


def run_stage(run: JobRun[Any], stage: Stage) -> Summary:
    """Runs one stage and writes its record: before, after, and when it fails.

    A record with the status ``running`` although no process holds the run belongs to a killed
    attempt; the next record keeps it in ``earlier``.

    Returns:
        The summary of the stage: counts by name.
    """
    path, store = run.folder.record(stage.__name__), run.store
    config_hash = run.config.hash()
    record = {
        "stage": stage.__name__,
        "run_id": run.config.run_id,
        "config_hash": config_hash,
        "revision": revision(),
        "started": now(),
        "earlier": _unfinished(path),
    }
    store.lineage = {"stage": stage.__name__, "config_hash": config_hash, "revision": revision()}
    store.inputs, store.outputs, store.retries = {}, {}, 0
    start = time.monotonic()
    logs: Mapping[str, str | None] = {}
    end: dict[str, Any] = {"status": "running"}
    write_json(path, record | end)
    try:
        # Before the stage reads the logs, so that files added meanwhile make the versions differ.
        logs = _input_versions(run, stage)
        with failing_rows_named():
            end = {"summary": dict(stage(run)), "status": "done"}
    except BaseException as error:
        end = {"status": "failed", "error": _storable(error)}
        raise
    finally:
        spent = {"seconds": round(time.monotonic() - start, 2), "retries": store.retries}
        tables = {"inputs": store.inputs, "outputs": store.outputs, "logs": logs}
        record |= spent | tables | {"summary": {}} | end
        write_json(path, record)
        config = run.config.model_dump(mode="json", by_alias=True, exclude=run.config.elsewhere)
        run.config.tracking.log(run.folder, record, config)
    return end["summary"]  # type: ignore[no-any-return]


def pending(run: JobRun[Any], stages: Sequence[Stage]) -> Sequence[Stage]:
    """The stages that remain to be run.

    All of them, unless the previous attempt, with the same config, catalog and code, was
    interrupted: then those from the first one that did not finish or whose logs have changed.

    Raises:
        SourceError: logs that were read are missing now.
    """
    path = run.folder.attempt
    attempt = {
        "config_hash": run.config.hash(),
        "revision": revision(),
        "catalog": run.config.catalog,
        "stages": [s.__name__ for s in stages],
    }
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("finished", True) or any(before.get(k) != v for k, v in attempt.items()):
        write_json(path, attempt | {"started": now(), "finished": False})
        return stages
    records = read_records(run.folder)
    for number, stage in enumerate(stages):
        record = records.get(stage.__name__, {"status": "never begun"})
        if record["status"] != "done" or record["started"] < before["started"]:
            return stages[number:]
        if not _same_logs(run, stage, record):
            _LOG.info("the logs that %s read may have changed, so it runs again", stage.__name__)
            return stages[number:]
    return ()


def finish(run: JobRun[Any]) -> None:
    """Marks the attempt as finished: the next one starts from the first stage."""
    path = run.folder.attempt
    write_json(path, json.loads(path.read_text()) | {"finished": True})


def _input_versions(run: JobRun[Any], stage: Stage) -> dict[str, str | None]:
    """Versions of what the stage reads that is not in the tables."""
    versions = getattr(stage, "input_versions", None)
    return dict(versions(run)) if versions else {}


def _same_logs(run: JobRun[Any], stage: Stage, record: Mapping[str, Any]) -> bool:
    """Whether the raw logs are those that the stage read; unknown versions count as changed."""
    versions = _input_versions(run, stage)
    return bool(record["logs"] == versions and None not in versions.values())


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
