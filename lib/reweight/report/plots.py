"""The plots of the report: each is a function from the report's content to a figure."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

Content = Mapping[str, Any]

_STYLE: Any = {
    "svg.hashsalt": "reweight",  # otherwise every run writes different ids
    "text.parse_math": False,  # segment names come from the log and may contain dollar signs
    "font.size": 9,
    "date.converter": "concise",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "legend.frameon": False,
    "legend.fontsize": 8,
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b")
GREY = "#555555"


def plots(content: Content) -> dict[str, str]:
    """All plots of the report: name -> SVG."""
    drawn: dict[str, Callable[[Content], Figure]] = {
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
    return pictures(drawn, content)


def pictures(drawn: Mapping[str, Callable[[Content], Figure]], content: Content) -> dict[str, str]:
    """Draws figures in the style of the pages: name -> SVG."""
    with mpl.rc_context(_STYLE):
        return {name: _svg(draw(content)) for name, draw in drawn.items()}


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    # The XML header belongs in a separate file, not in a page.
    return text.getvalue()[text.getvalue().index("<svg") :]


def panels(
    count: int = 1, *, width: float = 12.0, height: float = 3.0
) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` axes, at most five per row; ``height`` is per row, in inches."""
    columns = min(count, 5)
    rows = -(-count // columns)
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def legend(axis: Axes, **place: Any) -> None:
    """Adds a legend if there is anything to label."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(**place)


def method_colours(content: Content) -> dict[str, str]:
    """A colour for each method; the baseline comes first and is grey."""
    others = [m for m in content["methods"] if m != content["baseline"]]
    colours = {m: COLOURS[i % len(COLOURS)] for i, m in enumerate(others)}
    return {content["baseline"]: GREY} | colours


def _differences(content: Content) -> Figure:
    """Differences to the baseline with their intervals, one panel per metric."""
    methods = [m for m in content["methods"] if m != content["baseline"]]
    metrics = ("log_loss", "normalised_entropy", "auc", "pr_auc")
    figure, axes = panels(len(metrics), height=1.2 + 0.3 * len(methods))
    colours = method_colours(content)
    for axis, metric in zip(axes, metrics, strict=True):
        for place, method in enumerate(methods):
            cell = content["comparison"]["test"][method].get(metric, {})
            if cell.get("difference") is None or cell.get("low") is None:
                continue
            axis.plot([cell["low"], cell["high"]], [place, place], color=colours[method], lw=2)
            axis.plot(cell["difference"], place, "o", color=colours[method])
        axis.axvline(0, color=GREY, lw=0.8, ls="--")
        better = "lower" if metric in content["lower_is_better"] else "higher"
        axis.set(title=_title(metric), xlabel=f"{better} is better", yticks=[])
        axis.locator_params(axis="x", nbins=3)
        axis.set_ylim(max(1, len(methods)) - 0.5, -0.5)
    axes[0].set_yticks(range(len(methods)), methods)
    return figure


def _title(metric: str) -> str:
    """A metric's name as a reader expects it: AUC, PR AUC, log loss."""
    return " ".join(w.upper() if w in ("auc", "pr") else w for w in metric.split("_"))


def _funnel(content: Content) -> Figure:
    figure, (axis,) = panels(height=0.6 + 0.28 * len(content["funnel"]))
    names, rows = [n for n, _ in content["funnel"]], [r for _, r in content["funnel"]]
    bars = axis.barh(names, rows, color="#9ecae1")
    axis.bar_label(bars, [f"{r:,}" for r in rows], padding=3)
    axis.invert_yaxis()
    axis.set_xlabel("rows")
    axis.margins(x=0.12)
    return figure


def _days(content: Content) -> Figure:
    """Samples per day, and the share of positives, by split."""
    figure, (rows, rate) = panels(2)
    for i, split in enumerate(dict.fromkeys(day["split"] for day in content["days"])):
        part = [day for day in content["days"] if day["split"] == split]
        days = np.array([day["day"] for day in part], dtype="datetime64[D]")
        colour = COLOURS[i % len(COLOURS)]
        rows.plot(days, [d["rows"] for d in part], ".-", color=colour, label=split)
        shares = [d["positives"] / d["rows"] if d["rows"] else 0.0 for d in part]
        rate.plot(days, shares, ".-", color=colour)
    for axis, title in ((rows, "samples per day"), (rate, "share of positives per day")):
        axis.set(title=title, ylim=(0, None))
    legend(rows)
    return figure


def _losses(content: Content) -> Figure:
    """Training and validation loss of each trained method; not comparable across methods."""
    trained = content["losses"]
    figure, axes = panels(max(1, len(trained)))
    for axis, (method, epochs) in zip(axes, trained.items(), strict=False):
        for part, style in (("train", "-"), ("validation", "--")):
            values = [epoch[part] for epoch in epochs]
            axis.plot([e["epoch"] for e in epochs], values, style, label=part)
        positive = all(e[part] > 0 for e in epochs for part in ("train", "validation"))
        scale = "log" if positive else "linear"
        axis.set(title=method, xlabel="epoch", ylabel="loss", yscale=scale)
        plain(axis.yaxis)
        legend(axis)
    if not trained:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "this run trains no method", ha="center")
    return figure


def plain(axis: Axis) -> None:
    """Writes 0.1 on a log axis, which would write powers of ten as math text."""
    axis.set_major_formatter("{x:g}")
    if axis.get_scale() == "log":
        few = np.diff(np.log10(axis.get_view_interval())) < 1
        axis.set_minor_formatter("{x:g}" if few else NullFormatter())


def _weights(content: Content) -> Figure:
    figure, (axis,) = panels()
    for method, colour in method_colours(content).items():
        edges, shares = content["histograms"][method]
        style = "--" if method == content["baseline"] else "-"
        axis.step(edges, shares, where="post", color=colour, ls=style, label=method)
    axis.set(xscale="log", xlabel="weight (mean 1)", ylabel="share of training rows")
    plain(axis.xaxis)
    legend(axis)
    return figure


def _by_label(content: Content) -> Figure:
    shown = [m for m in content["methods"] if m != content["baseline"]]
    figure, axes = panels(max(1, len(shown)))
    for axis, method in zip(axes, shown, strict=False):
        for label, colour in zip(("0", "1"), COLOURS, strict=False):
            edges, shares = content["by_label"][label][method]
            axis.step(edges, shares, where="post", color=colour, label=f"label {label}")
        axis.set(xscale="log", title=method, xlabel="weight", ylabel="share of the label's rows")
        plain(axis.xaxis)
        legend(axis)
    if not shown:
        axes[0].set_axis_off()
    return figure


def _roc_pr(content: Content) -> Figure:
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


def _calibration(content: Content) -> Figure:
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

    def draw(content: Content) -> Figure:
        figure, (axis,) = panels(width=7.0, height=0.9 + 0.3 * len(shown))
        for label, offset in ((0, -0.2), (1, 0.2)):
            values = [p[f"mean_{label}"] or 0.0 for p in shown]
            places = [place + offset for place in range(len(shown))]
            colour = COLOURS[label]
            axis.barh(places, values, height=0.38, color=colour, label=f"label {label}")
        axis.axvline(0, color=GREY, lw=0.8)
        axis.set_yticks(range(len(shown)), [p["part"] for p in shown])
        axis.set(xlabel="mean contribution to importance")
        axis.set_ylim(len(shown) - 0.5, -0.5)
        legend(axis)
        return figure

    return pictures({"driving": draw}, {})["driving"] if shown else ""


def _segments(content: Content) -> Figure:
    segments = content["segments"]
    figure, (axis,) = panels(height=1.0 + 0.4 * max(1, len(segments)))
    colours = method_colours(content)
    for i, (method, colour) in enumerate(colours.items()):
        offset = 0.6 * ((i + 0.5) / len(colours) - 0.5)
        # A segment with one class has no AUC; matplotlib skips NaN.
        areas = [s["auc"].get(method) for s in segments]
        plotted = [math.nan if area is None else area for area in areas]
        places = [row + offset for row in range(len(segments))]
        axis.plot(plotted, places, "o", color=colour, label=method)
    names = [f"{s['segment']} ({s['rows']:,} rows)" for s in segments]
    axis.set_yticks(range(len(segments)), names)
    axis.set(xlabel="AUC on test", ylim=(max(1, len(segments)) - 0.5, -0.5))
    legend(axis, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _drivers(content: Content) -> Figure:
    """The features that correlate most with the weights, by method."""
    shown = {m: d for m, d in content["drivers"].items() if d and m != content["baseline"]}
    figure, axes = panels(max(1, len(shown)), height=2.6)
    for axis, (method, drivers) in zip(axes, shown.items(), strict=False):
        top = sorted(drivers.items(), key=lambda item: -abs(item[1]))[:8]
        axis.barh([n for n, _ in top], [v for _, v in top], color=method_colours(content)[method])
        axis.set(title=method, xlabel="correlation")
        axis.invert_yaxis()
        axis.axvline(0, color=GREY, lw=0.6)
    if not shown:
        axes[0].set_axis_off()
    return figure


def _cost(content: Content) -> Figure:
    stages = content["stages"]
    figure, (axis,) = panels(height=0.6 + 0.28 * len(stages))
    seconds = [s["seconds"] for s in stages]
    bars = axis.barh([s["stage"] for s in stages], seconds, color="#a1d99b")
    axis.bar_label(bars, [f"{s:.0f} s" for s in seconds], padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel("seconds")
    return figure
