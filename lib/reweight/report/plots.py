"""The plots of the report: each is a function from the report's content to a figure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reweight.report.figures import (
    COLOURS,
    GREY,
    TITLE,
    Content,
    legend,
    name_rows,
    panels,
    pictures,
    plain,
    shortened,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plots(content: Content, names: Collection[str] | None = None) -> dict[str, str]:
    """The plots of the report: name -> SVG.

    Args:
        content: of the report.
        names: those to draw, since drawing takes a while; all by default.
    """
    chosen = {name: draw for name, draw in PLOTS.items() if names is None or name in names}
    return pictures(chosen, content)


def method_colours(content: Content) -> dict[str, str]:
    """A colour for each method; the baseline comes first and is grey."""
    others = [m for m in content["methods"] if m != content["baseline"]]
    colours = {m: COLOURS[i % len(COLOURS)] for i, m in enumerate(others)}
    return {content["baseline"]: GREY} | colours


def _differences(content: Content) -> "Figure":
    """Differences to the baseline with their intervals: a row for each judge."""
    methods = [m for m in content["methods"] if m != content["baseline"]]
    judges = content["shown"]
    metrics = {content["decides"]: content["loss"], "auc": "AUC"}
    height = 0.9 + 0.25 * max(1, len(methods))
    figure, axes = panels(2 * len(judges), height=height, width=10.0, columns=2)
    colours = method_colours(content)
    for row, judge in enumerate(judges):
        for axis, (metric, title) in zip(axes[2 * row :], metrics.items(), strict=False):
            for place, method in enumerate(methods):
                cell = content["by_judge"].get(judge, {}).get("test", {}).get(method, {})
                _difference(axis, cell.get(metric, {}), place, colours[method])
            axis.axvline(0, color=GREY, lw=0.8, ls="--")
            better = "lower" if metric in content["lower_is_better"] else "higher"
            axis.set(title=f"{shortened(judge, TITLE)}: {title}", yticks=[])
            axis.set_xlabel(f"difference to {content['baseline']}, {better} is better")
            axis.locator_params(axis="x", nbins=4)
            axis.set_ylim(max(1, len(methods)) - 0.5, -0.5)
        name_rows(axes[2 * row], methods)
    return figure


def _difference(axis: "Axes", cell: Mapping[str, Any], place: float, colour: str) -> None:
    """A difference with its interval, if it has one."""
    if cell.get("difference") is None or cell.get("low") is None:
        return
    axis.plot([cell["low"], cell["high"]], [place, place], color=colour, lw=1.6)
    axis.plot(cell["difference"], place, "o", color=colour, ms=4)


def _funnel(content: Content) -> "Figure":
    figure, (axis,) = panels(height=0.6 + 0.28 * len(content["funnel"]))
    names, rows = [n for n, _ in content["funnel"]], [r for _, r in content["funnel"]]
    bars = axis.barh(range(len(rows)), rows, color="#9ecae1")
    axis.bar_label(bars, [f"{r:,}" for r in rows], padding=3)
    name_rows(axis, names)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel("rows")
    axis.margins(x=0.12)
    return figure


def _days(content: Content) -> "Figure":
    """Samples per day, and the share of positives, by split."""
    if not content["days"]:
        return _empty("no days to show: the log has no times")
    figure, (rows, rate) = panels(2)
    for i, split in enumerate(dict.fromkeys(day["split"] for day in content["days"])):
        part = [day for day in content["days"] if day["split"] == split]
        days = np.array([day["day"] for day in part], dtype="datetime64[D]")
        colour = COLOURS[i % len(COLOURS)]
        rows.plot(days, [d["rows"] for d in part], ".-", color=colour, label=split)
        shares = [d["positives"] / d["rows"] if d["rows"] else 0.0 for d in part]
        rate.plot(days, shares, ".-", color=colour)
    all_days = np.array([day["day"] for day in content["days"]], dtype="datetime64[D]")
    for axis, title in ((rows, "samples per day"), (rate, "share of positives per day")):
        axis.set(title=title, ylim=(0, None))
        if len(np.unique(all_days)) == 1:
            # Around a single time, an axis of dates would span years.
            axis.set(xlim=(all_days[0] - 1, all_days[0] + 1), xticks=[all_days[0]])
    legend(rows)
    return figure


def _losses(content: Content) -> "Figure":
    """Training and validation loss of each trained method; not comparable across methods."""
    # A training that diverged in its first epoch has no losses.
    trained = {method: epochs for method, epochs in content["losses"].items() if epochs}
    if not trained:
        return _empty("this run trains no method")
    figure, axes = panels(len(trained))
    for axis, (method, epochs) in zip(axes, trained.items(), strict=True):
        for part, style in (("train", "-"), ("validation", "--")):
            values = [epoch[part] for epoch in epochs]
            axis.plot([e["epoch"] for e in epochs], values, style, label=part)
        positive = all(e[part] > 0 for e in epochs for part in ("train", "validation"))
        scale = "log" if positive else "linear"
        axis.set(title=shortened(method, TITLE), xlabel="epoch", ylabel="loss", yscale=scale)
        plain(axis.yaxis)
        legend(axis)
    return figure


def _empty(reason: str) -> "Figure":
    """A figure that only says why there is nothing to see."""
    figure, (axis,) = panels(height=0.6)
    axis.set_axis_off()
    axis.text(0.5, 0.5, reason, ha="center")
    return figure


def _weights(content: Content) -> "Figure":
    figure, (axis,) = panels()
    for method, colour in method_colours(content).items():
        edges, shares = content["histograms"][method]
        style = "--" if method == content["baseline"] else "-"
        axis.step(edges, shares, where="post", color=colour, ls=style, label=method)
    axis.set(xscale="log", xlabel="weight (mean 1)", ylabel="share of training rows")
    plain(axis.xaxis)
    legend(axis)
    return figure


def _by_label(content: Content) -> "Figure":
    shown = [m for m in content["methods"] if m != content["baseline"]]
    figure, axes = panels(max(1, len(shown)))
    for axis, method in zip(axes, shown, strict=False):
        for label, colour in zip(("0", "1"), COLOURS, strict=False):
            edges, shares = content["by_label"][label][method]
            axis.step(edges, shares, where="post", color=colour, label=f"label {label}")
        axis.set(xscale="log", title=shortened(method, TITLE), xlabel="weight")
        axis.set_ylabel("share of the label's rows")
        plain(axis.xaxis)
        legend(axis)
    if not shown:
        axes[0].set_axis_off()
    return figure


def _roc_pr(content: Content) -> "Figure":
    figure, (roc, pr) = panels(2, height=3.6)
    for method, colour in method_colours(content).items():
        curves = content["curves"].get(method, {}).get("test")
        if curves is None:
            continue
        roc.plot(*curves["roc"], color=colour, label=method, lw=1.2)
        pr.plot(*curves["pr"], color=colour, lw=1.2)
    roc.plot([0, 1], [0, 1], color=GREY, lw=0.6, ls=":")
    roc.set(title="ROC, test", xlabel="false positive rate", ylabel="true positive rate")
    pr.set(title="precision and recall, test", xlabel="recall", ylabel="precision")
    legend(roc)
    return figure


def _calibration(content: Content) -> "Figure":
    figure, (axis,) = panels(width=5.0, height=3.6)
    highest = 0.0
    for method, colour in method_colours(content).items():
        curves = content["curves"].get(method, {}).get("test")
        if curves is None:
            continue
        predicted, observed, _ = curves["calibration"]
        highest = max([highest, *predicted, *observed])
        axis.plot(predicted, observed, "o-", color=colour, label=method, ms=3, lw=1.2)
    axis.plot([0, highest], [0, highest], color=GREY, lw=0.6, ls=":")
    axis.set(
        xlabel="mean prediction", ylabel="share of positives", title="deciles of the test rows"
    )
    legend(axis)
    return figure


def driving(parts: Sequence[Mapping[str, Any]], beside: Sequence[str]) -> str:
    """The mean contribution of the strongest features to importance, by label, as an SVG.

    Args:
        parts: the parts of importance from ``explain``, strongest first.
        beside: names of the parts that are not features.
    """
    shown = [p for p in parts if p["part"] not in beside and p["mean_abs"] > 0][:15]

    def draw(content: Content) -> "Figure":
        figure, (axis,) = panels(width=7.0, height=0.9 + 0.3 * len(shown))
        for label, offset in ((0, -0.2), (1, 0.2)):
            values = [p[f"mean_{label}"] or 0.0 for p in shown]
            places = [place + offset for place in range(len(shown))]
            colour = COLOURS[label]
            axis.barh(places, values, height=0.38, color=colour, label=f"label {label}")
        axis.axvline(0, color=GREY, lw=0.8)
        name_rows(axis, [p["part"] for p in shown])
        axis.set(xlabel="mean contribution to importance")
        legend(axis)
        return figure

    return pictures({"driving": draw}, {})["driving"] if shown else ""


def _segments(content: Content) -> "Figure":
    """AUC by segment, and the differences to the baseline with their intervals."""
    segments, methods = content["segments"], method_colours(content)
    figure, axes = panels(3, height=1.0 + 0.12 * max(3, len(methods)) * max(1, len(segments)))
    # A strip for each segment, and a line in it for each method.
    offsets = np.linspace(-0.35, 0.35, len(methods)) if len(methods) > 1 else np.zeros(1)
    for offset, (method, colour) in zip(offsets, methods.items(), strict=True):
        places = [row + offset for row in range(len(segments))]
        areas = [s["auc"].get(method) for s in segments]
        values = [np.nan if area is None else area for area in areas]
        axes[0].plot(values, places, "o", color=colour, label=method, ms=4)
        for axis, metric in zip(axes[1:], ("log_loss", "auc"), strict=True):
            cells = [s.get("cells", {}).get(method, {}).get(metric, {}) for s in segments]
            for place, cell in zip(places, cells, strict=True):
                _difference(axis, cell, place, colour)
    for axis, title in zip(axes, ("AUC", "log loss", "AUC"), strict=True):
        axis.set(title=title, ylim=(max(1, len(segments)) - 0.5, -0.5), yticks=[])
        axis.locator_params(axis="x", nbins=4)
        for edge in range(1, len(segments)):
            axis.axhline(edge - 0.5, color=GREY, lw=0.3)
    for axis in axes[1:]:
        axis.axvline(0, color=GREY, lw=0.8, ls="--")
        axis.set_xlabel(f"difference to {content['baseline']}")
    names = [f"{shortened(s['segment'])} ({s['rows']:,} rows)" for s in segments]
    axes[0].set_yticks(range(len(segments)), names)
    axes[0].set_xlabel("on test")
    legend(axes[-1], of=axes[0])
    return figure


def _drivers(content: Content) -> "Figure":
    """The features that correlate most with the weights, by method."""
    shown = {m: d for m, d in content["drivers"].items() if d and m != content["baseline"]}
    figure, axes = panels(max(1, len(shown)), height=2.6, columns=3)
    for axis, (method, drivers) in zip(axes, shown.items(), strict=False):
        top = sorted(drivers.items(), key=lambda item: -abs(item[1]))[:8]
        colour = method_colours(content)[method]
        axis.barh(range(len(top)), [v for _, v in top], color=colour)
        name_rows(axis, [n for n, _ in top], TITLE)
        axis.set(title=shortened(method, TITLE), xlabel="correlation")
        axis.locator_params(axis="x", nbins=3)
        axis.axvline(0, color=GREY, lw=0.6)
    if not shown:
        axes[0].set_axis_off()
    return figure


def _cost(content: Content) -> "Figure":
    stages = content["stages"]
    figure, (axis,) = panels(height=0.6 + 0.28 * len(stages))
    seconds = [s["seconds"] for s in stages]
    bars = axis.barh(range(len(stages)), seconds, color="#a1d99b")
    axis.bar_label(bars, [f"{s:.0f} s" for s in seconds], padding=3)
    name_rows(axis, [s["stage"] for s in stages])
    axis.margins(x=0.12)
    axis.set_xlabel("seconds")
    return figure


PLOTS: Mapping[str, Callable[[Content], "Figure"]] = {
    "differences": _differences,
    "funnel": _funnel,
    "days": _days,
    "losses": _losses,
    "weights": _weights,
    "by_label": _by_label,
    "roc_pr": _roc_pr,
    "calibration": _calibration,
    "segments": _segments,
    "drivers": _drivers,
    "cost": _cost,
}
