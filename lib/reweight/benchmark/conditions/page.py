"""The page of the conditions: which methods help under which, with advice for each.

With several sizes the page begins with the learning curves.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reweight.benchmark.conditions import curves
from reweight.benchmark.conditions.judges import TRUTH
from reweight.benchmark.conditions.protocol import METRICS, NO_DIFFERENCE, gap_told, told
from reweight.benchmark.detection.protocol import ORACLE
from reweight.report.page import rendered

Values = dict[str, Any]

# The metric that advice is based on: what recalibration repairs needs no weights.
LEADING = "ranking_log_loss"
# Shown open; the other metrics are folded.
_OPEN = ("auc", LEADING, "level_log_loss")


def render(values: Values) -> str:
    """The page as one self-contained HTML file.

    Args:
        values: the output of ``protocol.content``, with ``run_id``, ``revision`` and
            ``references`` (the methods of the article).
    """
    shown = {"advice": advice(values), "open": _OPEN, "oracle": ORACLE, "better": METRICS}
    pays = dict(zip(values["curves"], curves.lines(values["curves"]), strict=True))
    drawn = {"plots": curves.plots(values), "pays": pays, "truth": TRUTH}
    texts = {"shade": shade, "told": told, "gap_told": gap_told}
    return rendered("conditions.html.j2", values | shown | drawn | texts)


def advice(values: Mapping[str, Any]) -> dict[str, str]:
    """Condition -> which methods to use there and which to avoid, by how they rank."""
    return {condition: _line(values, condition) for condition in values["conditions"]}


def _line(values: Mapping[str, Any], condition: str) -> str:
    cells = values["metrics"][LEADING][condition]
    judged = {name: cells[name] for name in values["methods"] if name in cells}
    better = [name for name, cell in judged.items() if cell["verdict"] == "better"]
    worse = [name for name, cell in judged.items() if cell["verdict"] == "worse"]
    better.sort(key=lambda name: abs(judged[name]["mean"]), reverse=True)
    gap = cells[ORACLE]
    if np.isnan(gap["mean"]):
        text = "Cannot tell: no world of this condition has a result."
    elif gap["low"] is None:
        text = "Cannot tell from one world: a test takes more; set conditions.seeds=5."
    elif not gap["clear"]:
        text = "Use uniform: even knowing the truth makes no significant difference."
        if better:
            text += f" Still better than uniform: {', '.join(better)}."
    elif not better:
        text = "Use uniform: no method is significantly better."
    else:
        best = better[0]
        text = f"Use {best}, which {_gain(judged[best])}{_cost(values, condition, best)}."
        if better[1:]:
            text += f" Also better than uniform: {', '.join(better[1:])}."
    return text + (f" Avoid {', '.join(worse)}: worse than uniform." if worse else "")


def _gain(cell: Mapping[str, Any]) -> str:
    if "share" not in cell:
        return "is better than uniform (in the worlds that it has, the gap is not clear)"
    between = "" if cell["share_low"] is None else f" ({cell['share_low']:.2f} to "
    between += "" if cell["share_low"] is None else f"{cell['share_high']:.2f})"
    return f"reaches {cell['share']:.2f}{between} of the gain from knowing the truth"


def _cost(values: Mapping[str, Any], condition: str, method: str) -> str:
    seconds = values["seconds_per_1e6"].get(method)
    ess = [
        row["value"]
        for row in values["ess"]
        if row["condition"] == condition and row["method"] == method
    ]
    time = "" if seconds is None else f", takes {seconds:.0f} s to fit on a million rows"
    return time + (f", and leaves an effective sample size of {ess[0]:.0%}" if ess else "")


def shade(cell: Mapping[str, Any] | None) -> str:
    """CSS background of a cell: green by the share of the gap, red if worse than uniform."""
    if cell is None or cell["verdict"] == NO_DIFFERENCE:
        return "#f4f4f4"
    strength = 0.15 + 0.6 * min(1.0, abs(cell.get("share", 0.0)))
    return f"rgba({'0, 158, 115' if cell['verdict'] == 'better' else '213, 94, 0'}, {strength:.2f})"
