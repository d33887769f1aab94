"""The plots of a diagnosis: one figure for each finding that has points to draw."""

from typing import TYPE_CHECKING

from reweight.diagnose.findings import Values
from reweight.report.figures import (
    COLOURS,
    GREY,
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


def plots(content: Content) -> dict[str, str]:
    """Key of a finding -> SVG."""
    drawn = {
        "position_bias": _position,
        "delayed_labels": _delay,
        "rare_segments": _segments,
        "bursts_and_bots": _peaks,
        "drift_of_the_label_rate": _rates,
        "drift_of_the_features": _moved,
    }
    drawable = {f["key"] for f in content["findings"] if f["points"]}
    return pictures({key: draw for key, draw in drawn.items() if key in drawable}, content)


def _points(content: Content, key: str) -> Values:
    return next(f["points"] for f in content["findings"] if f["key"] == key)


def _line(axis: "Axes", points: list[list[float]], colour: str, label: str | None = None) -> None:
    """Values with their intervals: [x, value, low, high]."""
    x, y, low, high = ([point[i] for point in points] for i in range(4))
    axis.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    axis.plot(x, y, ".-", color=colour, label=label, lw=1.2)


def _position(content: Content) -> "Figure":
    points = _points(content, "position_bias")
    figure, (rate, ratio) = panels(2)
    _line(rate, points["rate"], GREY)
    rate.set(title="label rate", xlabel="position", ylim=(0, None))
    for name, label, colour in (
        ("raw", "raw", GREY),
        ("within", "of the same item", COLOURS[0]),
    ):
        if points[name]:
            _line(ratio, points[name], colour, label)
    ratio.axhline(1, color=GREY, lw=0.8, ls="--")
    ratio.set(title="ratio to the first position", xlabel="position", ylim=(0, None))
    legend(ratio)
    return figure


def _delay(content: Content) -> "Figure":
    points = _points(content, "delayed_labels")
    figure, (axis,) = panels(width=6.0)
    hours = [max(h, 1 / 3600) for h, _ in points["curve"]]
    axis.step(hours, [s for _, s in points["curve"]], where="post", color=COLOURS[0])
    axis.axvline(points["limit"], color=GREY, lw=0.8, ls="--", label="limit of a late label")
    axis.set(xscale="log", xlabel="hours after the sample", ylabel="share of labels", ylim=(0, 1))
    plain(axis.xaxis)
    legend(axis)
    return figure


def _segments(content: Content) -> "Figure":
    rates = _points(content, "rare_segments")["rates"]
    figure, (axis,) = panels(width=6.0, height=1.0 + 0.3 * len(rates))
    for place, (_, value, low, high, _) in enumerate(rates):
        axis.plot([low, high], [place, place], color=COLOURS[0], lw=2)
        axis.plot(value, place, "o", color=COLOURS[0])
    names = [f"{shortened(name)} ({n:,} rows)" for name, _, _, _, n in rates]
    name_rows(axis, names, 64)
    axis.set_xlabel("label rate")
    axis.locator_params(axis="x", nbins=6)
    return figure


def _peaks(content: Content) -> "Figure":
    points = _points(content, "bursts_and_bots")
    figure, (axis,) = panels(width=6.0)
    edges = [x for x, _ in points["peaks"]]
    axis.bar(edges, [y for _, y in points["peaks"]], width=edges, align="edge", color="#9ecae1")
    axis.axvline(points["limit"], color=GREY, lw=0.8, ls="--", label="limit of a burst")
    axis.set(xscale="log", xlabel="acts in the busiest hour", ylabel="share of groups")
    # Bursts are rare: on a linear axis they would be invisible.
    axis.set_yscale("log")
    for side in (axis.xaxis, axis.yaxis):
        plain(side)
    legend(axis)
    return figure


def _rates(content: Content) -> "Figure":
    figure, (axis,) = panels()
    _line(axis, _points(content, "drift_of_the_label_rate")["rates"], COLOURS[0])
    axis.set(xlabel="days after the first sample", ylabel="label rate", ylim=(0, None))
    return figure


def _moved(content: Content) -> "Figure":
    moved = _points(content, "drift_of_the_features")["moved"]
    figure, (axis,) = panels(width=6.0, height=0.8 + 0.25 * max(1, len(moved)))
    axis.barh(range(len(moved)), [value for _, value in moved], color="#9ecae1")
    name_rows(axis, [name for name, _ in moved])
    axis.axvline(0, color=GREY, lw=0.6)
    axis.set_xlabel("late minus early, in standard deviations")
    return figure
