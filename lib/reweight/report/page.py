"""The report of a run: its content as plain values, and the HTML page made from it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from reweight.core.baselines import BASELINE, RECALIBRATED
from reweight.evaluate.judges import RECORDED
from reweight.evaluate.verdict import LOSSES, NO_DIFFERENCE, RANKING, WHOLE, leading
from reweight.report.by_ranker import effects, metrics_of
from reweight.report.plots import plots

LEVEL = "level_log_loss"
LOWER_IS_BETTER = (
    *(WHOLE, RANKING, LEVEL, "normalised_entropy", "ranking_normalised_entropy"),
    *("brier", "ranking_brier", "level_brier", "ece", "worst_group_log_loss"),
)
_COUNTS = ("rows", "positives", "effective_positives", "effective_buckets", "groups_left_out")
_BY_SEGMENT = (WHOLE, RANKING, "auc")
_UNCLEAR = NO_DIFFERENCE
# What stages say of their rows in words, and is shown as it is.
_ROW_TEXTS = {
    *("times", "implausible times", "before the log", "after the log"),
    *("sources that end early", "duplicates by source", "not converted"),
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
    disagreements: Sequence[str] = (),
) -> Values:
    """Everything that the page shows, as values that JSON can hold.

    Args:
        baseline: the method that the others are compared to.
        config: the config of the run.
        records: stage name -> its record, in the order of the pipeline.
        metrics: rows of the table ``metrics``.
        days: one row per day and split with ``rows`` and ``positives``.
        evaluation: what each of ``judges`` says and the ``decision``; ``curves``, ``facts``,
            ``histograms`` (also ``by_label``), ``drivers`` and ``extremes`` by method, and
            ``segment_shares``.
        losses: method -> one entry per epoch.
        left_out: the methods that the run went on without, each with the reason.
        disagreements: why other judges say something else than the first one.
    """
    left_out = dict(left_out or {})
    methods = [m["name"] for m in config["importance"] if m["name"] not in left_out]
    methods = [baseline, *[m for m in methods if m != baseline]]
    # The first ranker decides; the page shows it in detail.
    first = next((ranker["name"] for ranker in config.get("rankers", ())), None)
    other_rankers = {
        name: _other_ranker(metrics_of(metrics, name), methods, result)
        for name, result in evaluation.get("rankers", {}).items()
    }
    metrics = metrics_of(metrics, first)
    by_judge = _by_judge(metrics, methods, evaluation["judges"])
    summary = verdict(evaluation, disagreements)
    # The judge whose numbers the page shows in detail.
    judge = summary["judge"] or RECORDED
    # Runs of an earlier version have the ranking loss alone.
    decides = evaluation["judges"][judge].get("decides", RANKING)
    days = days.assign(day=days["day"].astype(str)).sort_values(["split", "day"])
    return {
        "run_id": config["run_id"],
        "baseline": baseline,
        "methods": methods,
        "left_out": left_out,
        "lower_is_better": LOWER_IS_BETTER,
        "verdict": summary,
        "judge": judge,
        # Without a judge that can tell, all of them, so that there are numbers.
        "shown": [n for n in by_judge if evaluation["judges"][n]["able"]] or list(by_judge),
        "decides": decides,
        "loss": LOSSES[decides],
        "comparison": by_judge[judge],
        "by_judge": by_judge,
        "segments": _segments(metrics[metrics["judge"] == judge], methods),
        "segments_by_judge": {
            name: _segments(metrics[metrics["judge"] == name], methods) for name in by_judge
        },
        "funnel": _funnel(records),
        "reasons": records.get("clean_logs", {}).get("summary", {}).get("reasons", {}),
        "rows_said": _row_texts(records),
        "stages": _stages(records),
        "days": days.to_dict("records"),
        "losses": losses,
        "config": config,
        "recalibrated": RECALIBRATED,
        **evaluation,
        "ranker": first,
        "effects": {first: effects(by_judge, evaluation["judges"], methods)}
        | {name: other["effects"] for name, other in other_rankers.items()},
        "rankers": other_rankers,
    }


def _by_judge(metrics: pd.DataFrame, methods: Sequence[str], judges: Sequence[str]) -> Values:
    """Judge -> split -> method -> metric -> value and difference to the baseline."""
    by_judge = {
        judge: {
            split: {m: _cells(rows, m, split) for m in (*methods, RECALIBRATED)}
            for split in ("test", "validation")
        }
        for judge, rows in metrics[metrics["judge"].notna()].groupby("judge", sort=False)
    }
    return {name: by_judge[name] for name in judges}


def _other_ranker(metrics: pd.DataFrame, methods: Sequence[str], result: Values) -> Values:
    """What the page shows of a ranker that does not decide."""
    by_judge = _by_judge(metrics, methods, result["judges"])
    summary = verdict(result)
    return {
        "verdict": summary,
        "comparison": by_judge[summary["judge"] or RECORDED],
        "judges": result["judges"],
        "by_judge": by_judge,
        "effects": effects(by_judge, result["judges"], methods),
    }


def render(values: Values) -> str:
    """The page as one self-contained HTML file."""
    return rendered("report.html.j2", values | {"plots": plots(values), "unclear": _UNCLEAR})


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
    """What each judge says of each method on the test split, as lines for the console.

    A difference is that of the deciding loss to uniform weights: as a rule the ranking loss, the
    log loss after the recalibration of both.
    """
    judges = values["shown"]
    head = ["method", *[f"{n}: {values['loss']} vs {values['baseline']}" for n in judges], "ESS"]
    rows = [head]
    for method in values["methods"]:
        row = [method]
        for judge in judges:
            cell = values["by_judge"][judge]["test"][method].get(values["decides"], {})
            word = values["judges"][judge]["test"].get(method, {}).get("outcome", "")
            row.append(_cell_text(cell, word))
        rows.append([*row, f"{values['facts'][method]['ess_share']:.1%}"])
    return _aligned(rows) + [
        f"{m}  left out: {why}" for m, why in values.get("left_out", {}).items()
    ]


def told(values: Values) -> list[str]:
    """The table, the verdict, and what the other judges say, as lines for the console."""
    other_rankers = values.get("rankers", {}).items()
    return [
        *table(values),
        *(ranker_table(values) if other_rankers else ()),
        values["verdict"]["text"],
        *values["verdict"]["others"],
        *[f"{name}: {other['verdict']['text']}" for name, other in other_rankers],
    ]


def ranker_table(values: Values) -> list[str]:
    """Which weights help which ranker, on the test split, as lines for the console."""
    by_ranker = values["effects"]
    judges = {name: effect["judge"] for name, effect in by_ranker.items()}
    lines = [["method", *[f"{name}, by {judge}" for name, judge in judges.items()]]]
    for method in values["methods"]:
        cells = [effect["methods"][method] for effect in by_ranker.values()]
        lines.append([method, *[_cell_text(cell["loss"], cell["outcome"]) for cell in cells]])
    return _aligned(lines)


def verdict(evaluation: Mapping[str, Any], disagreements: Sequence[str] = ()) -> Values:
    """What the judges say, and which weights to ship: sentences, and the outcome by method.

    Args:
        evaluation: ``judges``, ``decision`` and ``judges left out``, as the stage evaluate wrote
            them.
        disagreements: why other judges say something else than the first one.
    """
    judges, decision = evaluation["judges"], evaluation["decision"]
    first = leading(judges)
    other_texts = [fact["text"] for name, fact in judges.items() if name != first]
    silent = evaluation.get("judges left out", {})
    outcomes = judges[first]["test"] if first else {}
    why = f" On test rows, by {judges[first]['text']}" if first else ""
    if first and not outcomes:
        why = f" This run has no method besides {BASELINE}."
    return {
        "judge": first,
        "text": decision["text"] + why,
        "others": [
            *[f"By {text}" for text in other_texts],
            *[f"The judge {name} is left out: {reason}." for name, reason in silent.items()],
            *disagreements,
        ],
        "methods": {method: outcome["outcome"] for method, outcome in outcomes.items()},
    }


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
        value, low, high = (_float_or_none(row[k]) for k in ("value", "low", "high"))
        cells[str(row["name"])] = {"value": value, "value_low": low, "value_high": high}
    for row in rows[rows["kind"] == "difference"].to_dict("records"):
        cell = cells[str(row["name"])]
        cell |= {
            "difference": _float_or_none(row["value"]),
            "low": _float_or_none(row["low"]),
            "high": _float_or_none(row["high"]),
        }
        cell["outcome"] = outcome(cell, lower_is_better=row["name"] in LOWER_IS_BETTER)
    # The best calibration ratio is 1: a difference in it is neither better nor worse.
    for name in ("calibration_ratio", "ranking_calibration_ratio", *_COUNTS):
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


def _row_texts(records: Mapping[str, Values]) -> dict[str, str]:
    """What the stages say of times, cuts and labels in words."""
    summaries = [records.get(s, {}).get("summary", {}) for s in ("clean_logs", "build_samples")]
    return {
        f"{name} ({part})" if part else name: text
        for summary in summaries
        for name, value in summary.items()
        if name in _ROW_TEXTS
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
            # Of the last attempt that went on with what the stage had left; None if none did.
            "kept": record.get("kept"),
            "inputs": record["inputs"],
            "outputs": record["outputs"],
            "summary": record["summary"],
        }
        for name, record in records.items()
    ]


def _cell_text(cell: Mapping[str, Any], word: str) -> str:
    """A difference with its interval, or a value of the baseline, and what it means."""
    shown = _difference(cell) or number(cell.get("value"))
    return f"{shown} {'' if word == _UNCLEAR else word}".strip()


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]


def _difference(cell: Mapping[str, Any]) -> str:
    if cell.get("difference") is None:
        return ""
    difference, low, high = (number(cell[k], sign=True) for k in ("difference", "low", "high"))
    return difference if cell["low"] is None else f"{difference} [{low}, {high}]"


def _float_or_none(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def number(value: Any, digits: int = 4, sign: bool = False) -> str:
    """A number as the pages show it; ``-`` for None."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
