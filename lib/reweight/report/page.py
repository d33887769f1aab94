"""The report of a run: its content as plain values, and the page that shows it."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from reweight.core.baselines import CONTROL
from reweight.report.plots import plots

LOWER_IS_BETTER = ("log_loss", "normalised_entropy", "brier", "ece")
# The method that shows what chance does.
_COUNTS = ("rows", "positives", "groups_left_out")

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
) -> Values:
    """Everything that the page shows, as values that JSON can hold.

    Args:
        baseline: method that differences are taken to.
        config: of the run.
        records: stage name -> its record, in the order of the line.
        metrics: rows of the table ``metrics``.
        days: a row per day and split with ``rows`` and ``positives``.
        evaluation: ``curves``, ``facts``, ``histograms`` (also ``by_label``), ``drivers`` and
            ``extremes`` by method, and ``segment_shares``.
        losses: method -> one entry per epoch.
    """
    methods = [method["name"] for method in config["importance"]]
    methods = [baseline, *[m for m in methods if m != baseline]]
    comparison = {
        split: {m: _cells(metrics, m, split) for m in methods} for split in ("test", "validation")
    }
    days = days.assign(day=days["day"].astype(str)).sort_values(["split", "day"])
    return {
        "run_id": config["run_id"],
        "baseline": baseline,
        "methods": methods,
        "lower_is_better": LOWER_IS_BETTER,
        "verdict": verdict(comparison["test"], baseline),
        "comparison": comparison,
        "segments": _segments(metrics, methods),
        "funnel": _funnel(records),
        "reasons": records.get("clean_logs", {}).get("summary", {}).get("reasons", {}),
        "stages": _stages(records),
        "days": days.to_dict("records"),
        "losses": losses,
        "config": config,
        **evaluation,
    }


def render(values: Values) -> str:
    """The page: one HTML file that needs nothing beside it."""
    return rendered("report.html.j2", values | {"plots": plots(values)})


def rendered(template: str, values: Values) -> str:
    """A template of this package with values."""
    pages = Environment(
        loader=PackageLoader("reweight"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pages.filters["number"] = number
    return pages.get_template(template).render(values)


def table(values: Values) -> list[str]:
    """The comparison on test as lines of text, for a console."""
    split, baseline = values["comparison"]["test"], values["baseline"]
    head = ["method", "log loss", f"less {baseline}", "AUC", f"less {baseline}", "ESS"]
    rows = [head]
    for method in values["methods"]:
        row = [method]
        for name in ("log_loss", "auc"):
            cell = split[method].get(name, {})
            row += [number(cell.get("value")), _interval(cell)]
        rows.append([*row, f"{values['facts'][method]['ess_share']:.1%}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]


def verdict(test: Mapping[str, Values], baseline: str) -> Values:
    """What the intervals of the test log loss say, in a sentence and by method."""
    words = {m: outcome(cells.get("log_loss", {})) for m, cells in test.items() if m != baseline}
    found = {w: [m for m, own in words.items() if own == w] for w in ("better", "worse")}
    if not words:
        text = f"This run has no method beside {baseline}."
    elif found["better"]:
        text = f"Lower test log loss than {baseline}: {', '.join(found['better'])}."
    else:
        text = f"No method has a lower test log loss than {baseline}."
    if found["worse"]:
        text += f" Higher: {', '.join(found['worse'])}."
    if same := [m for m, own in words.items() if own == "not told apart"]:
        text += f" Not told apart from it: {', '.join(same)}."
    if words.get(CONTROL, "not told apart") != "not told apart":
        # The interval is over test rows; that another training would differ too shows here.
        text += (
            f" Weights that know nothing ({CONTROL}) move it by"
            f" {test[CONTROL]['log_loss']['difference']:+.4f}: smaller differences may be chance."
        )
    return {"text": text, "methods": words}


def outcome(cell: Mapping[str, Any], *, lower_is_better: bool = True) -> str:
    """``better``, ``worse`` or ``not told apart``: where the interval of a difference lies."""
    low, high = cell.get("low"), cell.get("high")
    if low is None or high is None or low <= 0 <= high:
        return "not told apart"
    return "better" if (high < 0) == lower_is_better else "worse"


def _cells(metrics: pd.DataFrame, method: str, split: str) -> dict[str, Values]:
    """Metric -> value with its interval, and difference with its own."""
    own = metrics[
        (metrics["method"] == method) & (metrics["split"] == split) & metrics["segment"].isna()
    ]
    cells: dict[str, Values] = {}
    for row in own[own["kind"] == "value"].to_dict("records"):
        value, low, high = (_known(row[k]) for k in ("value", "low", "high"))
        cells[str(row["name"])] = {"value": value, "value_low": low, "value_high": high}
    for row in own[own["kind"] == "difference"].to_dict("records"):
        cell = cells[str(row["name"])]
        cell |= {
            "difference": _known(row["value"]),
            "low": _known(row["low"]),
            "high": _known(row["high"]),
        }
        cell["outcome"] = outcome(cell, lower_is_better=row["name"] in LOWER_IS_BETTER)
    # How far sum p / sum y is from 1 is what counts, so its difference has no good side.
    for name in ("calibration_ratio", *_COUNTS):
        cells.get(name, {}).pop("outcome", None)
    return cells


def _segments(metrics: pd.DataFrame, methods: list[str]) -> list[Values]:
    own = metrics[(metrics["split"] == "test") & metrics["segment"].notna()]
    table = own.set_index(["segment", "name", "method"])["value"].to_dict()
    names = sorted({segment for segment, _, _ in table})
    return [
        {
            "segment": name,
            "rows": int(table[name, "rows", methods[0]]),
            "positives": int(table[name, "positives", methods[0]]),
            "auc": {m: _known(table.get((name, "auc", m))) for m in methods},
        }
        for name in names
    ]


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
    """A number as our pages write it; - for none."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
