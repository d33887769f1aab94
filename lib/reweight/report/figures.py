"""What the plots of all pages are drawn with: the style, panels, names and legends.

Matplotlib is imported where something is drawn, since most processes draw nothing.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

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
# A legend with more names goes beside the axes.
_INSIDE = 6
# What fits over one of five panels.
TITLE = 24


def pictures(
    drawn: Mapping[str, Callable[[Content], "Figure"]], content: Content
) -> dict[str, str]:
    """Draws figures in the style of the pages: name -> SVG."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        return {name: _svg(draw(content)) for name, draw in drawn.items()}


def _svg(figure: "Figure") -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    # The XML header belongs in a separate file, not in a page.
    return text.getvalue()[text.getvalue().index("<svg") :]


def panels(
    count: int = 1, *, width: float = 12.0, height: float = 3.0, columns: int = 5
) -> tuple["Figure", list["Axes"]]:
    """A figure with ``count`` axes, ``columns`` per row; ``height`` is per row, in inches."""
    from matplotlib.figure import Figure

    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def legend(axis: "Axes", of: "Axes | None" = None) -> None:
    """Adds a legend if there is anything to label: beside the axes if it would cover them.

    Args:
        axis: gets the legend.
        of: axes whose lines are named; by default the same, with a short legend inside.
    """
    handles, labels = (of or axis).get_legend_handles_labels()
    if not handles:
        return
    labels = [shortened(label) for label in labels]
    if of is None and len(labels) <= _INSIDE:
        axis.legend(handles, labels)
    else:
        axis.legend(handles, labels, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def shortened(name: Any, length: int = 32) -> str:
    """A name of the data as a label: its middle is left out if it is long."""
    text = " ".join(str(name).split()) or "(empty)"
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 1]}…{text[len(text) - end :]}"


def name_rows(axis: "Axes", names: Sequence[Any], length: int = 32) -> None:
    """Names rows from the top down, one per unit of the vertical axis."""
    axis.set_yticks(range(len(names)), [shortened(name, length) for name in names])
    axis.set_ylim(max(1, len(names)) - 0.5, -0.5)


def plain(axis: "Axis") -> None:
    """Writes 0.1 on a log axis, which would write powers of ten as math text."""
    from matplotlib.ticker import NullFormatter

    axis.set_major_formatter("{x:g}")
    if axis.get_scale() == "log":
        within_decade = np.diff(np.log10(axis.get_view_interval())) < 1
        axis.set_minor_formatter("{x:g}" if within_decade else NullFormatter())
