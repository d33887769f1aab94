"""Which methods help under which condition: worlds with one fault, averaged over seeds.

    share of the gap = mean_s (m_s - uniform_s) / mean_s (oracle_s - uniform_s)

over the seeds s of a condition that the method has, for each metric; 1 is the gain from knowing the
truth, below 0 is worse than uniform. It is given only if the interval of the gap over these seeds
shows that the oracle is better. Its own interval is Fieller's.
A loss has two parts, which are shown apart: ranking, the loss after the ranker's recalibration on
validation rows of the judge, and level, what recalibration takes away at no cost. So a method that
is better in the ranking part is better than `uniform, recalibrated`.

Whether a method is better or worse than uniform is decided by Student's test over the seeds with
Holm's correction for the number of methods: without it, one of ten ineffective methods would seem
to have an effect in two conditions of five.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from reweight.benchmark.conditions import agreement, curves, wrong_labels
from reweight.benchmark.conditions.judges import TRUTH
from reweight.benchmark.conditions.worlds import POSITION_AS_FEATURE, SECONDS
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.detection.statistics import interval, ratio_interval
from reweight.core.baselines import BASELINE, RECALIBRATED
from reweight.core.multiple_tests import holm
from reweight.core.section import Name, RunId, Section
from reweight.simulate_logs.section import Simulation

Array = NDArray[np.float64]
Values = dict[str, Any]

# Metrics on the page, and whether higher is better.
METRICS = {
    "auc": True,
    "ranking_log_loss": False,
    "level_log_loss": False,
    "pr_auc": True,
    "gauc": True,
    "log_loss": False,
    "normalised_entropy": False,
    "worst_group_log_loss": False,
}
# Samples of a world. One takes about 2 KB of a task's memory, since there are about six matrices of
# 40 features of 8 bytes: 3 GB for the largest.
_SMALLEST, _LARGEST = 1_000, 1_500_000
_LEVEL = 0.05
NO_DIFFERENCE = "no significant difference"


@dataclass(frozen=True)
class Named:
    """What a world is.

    Attributes:
        condition: what goes wrong in it.
        size: number of samples; None where the config names no sizes.
        seed: seed of the world.
    """

    condition: str
    size: int | None
    seed: int


class Conditions(Section):
    """The section ``conditions``.

    Attributes:
        worlds: condition -> the settings that differ from the section ``simulation``, which
            describes a log without distortion; a condition may change several settings. The names
            are those of ``simulation.worlds``.
        only: the conditions of ``worlds`` that are run; by default all.
        sizes: numbers of samples of a world. Each condition then has worlds of each size, with
            sessions and users in proportion, and the page shows at which size weights begin to pay.
            By default worlds have the size of ``simulation``. A task holds a world in memory: about
            2 KB a sample at 40 features, so 3 GB for the largest, 1,500,000.
        seeds: number of worlds per condition and size.
        beside: other runs under the same root whose methods the page also shows, as a shared
            leaderboard. They must have judged the same worlds, with the same rankers and the same
            section ``evaluation``.
    """

    worlds: dict[Name, dict[str, float]] = Field(min_length=1)
    only: tuple[Name, ...] = ()
    sizes: tuple[int, ...] = ()
    seeds: int = Field(default=5, ge=1)
    beside: tuple[RunId, ...] = ()

    @field_validator("sizes")
    @classmethod
    def _fit_in_memory(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [size for size in sizes if not _SMALLEST <= size <= _LARGEST]
        if wrong or len(set(sizes)) < len(sizes):
            raise ValueError(
                f"expected different sizes from {_SMALLEST:,} to {_LARGEST:,} samples, since one "
                f"task holds a world in memory, about 3 GB for the largest; got "
                f"{', '.join(f'{size:,}' for size in wrong or sizes)}. A larger log is run through "
                "the stages of the pipeline"
            )
        return tuple(sorted(sizes))

    @model_validator(mode="after")
    def _only_known(self) -> Self:
        if unknown := [name for name in self.only if name not in self.worlds]:
            raise ValueError(f"only: expected some of {list(self.worlds)}, got {unknown}")
        return self

    @property
    def chosen(self) -> list[str]:
        """The conditions that are run, in the order of ``worlds``."""
        return [name for name in self.worlds if name in self.only or not self.only]

    def names(self) -> dict[str, Named]:
        """World -> what it is, the smallest first."""
        seeds = range(self.seeds)
        if not self.sizes:
            return {f"{c}__{s}": Named(c, None, s) for c in self.chosen for s in seeds}
        return {
            f"{c}__{size}__{s}": Named(c, size, s)
            for size in self.sizes
            for c in self.chosen
            for s in seeds
        }

    def simulated(self, simulation: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """World -> its settings, for ``simulation.worlds``.

        Args:
            simulation: the section ``simulation`` as it was written.
        """
        sessions, users, shown = (
            simulation.get(key, Simulation.model_fields[key].default)
            for key in ("sessions", "users", "list_size")
        )
        worlds = {}
        for name, named in self.names().items():
            worlds[name] = dict(self.worlds[named.condition])
            if named.size is not None:
                world_sessions = round(named.size / shown)
                world_users = max(1, round(users * world_sessions / sessions))
                worlds[name] = {"sessions": world_sessions, "users": world_users} | worlds[name]
        return worlds

    def labels(self, rankers: Sequence[str]) -> list[str]:
        """The rows of the tables: conditions, by ranker, at each size.

        Args:
            rankers: names of the rankers; rows of the first one do not name it.
        """
        return [
            label(ranked(condition, ranker), size)
            for condition in self.chosen
            for ranker in (None, *rankers[1:])
            for size in self.sizes or (None,)
        ]


def ranked(condition: str, ranker: str | None) -> str:
    """A condition with a ranker, as the table names it; None is the first ranker."""
    return condition if ranker is None else f"{condition}, {ranker}"


def label(condition: str, size: int | None) -> str:
    """A condition at a size, as the tables name it."""
    return condition if size is None else f"{condition} at {size:,}"


def content(rows: pd.DataFrame, conditions: Sequence[str], methods: Sequence[str]) -> Values:
    """Means over seeds of the table ``conditions``, as values that JSON can hold.

    Args:
        rows: rows of the table.
        conditions: the conditions at each size, in order, as ``Conditions.labels`` names them.
        methods: the methods, in order, without uniform and the oracle.
    """
    sizes = [None if pd.isna(size) else int(size) for size in rows["size"]]
    labels = [label(c, size) for c, size in zip(rows["condition"], sizes, strict=True)]
    rows = rows.assign(group=rows["condition"], condition=np.array(labels, dtype=object))
    differences = rows[(rows["kind"] == "difference") & (rows["judge"] == TRUTH)]
    parts: dict[Any, pd.DataFrame] = dict(list(differences.groupby(["name", "condition"])))
    cells_by_metric = {
        metric: {
            condition: _cells(parts.get((metric, condition), rows[:0]), metric, methods)
            for condition in conditions
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
        "judges": agreement.content(rows, conditions),
        "curves": curves.content(rows, cells_by_metric, methods),
        "wrong_labels": wrong_labels.content(rows, conditions, methods),
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
        line = condition.ljust(width) + gap_told(cells[ORACLE]).rjust(18)
        lines.append(line + "".join(told(cells.get(m), m).rjust(wide) for m in methods))
    return lines


def gap_told(gap: Mapping[str, Any]) -> str:
    """The difference of the oracle to uniform as text."""
    if np.isnan(gap["mean"]):
        return "-"
    return f"{gap['mean']:+.4f}" + ("" if gap["clear"] else " n.s.")


def told(cell: Mapping[str, Any] | None, method: str) -> str:
    """A cell as text: the share of the gap, or the difference if there is no gap."""
    if cell is None:
        # Only a linear ranker takes the position, and only in worlds that have one.
        return "-" if method == POSITION_AS_FEATURE else "failed"
    if np.isnan(cell["mean"]):
        return "-"
    text = f"{cell['share']:+.2f}" if "share" in cell else f"{cell['mean']:+.4f}"
    return text + {"better": "", "worse": " WORSE"}.get(cell["verdict"], " n.s.")


def _cells(rows: pd.DataFrame, metric: str, methods: Sequence[str]) -> Values:
    wide = rows.pivot_table(index="seed", columns="method", values="value", dropna=False)
    if ORACLE not in wide:
        return {ORACLE: _mean(np.array([])) | {"clear": False}}
    gap = _mean(wide[ORACLE].dropna().to_numpy())
    gap["clear"] = _better(gap, METRICS[metric])
    cells: Values = {ORACLE: gap}
    for method in methods:
        if method == BASELINE or method not in wide:
            continue
        paired = wide[[method, ORACLE]].dropna()
        # Empty where a metric is not known, such as the worst group's after recalibration.
        cell = _mean(paired[method].to_numpy())
        cell["p"] = _p(paired[method].to_numpy())
        # A method that lacks seeds may lack those with a gap.
        if gap["clear"] and _better(_mean(paired[ORACLE].to_numpy()), METRICS[metric]):
            cell |= _share(paired[method].to_numpy(), paired[ORACLE].to_numpy())
        cells[method] = cell
    # Recalibration is no method: it would only make the correction for their number stricter.
    judged = [cell for name, cell in cells.items() if name not in (ORACLE, RECALIBRATED)]
    for cell, p in zip(judged, holm([cell["p"] for cell in judged]), strict=True):
        cell["p"] = p
        cell["verdict"] = _verdict(cell, METRICS[metric])
    if recalibrated := cells.get(RECALIBRATED):
        recalibrated["verdict"] = _verdict(recalibrated, METRICS[metric])
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
    return float(scipy.stats.ttest_1samp(values, 0).pvalue)


def _verdict(cell: Mapping[str, Any], more_is_better: bool) -> str:
    if not cell["p"] < _LEVEL:
        return NO_DIFFERENCE
    return "better" if (cell["mean"] > 0) == more_is_better else "worse"


def _share(method: Array, oracle: Array) -> Values:
    """The share of the gap with its interval."""
    low, high = ratio_interval(method, oracle) or (None, None)
    share = float(method.mean() / oracle.mean())
    return {"share": share, "share_low": low, "share_high": high}
