"""The event that trackers log after a stage, read from the run's folder."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweight.core.digest import digest
from reweight.core.run_folder import RunFolder

_LONGEST = 500  # characters of a parameter: the limit of the strictest server


@dataclass(frozen=True)
class StageEvent:
    """A stage that has ended, as trackers log it.

    Attributes:
        run_id: the run.
        stage: the stage that has ended.
        status: ``done`` or ``failed``.
        key: the same for all stages of a run with the same config.
        folder: the run's folder.
        params: the config, flattened, without the keys that say where the run is.
        tags: code revision, config hash, status of the stage, versions of tables.
        metrics: numbers of the stage's summary; after the report, also those of the report.
        curves: name -> one value per epoch.
        files: the record and the report, by the names under which they are logged.
    """

    run_id: str
    stage: str
    status: str
    key: str
    folder: RunFolder
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, list[float]]
    files: Mapping[str, Path]

    @classmethod
    def of(
        cls, folder: RunFolder, record: Mapping[str, Any], config: Mapping[str, Any]
    ) -> "StageEvent":
        """Reads the event from a run's folder.

        Args:
            folder: the run's folder.
            record: the stage's record.
            config: the part of the config that results depend on.
        """
        stage, summary = record["stage"], record["summary"]
        done = record["status"] == "done"
        report = Path(summary["report"]) if done and "report" in summary else None
        record_file = folder.record(stage)
        files = {f"{folder.records.name}/{record_file.name}": record_file}
        if report:
            files |= {path.name: path for path in (report, report.with_suffix(".json"))}
        curves = done and stage == "fit_importance" and folder.models.curves.exists()
        return cls(
            run_id=record["run_id"],
            stage=stage,
            status=record["status"],
            key=digest(str(folder.path.absolute()), record["config_hash"]),
            folder=folder,
            params={k: str(v)[:_LONGEST] for k, v in _flat(config, ".").items()},
            tags=_tags(record),
            metrics={
                f"{stage}/seconds": float(record["seconds"]),
                **_numbers(summary, stage),
                **(_compared(report.with_suffix(".json")) if report else {}),
            },
            curves=_losses(folder.models.curves) if curves else {},
            files={name: path for name, path in files.items() if path.exists()},
        )


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    versions = record.get("inputs", {}) | record.get("outputs", {})
    return {
        "reweight.run_id": record["run_id"],
        "reweight.config_hash": record["config_hash"],
        "reweight.revision": record["revision"],
        f"reweight.status.{record['stage']}": record["status"],
        **{f"reweight.table.{name}": str(version) for name, version in versions.items()},
    }


def _flat(values: Any, separator: str, name: str = "") -> dict[str, Any]:
    """The leaves of nested values, by path."""
    if isinstance(values, Mapping):
        items: Any = values.items()
    elif isinstance(values, list | tuple):
        items = enumerate(values)
    else:
        return {name: values}
    return {
        path: leaf
        for key, value in items
        for path, leaf in _flat(
            value, separator, f"{name}{separator}{key}" if name else str(key)
        ).items()
    }


def _numbers(values: Any, name: str) -> dict[str, float]:
    """The numeric leaves, under names that every tracker accepts."""
    return {
        re.sub(r"[^\w./ -]", "_", path): float(leaf)
        for path, leaf in _flat(values, "/", name).items()
        if isinstance(leaf, int | float) and not isinstance(leaf, bool)
    }


def _losses(path: Path) -> dict[str, list[float]]:
    curves = json.loads(path.read_text())
    return {
        f"loss/{_plain(name)}/{part}": [entry[part] for entry in epochs]
        for name, epochs in curves.items()
        for part in ("train", "validation")
    }


def _compared(path: Path) -> dict[str, float]:
    """Metrics of the report by split and method, with their differences to the baseline.

    Those of other rankers than the first are under the name of the ranker.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    rankers = content.get("rankers", {}).items()
    return _numbers(content.get("comparison", {}), "") | {
        key: value
        for ranker, results in rankers
        for key, value in _numbers(results["comparison"], ranker).items()
    }


def _plain(name: str) -> str:
    return re.sub(r"[^\w. -]", "_", name)
