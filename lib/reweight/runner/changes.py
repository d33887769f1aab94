"""What has changed since a stage was run, so that it has to be run again."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reweight.core.files import write_json
from reweight.core.revision import code_of
from reweight.core.run import JobRun, Stage, left_by, read_by
from reweight.core.table_history import is_untouched
from reweight.core.tables import BY_NAME
from reweight.runner.lock import now
from reweight.runner.pipeline import AFTER, PIPELINE
from reweight.runner.records import key_before, log_to_trackers, read_record

_LOG = logging.getLogger(__name__)

_STATUS = {
    "running": "the last attempt was interrupted",
    "failed": "the last attempt failed",
}


def why_again(run: JobRun[Any], stage: Stage, order: Sequence[Stage] = PIPELINE) -> str | None:
    """Why a stage has to be run; None if what it left is what it would leave now.

    Empty for a stage outside of ``order``, which is run whenever it is asked for.

    Args:
        run: the run.
        stage: the stage.
        order: the stages of which each depends on those before it.

    Raises:
        SourceError: logs that were read are missing now.
    """
    record = read_record(run.folder, stage)
    if stage not in order:
        return ""
    if record is None:
        return "it has not been run yet"
    if record["status"] != "done":
        return _STATUS[record["status"]]
    if "key" not in record:
        return "an earlier version of the library ran it"
    if record["code"] != code_of(stage.__module__):
        return "its code has changed"
    if record["catalog"] != run.config.catalog:
        return "the tables are in another catalog"
    if changed := _other_settings(run, record):
        return f"{_listed(changed)} changed"
    if record["before"] is None or record["before"] != key_before(run.folder, stage, order):
        return "a stage before it has been run since"
    logs = read_by(stage, run)
    if logs != record["logs"] or None in logs.values():
        names = [n for n, version in logs.items() if version is None or _differs(record, n, logs)]
        return f"what it reads may have changed ({', '.join(names) or 'the list of sources'})"
    left = left_by(stage, run)
    if left != record["left"]:
        names = [name for name, version in left.items() if record["left"].get(name) != version]
        return f"what it left has changed ({', '.join(names)})"
    for name, version in record["outputs"].items():
        filled = name in record["filled"]
        if not is_untouched(run.store, BY_NAME[name], version, filled=filled):
            return f"its rows in the table '{name}' may have changed"
    return None


def _differs(record: Mapping[str, Any], name: str, logs: Mapping[str, str | None]) -> bool:
    return bool(record["logs"].get(name) != logs[name])


def _other_settings(run: JobRun[Any], record: Mapping[str, Any]) -> list[str]:
    """The settings that a stage read and that are others now."""
    current = run.config.settings()
    return [n for n, value in record.get("settings", {}).items() if current.get(n) != value]


def keep(run: JobRun[Any], stage: Stage) -> None:
    """Notes in the record of a stage that the run goes on with what it left."""
    record = read_record(run.folder, stage)
    assert record is not None
    config_hash = run.config.hash()
    logged_for = (record.get("kept") or record)["config_hash"]
    kept = {"at": now(), "config_hash": config_hash}
    write_json(run.folder.record(stage.__name__), record | {"kept": kept})
    if logged_for != config_hash:
        log_to_trackers(run, record)


def warn_of_older(
    run: JobRun[Any], stages: Sequence[Stage], order: Sequence[Stage] = PIPELINE
) -> None:
    """Warns that a job reads what stages before it made of other settings.

    Args:
        run: the run.
        stages: those of the job.
        order: the stages of which each depends on those before it.
    """
    first = next((stage for stage in stages if stage in order or stage in AFTER), None)
    for stage in _read_first(first, order):
        record = read_record(run.folder, stage) or {}
        if record.get("status") == "done" and (changed := _other_settings(run, record)):
            _LOG.warning(
                "%s changed since %s was run, so what follows is not of this config: run the "
                "pipeline, which starts there",
                _listed(changed),
                stage.__name__,
            )
            return


def _read_first(stage: Stage | None, order: Sequence[Stage]) -> Sequence[Stage]:
    """The stages whose results a stage reads, also one that is no part of the pipeline."""
    if stage in order:
        return order[: order.index(stage)]
    last = AFTER.get(stage) if stage else None
    return order[: order.index(last) + 1] if last in order else ()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
