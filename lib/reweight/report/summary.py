"""A text table of several finished runs: rows in, rows out."""

from collections.abc import Mapping
from typing import Any

_SPLITS = ("train", "validation", "test", "gap", "immature")


def table(runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """One line per run, then what was rejected, which methods were left out, and what to ship.

    Cells of stages that a run has not finished are empty.

    Args:
        runs: run id -> stage name -> record.
    """
    rows = [_cells(run_id, records) for run_id, records in runs.items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *[[_text(row.get(name)) for name in names] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    aligned = ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    return [
        *aligned,
        *[_rejected(run_id, records) for run_id, records in runs.items()],
        *[line for run_id, records in runs.items() for line in _left_out(run_id, records)],
        *[line for run_id, records in runs.items() for line in _decided(run_id, records)],
    ]


def _cells(run_id: str, records: Mapping[str, Any]) -> dict[str, Any]:
    clean = records.get("clean_logs", {}).get("summary", {})
    built = records.get("build_samples", {}).get("summary", {})
    parts: dict[str, int | None] = dict.fromkeys((*_SPLITS, "positive"))
    if built:
        parts = {split: built["splits"].get(split, 0) for split in _SPLITS}
        parts["positive"] = sum(built["positives"].values())
    return {
        "run": run_id,
        "raw": clean.get("raw"),
        "rejected": clean.get("rejected"),
        "events": clean.get("events"),
        "samples": built.get("samples"),
        **parts,
        "seconds": round(sum(record.get("seconds", 0) for record in records.values())),
    }


def _rejected(run_id: str, records: Mapping[str, Any]) -> str:
    """The reasons for rejection; a row can have several."""
    reasons = records.get("clean_logs", {}).get("summary", {}).get("reasons")
    if reasons is None:
        return f"{run_id}: not cleaned"
    return f"{run_id}: " + (", ".join(f"{k} {v:,}" for k, v in reasons.items()) or "none rejected")


def _left_out(run_id: str, records: Mapping[str, Any]) -> list[str]:
    """A line for each method that the run went on without."""
    reasons: dict[str, str] = {}
    for stage in ("fit_importance", "score_weights", "train_ranker"):
        reasons |= records.get(stage, {}).get("summary", {}).get("left out", {})
    return [f"{run_id}: {method} left out: {reason}" for method, reason in reasons.items()]


def _decided(run_id: str, records: Mapping[str, Any]) -> list[str]:
    """A line for each ranker, about the weights to ship with it; the first one has no name."""
    summary = records.get("evaluate", {}).get("summary", {})
    lead = "decision"
    return [
        f"{run_id}{key.removeprefix(lead).replace(' for ', ', ')}: {text}"
        for key, text in summary.items()
        if key.startswith(lead)
    ]


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
