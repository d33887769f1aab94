"""TODO docstring."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reweight.core.digest import digest
from reweight.core.run_folder import RunFolder

_LONGEST = 500  # characters of a parameter: what the strictest server takes


@dataclass(frozen=True)
class StageEvent:
    """What there is to tell after a stage.

    Attributes:
        run_id: of the run.
        stage: that is over.
        status: ``done`` or ``failed``.
        key: the same for all stages of one run with one config.
        folder: of the run.
        params: the config, flat; nothing in it says where the run is.
        tags: revision, hash of the config, how stages ended, versions of tables.
        metrics: numbers of the stage's summary; after the report, those of the report.
        curves: name -> a value per epoch.
        files: the record and the report, by the names to keep them under.
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
        """Reads it from a run's folder.

        Args:
            folder: of the run.
            record: of the stage.
            config: what the results depend on.
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


def _flat(values: Any, between: str, name: str = "") -> dict[str, Any]:
    """Leaves of nested values, by their path."""
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
            value, between, f"{name}{between}{key}" if name else str(key)
        ).items()
    }


def _numbers(values: Any, name: str) -> dict[str, float]:
    """The leaves that are numbers, under names that every tracker takes."""
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
    """Metrics of the report by split and method, with what they are less the baseline's."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    return _numbers(content.get("comparison", {}), "")


def _plain(name: str) -> str:
    return re.sub(r"[^\w. -]", "_", name)
