"""Which methods help under which condition: worlds with one mechanism, averaged over seeds.

    share of the gap = mean_s (m_s - uniform_s) / mean_s (oracle_s - uniform_s)

over the seeds s of a condition, for each metric; 1 is the gain from knowing the truth, below 0 is
worse than uniform. It is given only if the interval of the gap shows that the oracle is better.
Whether a method is better or worse than uniform is decided by Student's test over the seeds with
Holm's correction for the number of methods: without it, one of ten ineffective methods would seem
to have an effect in two conditions of five.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from reweight.benchmark.conditions.worlds import SECONDS
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.detection.statistics import interval
from reweight.core.baselines import BASELINE
from reweight.core.multiple_tests import holm
from reweight.core.section import Name, RunId, Section

Array = NDArray[np.float64]
Values = dict[str, Any]

# Metrics on the page, and whether higher is better.
METRICS = {
    "log_loss": False,
    "normalised_entropy": False,
    "auc": True,
    "pr_auc": True,
    "gauc": True,
    "worst_group_log_loss": False,
}
_RESAMPLES = 2000
_LEVEL = 0.05
NO_DIFFERENCE = "no significant difference"


class Conditions(Section):
    """The section ``conditions``.

    Attributes:
        worlds: condition -> the settings that differ from the section ``simulation``, which
            describes a log without distortion; a condition may change several settings. The names
            are those of ``simulation.worlds``.
        seeds: number of worlds per condition.
        beside: other runs under the same root whose methods the page also shows, as a shared
            leaderboard. They must have judged the same worlds.
    """

    worlds: dict[Name, dict[str, float]] = Field(min_length=1)
    seeds: int = Field(default=5, ge=1)
    beside: tuple[RunId, ...] = ()

    def names(self) -> dict[str, tuple[str, int]]:
        """World -> condition and seed."""
        return {f"{c}__{s}": (c, s) for c in self.worlds for s in range(self.seeds)}


def content(rows: pd.DataFrame, conditions: Sequence[str], methods: Sequence[str]) -> Values:
    """Means over seeds of the table ``conditions``, as values that JSON can hold.

    Args:
        rows: rows of the table.
        conditions: the conditions, in order.
        methods: the methods, in order, without uniform and the oracle.
    """
    differences = rows[rows["kind"] == "difference"]
    cells_by_metric = {
        metric: {
            condition: _cells(differences, metric, condition, methods) for condition in conditions
        }
        for metric in METRICS
    }
    shares = rows[rows["name"] == "ess_share"].groupby(["condition", "method"])
    ess = shares["value"].mean().reset_index()
    seconds = rows[rows["name"] == SECONDS].groupby("method")["value"].mean()
    failed = rows[rows["kind"] == "failed"][["condition", "seed", "method", "reason"]]
    return {
        "conditions": list(conditions),
        "methods": list(methods),
        "metrics": cells_by_metric,
        "ess": ess.to_dict("records"),
        "seconds_per_1e6": {str(m): float(v) for m, v in seconds.items()},
        "failures": failed.to_dict("records"),
        "seeds": int(rows["seed"].nunique()),
    }


def table(values: Values, metric: str) -> list[str]:
    """The share of the gap by condition and method as lines of text, for the console."""
    methods = values["methods"]
    width = max(len(m) for m in [*values["conditions"], "condition"]) + 2
    lines = [
        f"{metric}: share of the gap between uniform and the oracle"
        " (n.s.: no significant difference)"
    ]
    wide = max(14, *[len(m) + 2 for m in methods])
    lines.append(
        "condition".ljust(width) + "gap".rjust(18) + "".join(m.rjust(wide) for m in methods)
    )
    for condition in values["conditions"]:
        cells = values["metrics"][metric][condition]
        gap = cells[ORACLE]
        gained = f"{gap['mean']:+.4f}{'' if gap['clear'] else ' n.s.'}"
        line = condition.ljust(width) + gained.rjust(18)
        lines.append(line + "".join(told(cells.get(m)).rjust(wide) for m in methods))
    return lines


def told(cell: Mapping[str, Any] | None) -> str:
    """A cell as text: the share of the gap, or the difference if there is no gap."""
    if cell is None:
        return "failed"
    text = f"{cell['share']:+.2f}" if "share" in cell else f"{cell['mean']:+.4f}"
    return text + {"better": "", "worse": " WORSE"}.get(cell["verdict"], " n.s.")


def _cells(
    differences: pd.DataFrame, metric: str, condition: str, methods: Sequence[str]
) -> Values:
    rows = differences[(differences["name"] == metric) & (differences["condition"] == condition)]
    wide = rows.pivot_table(index="seed", columns="method", values="value", dropna=False)
    if ORACLE not in wide:
        return {ORACLE: _mean(np.array([])) | {"clear": False}}
    gap = _mean(wide[ORACLE].dropna().to_numpy())
    gap["clear"] = _better(gap, METRICS[metric])
    cells: Values = {ORACLE: gap}
    for method in methods:
        if method == BASELINE or method not in wide:
            continue
        both = wide[[method, ORACLE]].dropna()
        cell = _mean(both[method].to_numpy())
        cell["p"] = _p(both[method].to_numpy())
        if gap["clear"]:
            cell |= _share(both[method].to_numpy(), both[ORACLE].to_numpy())
        cells[method] = cell
    judged = [cell for name, cell in cells.items() if name != ORACLE]
    for cell, p in zip(judged, holm([cell["p"] for cell in judged]), strict=True):
        cell["p"] = p
        cell["verdict"] = _verdict(cell, METRICS[metric])
    return cells


def _mean(values: Array) -> Values:
    """Mean over seeds with its interval."""
    if len(values) == 0:
        return {"mean": float("nan"), "low": None, "high": None}
    low, high = interval(values) or (None, None)
    return {"mean": float(values.mean()), "low": low, "high": high}


def _better(cell: Mapping[str, Any], more_is_better: bool) -> bool:
    """Whether the whole interval is on the better side of 0."""
    bound, sign = (cell["low"], 1) if more_is_better else (cell["high"], -1)
    return bound is not None and sign * bound > 0


def _p(values: Array) -> float:
    """p-value of Student's test for a mean of 0; 1 if the values cannot show a difference."""
    if len(values) < 2 or not values.any():
        return 1.0
    if np.ptp(values) == 0:
        return 0.0
    return float(stats.ttest_1samp(values, 0).pvalue)


def _verdict(cell: Mapping[str, Any], more_is_better: bool) -> str:
    if not cell["p"] < _LEVEL:
        return NO_DIFFERENCE
    return "better" if (cell["mean"] > 0) == more_is_better else "worse"


def _share(method: Array, oracle: Array) -> Values:
    """The share of the gap, with a percentile interval over resampled seeds."""
    share = float(method.mean() / oracle.mean())
    if len(method) < 2:
        return {"share": share, "share_low": None, "share_high": None}
    drawn = np.random.default_rng(0).integers(0, len(method), (_RESAMPLES, len(method)))
    below = oracle[drawn].mean(1)
    shares = method[drawn].mean(1) / np.where(below == 0, np.nan, below)
    low, high = np.nanpercentile(shares, [2.5, 97.5])
    return {"share": share, "share_low": float(low), "share_high": float(high)}
