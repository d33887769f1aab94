"""Learning curves: the share of the gap by size, and the size at which a method begins to pay.

A method pays from a size if its verdict is "better" there and at every larger size that was run:
Student's test of its difference to `uniform, recalibrated`, in log loss after recalibration and
over the seeds, with Holm's correction for the number of methods (see ``protocol``).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from reweight.core.baselines import BASELINE, RECALIBRATED
from reweight.report.figures import GREY, Content, legend, panels, pictures, plain
from reweight.report.plots import method_colours

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = dict[str, Any]

# Metric -> its title; of the second it is said where it begins to pay.
SHOWN = {"auc": "AUC", "ranking_log_loss": "log loss after recalibration"}
_PAYS = "ranking_log_loss"


def content(
    rows: pd.DataFrame, cells: Mapping[str, Mapping[str, Values]], methods: Sequence[str]
) -> Values:
    """Per condition: the points of each method's curve, and from which size it pays.

    Args:
        rows: rows of the table, whose ``condition`` is that of the tables and whose ``group`` is
            the condition at all sizes.
        cells: metric -> condition of the tables -> method -> cell.
        methods: the methods, in order.

    Returns:
        Condition -> ``points``, metric -> method -> points with ``size``, ``share``, ``low`` and
        ``high``, and ``pays``, method -> the smallest size from which it pays, or None. Empty
        without at least two sizes.
    """
    places = rows[["group", "condition", "size"]].dropna().drop_duplicates()
    if places["size"].nunique() < 2:
        return {}
    drawn = [method for method in methods if method != RECALIBRATED]
    by_condition: Values = {}
    for group, part in places.sort_values("size", kind="stable").groupby("group", sort=False):
        sizes = [(str(c), int(n)) for c, n in zip(part["condition"], part["size"], strict=True)]
        points = {
            metric: {
                method: [
                    _point(size, cells[metric][condition][method])
                    for condition, size in sizes
                    if "share" in cells[metric][condition].get(method, {})
                ]
                for method in drawn
            }
            for metric in SHOWN
        }
        pays = {method: _pays_from(sizes, cells[_PAYS], method) for method in drawn}
        by_condition[str(group)] = {"points": points, "pays": pays}
    return by_condition


def lines(found: Mapping[str, Values]) -> list[str]:
    """From which size each method pays, a line of text for each condition."""
    texts = []
    for condition, values in found.items():
        by_size: dict[int | None, list[str]] = {}
        for method, size in values["pays"].items():
            by_size.setdefault(size, []).append(method)
        sizes = sorted(size for size in by_size if size is not None)
        parts = [f"from {size:,} samples {', '.join(by_size[size])}" for size in sizes]
        parts += [f"at no size {', '.join(by_size[None])}"] if None in by_size else []
        texts.append(f"{condition} pays {'; '.join(parts)}")
    return texts


def plots(values: Content) -> dict[str, str]:
    """Condition -> its curves, as SVG."""
    colours = method_colours({"methods": [BASELINE, *values["methods"]], "baseline": BASELINE})

    def drawing(condition: str) -> Callable[[Content], "Figure"]:
        return lambda content: _curves(content["curves"][condition]["points"], colours)

    return pictures({condition: drawing(condition) for condition in values["curves"]}, values)


def _pays_from(
    sizes: Sequence[tuple[str, int]], cells: Mapping[str, Mapping[str, Values]], method: str
) -> int | None:
    """The smallest size at which, as at all larger ones, a method is better; None if there is none.

    Args:
        sizes: the conditions of the tables with their sizes, ascending.
        cells: condition of the tables -> method -> cell. A method that failed at a size has none.
        method: the method.
    """
    smallest = None
    for condition, size in reversed(sizes):
        if cells[condition].get(method, {}).get("verdict") != "better":
            break
        smallest = size
    return smallest


def _point(size: int, cell: Mapping[str, Any]) -> Values:
    return {
        "size": size,
        "share": cell["share"],
        "low": cell["share_low"],
        "high": cell["share_high"],
    }


def _curves(points: Mapping[str, Any], colours: Mapping[str, str]) -> "Figure":
    """The share of the gap against the size, a panel per metric."""
    figure, axes = panels(len(SHOWN), height=3.4, width=11.0)
    for axis, (metric, title) in zip(axes, SHOWN.items(), strict=True):
        for method, curve in points[metric].items():
            sizes, shares = [p["size"] for p in curve], [p["share"] for p in curve]
            axis.plot(sizes, shares, "o-", color=colours[method], lw=1.4, ms=3, label=method)
            for point in curve:
                if point["low"] is not None:
                    ends = [point["low"], point["high"]]
                    axis.plot([point["size"]] * 2, ends, color=colours[method], lw=0.8)
        axis.axhline(0, color=GREY, lw=0.8, ls="--")
        axis.axhline(1, color=GREY, lw=0.8, ls=":")
        axis.set(title=title, xlabel="samples", ylabel="share of the gap")
        if not any(points[metric].values()):
            axis.text(0.5, 0.5, "no clear gap at any size", transform=axis.transAxes, ha="center")
            continue
        axis.set_xscale("log")
        # One bad method would otherwise hide what the others do.
        axis.set_ylim(max(-1.5, axis.get_ylim()[0]), min(1.6, axis.get_ylim()[1]))
        plain(axis.xaxis)
    legend(axes[-1], of=axes[-1])
    return figure
