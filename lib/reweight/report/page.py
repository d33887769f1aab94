"""The report of a run: its content as plain values, and the HTML page made from it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from reweight.core.baselines import CONTROL
from reweight.report.plots import plots

LOWER_IS_BETTER = ("log_loss", "normalised_entropy", "brier", "ece")
_COUNTS = ("rows", "positives", "groups_left_out")
_BY_SEGMENT = ("log_loss", "auc")
_UNCLEAR = "no significant difference"
# What stages say of their rows in words, and is shown as it is.
_SAID = {
    *("times", "implausible times", "before the log", "after the log"),
    *("duplicates by source", "not converted"),
    *("validation from", "test from", "gap", "same time", "null keys"),
}

Values = dict[str, Any]


def content(
    *,
    baseline: str,
    config: Values,
    records: Mapping[str, Values],
    metrics: pd.DataFrame,
    days: pd.DataFrame,
    evaluation: Values,
    losses: Values,
    left_out: Mapping[str, str] | None = None,
) -> Values:
    """Everything that the page shows, as values that JSON can hold.

    Args:
        baseline: the method that the others are compared to.
        config: the config of the run.
        records: stage name -> its record, in the order of the pipeline.
        metrics: rows of the table ``metrics``.
        days: one row per day and split with ``rows`` and ``positives``.
        evaluation: ``curves``, ``facts``, ``histograms`` (also ``by_label``), ``drivers`` and
            ``extremes`` by method, and ``segment_shares``.
        losses: method -> one entry per epoch.
        left_out: the methods that the run went on without, each with the reason.
    """
    left_out = dict(left_out or {})
    methods = [m["name"] for m in config["importance"] if m["name"] not in left_out]
    methods = [baseline, *[m for m in methods if m != baseline]]
    comparison = {
        split: {m: _cells(metrics, m, split) for m in methods} for split in ("test", "validation")
    }
    days = days.assign(day=days["day"].astype(str)).sort_values(["split", "day"])
    return {
        "run_id": config["run_id"],
        "baseline": baseline,
        "methods": methods,
        "left_out": left_out,
        "lower_is_better": LOWER_IS_BETTER,
        "verdict": verdict(comparison["test"], baseline),
        "comparison": comparison,
        "segments": _segments(metrics, methods),
        "funnel": _funnel(records),
        "reasons": records.get("clean_logs", {}).get("summary", {}).get("reasons", {}),
        "rows_said": _rows_said(records),
        "stages": _stages(records),
        "days": days.to_dict("records"),
        "losses": losses,
        "config": config,
        **evaluation,
    }


def render(values: Values) -> str:
    """The page as one self-contained HTML file."""
    return rendered("report.html.j2", values | {"plots": plots(values)})


def rendered(template: str, values: Values) -> str:
    """Renders a template of this package."""
    pages = Environment(
        loader=PackageLoader("reweight.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["number"] = number
    return pages.get_template(template).render(values)


def table(values: Values) -> list[str]:
    """The comparison on the test split and the methods left out, as lines for the console."""
    split, baseline = values["comparison"]["test"], values["baseline"]
    head = ["method", "log loss", f"vs {baseline}", "AUC", f"vs {baseline}", "ESS"]
    rows = [head]
    for method in values["methods"]:
        row = [method]
        for name in ("log_loss", "auc"):
            cell = split[method].get(name, {})
            row += [number(cell.get("value")), _interval(cell)]
        rows.append([*row, f"{values['facts'][method]['ess_share']:.1%}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    return lines + [f"{m}  left out: {why}" for m, why in values.get("left_out", {}).items()]


def verdict(test: Mapping[str, Values], baseline: str) -> Values:
    """What the intervals of the test log loss show, as a sentence and by method."""
    words = {m: outcome(cells.get("log_loss", {})) for m, cells in test.items() if m != baseline}
    by_outcome = {w: [m for m, word in words.items() if word == w] for w in ("better", "worse")}
    if not words:
        text = f"This run has no method besides {baseline}."
    elif by_outcome["better"]:
        text = f"Lower test log loss than {baseline}: {', '.join(by_outcome['better'])}."
    else:
        text = f"No method has a lower test log loss than {baseline}."
    if by_outcome["worse"]:
        text += f" Higher: {', '.join(by_outcome['worse'])}."
    if unclear := [m for m, word in words.items() if word == _UNCLEAR]:
        text += f" No significant difference: {', '.join(unclear)}."
    if words.get(CONTROL, _UNCLEAR) != _UNCLEAR:
        # Intervals cover the choice of test rows only; the control also shows training noise.
        text += (
            f" Weights drawn at random ({CONTROL}) change the loss by"
            f" {test[CONTROL]['log_loss']['difference']:+.4f}: smaller differences may be chance."
        )
    return {"text": text, "methods": words}


def outcome(cell: Mapping[str, Any], *, lower_is_better: bool = True) -> str:
    """``better``, ``worse`` or ``no significant difference``, by the interval of a difference."""
    low, high = cell.get("low"), cell.get("high")
    if low is None or high is None or low <= 0 <= high:
        return _UNCLEAR
    return "better" if (high < 0) == lower_is_better else "worse"


def _cells(
    metrics: pd.DataFrame, method: str, split: str, segment: str | None = None
) -> dict[str, Values]:
    """Metric -> value and difference to the baseline, each with its interval."""
    chosen = metrics["segment"].isna() if segment is None else metrics["segment"] == segment
    rows = metrics[(metrics["method"] == method) & (metrics["split"] == split) & chosen]
    cells: dict[str, Values] = {}
    for row in rows[rows["kind"] == "value"].to_dict("records"):
        value, low, high = (_known(row[k]) for k in ("value", "low", "high"))
        cells[str(row["name"])] = {"value": value, "value_low": low, "value_high": high}
    for row in rows[rows["kind"] == "difference"].to_dict("records"):
        cell = cells[str(row["name"])]
        cell |= {
            "difference": _known(row["value"]),
            "low": _known(row["low"]),
            "high": _known(row["high"]),
        }
        cell["outcome"] = outcome(cell, lower_is_better=row["name"] in LOWER_IS_BETTER)
    # The best calibration ratio is 1: a difference in it is neither better nor worse.
    for name in ("calibration_ratio", *_COUNTS):
        cells.get(name, {}).pop("outcome", None)
    return cells


def _segments(metrics: pd.DataFrame, methods: list[str]) -> list[Values]:
    """Metrics of each segment of the test split, by method, with paired intervals."""
    rows = metrics[(metrics["split"] == "test") & metrics["segment"].notna()]
    segments = []
    for name in sorted(rows["segment"].unique()):
        cells = {m: _cells(rows, m, "test", name) for m in methods}
        counts = cells[methods[0]]
        segments.append(
            {
                "segment": name,
                "rows": int(counts["rows"]["value"]),
                "positives": int(counts["positives"]["value"]),
                **{k: {m: cells[m].get(k, {}).get("value") for m in methods} for k in _BY_SEGMENT},
                "cells": {m: {k: cells[m].get(k, {}) for k in _BY_SEGMENT} for m in methods},
            }
        )
    return segments


def _funnel(records: Mapping[str, Values]) -> list[tuple[str, int]]:
    """Rows from stage to stage."""
    clean = records.get("clean_logs", {}).get("summary", {})
    built = records.get("build_samples", {}).get("summary", {})
    steps = {
        "raw rows": clean.get("raw"),
        "rejected": clean.get("rejected"),
        "events": clean.get("events"),
        "samples": built.get("samples"),
        **{f"samples: {split}": n for split, n in built.get("splits", {}).items()},
    }
    return [(name, rows) for name, rows in steps.items() if rows is not None]


def _rows_said(records: Mapping[str, Values]) -> dict[str, str]:
    """What the stages say of times, cuts and labels in words."""
    summaries = [records.get(s, {}).get("summary", {}) for s in ("clean_logs", "build_samples")]
    return {
        f"{name} ({part})" if part else name: text
        for summary in summaries
        for name, value in summary.items()
        if name in _SAID
        for part, text in (value.items() if isinstance(value, dict) else [("", value)])
    }


def _stages(records: Mapping[str, Values]) -> list[Values]:
    return [
        {
            "stage": name,
            "status": record["status"],
            "started": record["started"],
            "seconds": record["seconds"],
            "revision": record["revision"],
            "config_hash": record["config_hash"],
            "inputs": record["inputs"],
            "outputs": record["outputs"],
            "summary": record["summary"],
        }
        for name, record in records.items()
    ]


def _interval(cell: Mapping[str, Any]) -> str:
    if cell.get("low") is None:
        return ""
    low, high = (number(cell[k], sign=True) for k in ("low", "high"))
    return f"{number(cell['difference'], sign=True)} [{low}, {high}]"


def _known(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def number(value: Any, digits: int = 4, sign: bool = False) -> str:
    """A number as the pages show it; ``-`` for None."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
