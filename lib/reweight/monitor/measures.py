"""Counts by day -> what differs from the reference, and whether it is an alarm.

    PSI = sum_b (q_b - p_b) log(q_b / p_b)

over bins b with the shares p of the reference and q of the day (Karakoulas 2004), each count plus a
half. Without any drift, PSI / (1 / n + 1 / m) of n and m rows is about a chi-square variable with
bins - 1 degrees of freedom (Yurdakul 2018): limits are widened by its quantile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from reweight.core.asked_days import EPOCH
from reweight.monitor.histograms import MISSING
from reweight.monitor.ranking import Ranked
from reweight.monitor.section import Monitoring

Array = NDArray[np.float64]
# The reference has no day of its own.
REFERENCE = -(10**6)
# Measure -> exit status of its alarm, the most urgent first.
STATUS = {
    "volume": 10,
    "label_rate": 11,
    "open_windows": 12,
    "psi_features": 13,
    "domain_auc": 14,
    "psi_importance": 15,
    "psi_weights": 16,
    "ess_share": 17,
    "ranker_auc": 18,
    "source_volume": 19,
}
# A day without drift raises an alarm by chance in one of so many comparisons.
_CHANCE = 1e-4


@dataclass(frozen=True)
class Variable:
    """What is counted of each row.

    Attributes:
        measure: the measure that it belongs to.
        of: the feature, method or segment.
        limited: whether it can raise an alarm.
    """

    measure: str
    of: str
    limited: bool = True


@dataclass(frozen=True)
class Cells:
    """The counts of one variable on one day, by bin."""

    n: Array
    total: float
    squares: float

    @property
    def rows(self) -> float:
        """Rows with a value."""
        return float(self.n.sum())

    @property
    def ess_share(self) -> float:
        """The effective sample size as a share of the rows with a value; 0 if all values are 0."""
        return self.total**2 / self.squares / self.rows if self.squares else 0.0


def psi(reference: Array, day: Array) -> float:
    """The population stability index of counts by bin, [bins] each; without bins of no rows."""
    present = (reference + day) > 0
    reference, day = reference[present], day[present]
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (reference, day))
    return float(((q - p) * np.log(q / p)).sum())


def psi_noise(reference: Array, day: Array) -> float:
    """The index that chance alone exceeds once in 10,000 comparisons."""
    bins = int(((reference + day) > 0).sum())
    if bins < 2:
        return 0.0
    scale = 1 / max(1.0, reference.sum()) + 1 / max(1.0, day.sum())
    return float(scipy.stats.chi2.ppf(1 - _CHANCE, bins - 1) * scale)


def measured(
    counts: pd.DataFrame,
    variables: Sequence[Variable],
    days: Sequence[int],
    usual_volume: Mapping[str, float],
    areas: Mapping[int, tuple[float, int]],
    ranked: Ranked,
    section: Monitoring,
    sources: Mapping[int, Mapping[str, tuple[int, float | None]]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Rows of the table ``monitoring``.

    Args:
        counts: the output of ``histograms.counted``, with the day ``REFERENCE``.
        variables: what was counted, by index.
        days: the days to report, in days since 1970; those without rows too.
        usual_volume: segment -> samples of a mean day of the reference; "" for all samples.
        areas: day -> AUC of the domain classifier, and the rows of each side that it was scored on.
        ranked: how well the reference's ranker orders the days.
        section: the section ``monitoring``.
        sources: the output of ``days.raw_rows``.
    """
    cells = {key: _cells(part) for key, part in counts.groupby(["day", "variable"])}
    rows = []
    for day in days:
        add = _Rows(EPOCH + timedelta(days=day))
        for index, variable in enumerate(variables):
            before, now = (cells.get((at, index), _NONE) for at in (REFERENCE, day))
            _measure(add, variable, before, now, usual_volume, section)
        if day in areas:
            area, scored = areas[day]
            # The standard deviation of the AUC of two samples of one distribution.
            noise = scipy.stats.norm.ppf(1 - _CHANCE) * ((2 * scored + 1) / 12) ** 0.5 / scored
            add("domain_auc", "", area, 0.5, above=_plus(section.domain_auc, noise))
        _add_ranking(add, day, ranked, section.ranker_auc)
        for source, (delivered, usual) in sources.get(day, {}).items():
            limits = _volume_limits(usual, section.volume)
            add("source_volume", source, delivered, usual, **limits)
        rows += add.rows
    return rows


class _Rows:
    """Collects the rows of one day."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.rows: list[dict[str, Any]] = []

    def __call__(
        self,
        measure: str,
        of: str,
        value: float | None,
        reference: float | None,
        *,
        above: float | None = None,
        below: float | None = None,
    ) -> None:
        """Adds a row, with an alarm if its value is above one limit or below the other."""
        high = value is not None and above is not None and value > above
        low = value is not None and below is not None and value < below
        limit = below if low or above is None else above
        numbers = {"value": value, "reference": reference, "limit": limit}
        # Spark takes no numbers of numpy.
        plain = {name: None if x is None else float(x) for name, x in numbers.items()}
        row = {"day": self.day, "measure": measure, "of": of or None}
        self.rows.append(row | plain | {"alarm": bool(high or low)})


_NONE = Cells(np.zeros(1), 0.0, 0.0)


def _cells(part: pd.DataFrame) -> Cells:
    present = part[part["bin"] != MISSING]
    n = np.zeros(int(part["bin"].max()) + 1)
    n[present["bin"].to_numpy(int)] = present["n"].to_numpy(float)
    return Cells(n, float(present["total"].sum()), float(present["squares"].sum()))


def _measure(
    add: _Rows,
    variable: Variable,
    before: Cells,
    now: Cells,
    usual_volume: Mapping[str, float],
    section: Monitoring,
) -> None:
    """Adds the rows of one variable."""
    measure, of = variable.measure, variable.of
    if measure == "volume":
        usual = usual_volume.get(of)
        limits = _volume_limits(usual, section.volume)
        add(measure, of, now.rows, usual, **(limits if variable.limited else {}))
    elif measure == "label_rate":
        rate = before.total / before.rows if before.rows else None
        value = now.total / now.rows if now.rows else None
        if rate and section.label_rate and now.rows:
            noise = scipy.stats.norm.ppf(1 - _CHANCE) * (rate * (1 - rate) / now.rows) ** 0.5
            room = section.label_rate * rate + noise
            add(measure, of, value, rate, above=rate + room, below=rate - room)
        else:
            add(measure, of, value, rate)
    elif measure == "open_windows":
        shares = [cells.total / cells.rows if cells.rows else None for cells in (now, before)]
        add(measure, of, *shares, above=section.open_windows)
    elif now.rows and before.rows:
        size = max(len(before.n), len(now.n))
        p, q = (np.pad(cells.n, (0, size - len(cells.n)))[1:] for cells in (before, now))
        limit = _plus(getattr(section, measure), psi_noise(p, q)) if variable.limited else None
        add(measure, of, psi(p, q), 0.0, above=limit)
        if measure == "psi_weights":
            lowest = section.ess_share and section.ess_share * before.ess_share
            add("ess_share", of, now.ess_share, before.ess_share, below=lowest)


def _add_ranking(add: _Rows, day: int, ranked: Ranked, fall: float | None) -> None:
    order, usual = ranked.days.get(day), ranked.usual
    if order is None or order.auc is None or usual is None:
        return
    noise = scipy.stats.norm.ppf(1 - _CHANCE) * (order.variance(usual) + ranked.error**2) ** 0.5
    add("ranker_auc", "", order.auc, usual, below=None if fall is None else usual - fall - noise)


def _volume_limits(usual: float | None, factor: float | None) -> dict[str, float]:
    if usual is None or factor is None:
        return {}
    return {"above": usual * factor, "below": usual / factor}


def _plus(limit: float | None, noise: float) -> float | None:
    return None if limit is None else limit + noise


def alarms(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows with an alarm, the most urgent measure first."""
    order = list(STATUS)
    raised = [row for row in rows if row["alarm"]]
    return sorted(raised, key=lambda row: (order.index(row["measure"]), str(row["day"])))


def exit_status(rows: Sequence[Mapping[str, Any]]) -> int:
    """The exit status of the most urgent alarm; 0 if there is none."""
    raised = alarms(rows)
    return STATUS[raised[0]["measure"]] if raised else 0
