"""The page of a run's days: one row for each, and one picture for each measure."""

from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from reweight.monitor.measures import STATUS
from reweight.report.figures import COLOURS, GREY, Content, legend, panels, pictures, shortened
from reweight.report.page import rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "volume": "samples a day",
    "label_rate": "label rate of closed windows",
    "open_windows": "share of open label windows",
    "psi_features": "stability index of features",
    "domain_auc": "AUC of day against reference",
    "psi_importance": "stability index of importance",
    "psi_weights": "stability index of weights",
    "ess_share": "ESS as a share of the rows",
    "ranker_auc": "AUC of the reference's ranker",
    "source_volume": "raw rows of a source",
}
# Lines of a picture: those that go furthest.
_LINES = 6

Values = dict[str, Any]


def content(run_id: str, reference: str, rows: pd.DataFrame | None, last: Values) -> Values:
    """What the page shows.

    Args:
        run_id: the run.
        reference: the run that it is compared with.
        rows: all rows of the table ``monitoring`` of the run.
        last: what the last job found.
    """
    days: list[Values] = []
    series: dict[str, dict[str, list[Any]]] = {}
    if rows is not None:
        rows = rows.assign(day=rows["day"].astype(str), of=rows["of"].fillna(""))
        rows = rows.sort_values(["day", "measure", "of"])
        days = [_day(str(day), part) for day, part in rows.groupby("day")]
        for (measure, of), part in rows.groupby(["measure", "of"]):
            points = [
                [_number_or_none(x) for x in part[c]] for c in ("value", "limit", "reference")
            ]
            series.setdefault(str(measure), {})[str(of)] = [part["day"].tolist(), *points]
    return {
        "run_id": run_id,
        "reference": reference,
        "titles": TITLES,
        "status": STATUS,
        "days": days,
        "series": series,
        "last": last,
    }


def _day(day: str, rows: pd.DataFrame) -> Values:
    """The row of a day: of each measure the value that is furthest from the reference."""
    cells = {}
    for measure in TITLES:
        part = rows[(rows["measure"] == measure) & rows["value"].notna()]
        # Those without a limit, such as segments, only if there is nothing else.
        part = part[part["limit"].notna()] if part["limit"].notna().any() else part[:1]
        if part.empty:
            continue
        lowest = measure in ("ess_share", "ranker_auc")
        row = part.loc[part["value"].idxmin() if lowest else part["value"].idxmax()]
        alarm = bool(part["alarm"].any())
        cells[measure] = {"value": float(row["value"]), "of": row["of"], "alarm": alarm}
    raised = rows[rows["alarm"].astype(bool)]
    pairs = zip(raised["measure"], raised["of"], strict=True)
    alarms = [f"{TITLES[m]} ({of})" if of else TITLES[m] for m, of in pairs]
    return {"day": day, "cells": cells, "alarms": alarms}


def _number_or_none(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)


def render(values: Values) -> str:
    """The page as one self-contained HTML file."""
    drawn = {measure: partial(_picture, measure=measure) for measure in values["series"]}
    return rendered("monitor.html.j2", values | {"plots": pictures(drawn, values)})


def _picture(shown: Content, measure: str) -> "Figure":
    """The values of a measure by day, with the limit."""
    figure, (axis,) = panels(width=9.0, height=2.4)
    series = shown["series"][measure]
    largest = sorted(series, key=lambda of: -max((x or 0.0 for x in series[of][1]), default=0.0))
    names = largest[:_LINES]
    for colour, of in zip(COLOURS, names, strict=False):
        days, values, _, _ = series[of]
        x, y = pd.to_datetime(days), [float("nan") if v is None else v for v in values]
        axis.plot(x, y, ".-", color=colour, lw=1.2, label=shortened(of) if of else "all")
    for part, style in ((2, "--"), (3, ":")):
        # Limits of the first line: those of the others are as wide, where rows are.
        ends = [float("nan") if v is None else v for v in series[names[0]][part]]
        label = {2: "limit", 3: "reference"}[part]
        days = pd.to_datetime(series[names[0]][0])
        axis.plot(days, ends, style, color=GREY, lw=0.8, label=label)
    legend(axis)
    return figure
