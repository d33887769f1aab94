"""The record that a stage leaves, and which stages of an interrupted attempt are left to do."""

import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reweight.core.errors import ReweightError
from reweight.core.files import write_json
from reweight.core.revision import revision
from reweight.core.run import JobRun, Stage, Summary
from reweight.core.run_folder import RunFolder
from reweight.runner.lock import now

_LOG = logging.getLogger(__name__)


def run_stage(run: JobRun[Any], stage: Stage) -> Summary:
    """Runs one stage and writes its record, before, after, and when it fails.

    A record that says ``running`` though nobody holds the run is that of a killed attempt; it is
    kept in the next one's ``earlier``.

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
        # Taken first: what is added while they are read makes them others than were read.
        logs = _input_versions(run, stage)
        end = {"summary": dict(stage(run)), "status": "done"}
    except BaseException as error:
        end = {"status": "failed", "error": _kept(error)}
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
    """The stages that are left to do.

    All of them, unless the attempt before this one, with the same config, catalog and code, was
    interrupted: then those that it did not finish, or from that on whose logs are others now.

    Raises:
        SourceError: logs that were read are gone.
    """
    path = run.folder.attempt
    wanted = {
        "config_hash": run.config.hash(),
        "revision": revision(),
        "catalog": run.config.catalog,
        "stages": [s.__name__ for s in stages],
    }
    before = json.loads(path.read_text()) if path.exists() else {}
    if before.get("finished", True) or any(before.get(k) != v for k, v in wanted.items()):
        write_json(path, wanted | {"started": now(), "finished": False})
        return stages
    records = read_records(run.folder)
    for number, stage in enumerate(stages):
        record = records.get(stage.__name__, {"status": "never begun"})
        if record["status"] != "done" or record["started"] < before["started"]:
            return stages[number:]
        if not _same_logs(run, stage, record):
            _LOG.info("the logs that %s read may have changed: it is run again", stage.__name__)
            return stages[number:]
    return ()


def finish(run: JobRun[Any]) -> None:
    """Says that the attempt is over: the next one begins with the first stage again."""
    path = run.folder.attempt
    write_json(path, json.loads(path.read_text()) | {"finished": True})


def read_records(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """The records of the stages that a run has been through, by stage name, oldest first."""
    records = {p.stem: json.loads(p.read_text()) for p in folder.records.glob("*.json")}
    return dict(sorted(records.items(), key=lambda item: str(item[1]["started"])))


def _input_versions(run: JobRun[Any], stage: Stage) -> dict[str, str | None]:
    """Versions of what a stage reads that no table has: its module states them, if there are any.

    None stands for a version that is not known.
    """
    state = getattr(sys.modules[stage.__module__], "input_versions", None)
    return dict(state(run)) if state else {}


def _same_logs(run: JobRun[Any], stage: Stage, record: Mapping[str, Any]) -> bool:
    """Whether the raw logs are those that the stage read; one without a version may not be."""
    versions = _input_versions(run, stage)
    return bool(record["logs"] == versions and None not in versions.values())


def _unfinished(path: Path) -> list[dict[str, Any]]:
    """The attempts at this stage since it was last done, oldest first."""
    if not path.exists():
        return []
    record = json.loads(path.read_text())
    if record["status"] == "done":
        return []
    status = {"running": "killed"}.get(record["status"], record["status"])
    facts = {k: record[k] for k in ("started", "config_hash", "error") if k in record}
    return [*record.get("earlier", []), facts | {"status": status}]


def _kept(error: BaseException) -> str:
    """What may be kept of an error: our own words, but of others (they quote rows) the kind."""
    return str(error) if isinstance(error, ReweightError) else type(error).__name__
