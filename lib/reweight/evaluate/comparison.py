"""Metrics of each method -> values with intervals, and paired differences to the baseline.

``uniform_recalibrated`` is the baseline after the recalibration of its level, which costs nothing:
weights help only if they do more. All methods share the draws of the bootstrap, so a difference is
one of pairs. Its p-value is Student's with the bootstrap's standard error. For losses the
hypothesis is that the difference is no larger than ``evaluation.smallest_difference`` (a
minimum-effect test: Murphy and Myors 1999, "Testing the Hypothesis That Treatments Have Negligible
Effects"), for other metrics that it is 0.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.core.baselines import RECALIBRATED
from reweight.evaluate import bootstrap
from reweight.evaluate.section import Evaluation

Row = dict[str, Any]

# Counts of rows: they have neither intervals nor differences.
_COUNTS = ("groups_left_out", "rows", "positives", "effective_positives", "effective_buckets")
# Metric -> the same after recalibration. Metrics that only see the order do not change.
_RECALIBRATED = {
    "log_loss": "ranking_log_loss",
    "brier": "ranking_brier",
    "normalised_entropy": "ranking_normalised_entropy",
    "calibration_ratio": "ranking_calibration_ratio",
}
# What the bins do not show after recalibration.
_UNKNOWN = ("ece", "macro_precision", "macro_recall", "worst_group_log_loss")
# Equal predictions differ by the rounding of their sums.
_NOISE = 1e-12
_NO_LEVEL = ("level_log_loss", "level_brier")
# Where a difference can be sure and still too small to matter.
_LOSSES = ("log_loss", "ranking_log_loss", "level_log_loss")
_NUMBERS = ["value", "resampled"]
# The lowest value that a metric can have, where intervals would go below it.
_FLOOR = {"ece": 0.0}


def measure(values: pd.DataFrame, evaluation: Evaluation, baseline: str) -> list[Row]:
    """Metrics with intervals, and differences to the baseline with paired intervals.

    Args:
        values: the output of ``values_of`` for every judge, method and split.
        evaluation: the section ``evaluation``.
        baseline: the method that the others are compared to.

    Returns:
        Rows with ``judge``, ``method``, ``split``, ``segment``, ``name``, ``kind``, ``value``,
        ``low``, ``high`` and ``p``.
    """
    rows: list[Row] = []
    # Spark returns them as lists.
    resampled = values["resampled"].map(lambda draws: np.asarray(draws, dtype=np.float64))
    values = values.assign(resampled=resampled)
    keys = ["judge", "split"]
    for segment in (None, *sorted(values["segment"].dropna().unique())):
        chosen = values["segment"].isna() if segment is None else values["segment"] == segment
        for (judge, split), part in values[chosen].groupby(keys):
            frames = {
                str(method): frame.set_index("name")[[*_NUMBERS, "buckets"]]
                for method, frame in part.groupby("method")
            }
            if baseline in frames:
                frames[RECALIBRATED] = _recalibrated(frames[baseline])
            of = {"judge": judge, "split": split, "segment": segment}
            margin = 0.0
            if baseline in frames:
                loss = frames[baseline]["value"].get("log_loss", 0.0)
                margin = evaluation.smallest_difference * loss
            for method, frame in frames.items():
                row = of | {"method": method}
                if method != baseline:
                    less = frame[_NUMBERS] - frames[baseline].loc[frame.index, _NUMBERS]
                    difference = less.assign(buckets=frame["buckets"])
                    rows += _rows(row, "difference", difference, evaluation.confidence, margin)
                rows += _rows(row, "value", frame, evaluation.confidence)
    return rows


def _recalibrated(baseline: pd.DataFrame) -> pd.DataFrame:
    """The metrics of the baseline after its recalibration."""
    frame = baseline.drop(index=[name for name in _UNKNOWN if name in baseline.index])
    for name, after in _RECALIBRATED.items():
        if after in frame.index:
            frame.loc[[name]] = frame.loc[[after]].to_numpy()
    for name in _NO_LEVEL:
        if name in frame.index:
            numbers = frame.loc[[name], _NUMBERS]
            frame.loc[[name], _NUMBERS] = (numbers - numbers).to_numpy()
    return frame


def _rows(
    row: Row, kind: str, frame: pd.DataFrame, confidence: float, margin: float = 0.0
) -> list[Row]:
    rows = []
    for name, value, resampled, buckets in frame.itertuples():
        if kind == "difference" and name in _COUNTS:
            continue
        floor = _FLOOR.get(name, -np.inf) if kind == "value" else -np.inf
        low, high = bootstrap.interval(resampled, value, confidence, buckets, floor)
        least = margin if name in _LOSSES else 0.0
        p = _p_value(value, resampled, least, buckets) if kind == "difference" else np.nan
        if name in _COUNTS:
            low = high = np.nan
        numbers = {"value": value, "low": low, "high": high, "p": p}
        rows.append(
            row
            | {"name": name, "kind": kind}
            | {k: float(x) if np.isfinite(x) else None for k, x in numbers.items()}
        )
    return rows


def _p_value(
    difference: float, resampled: NDArray[np.float64], margin: float, buckets: float
) -> float:
    """Of a difference of at most the margin; NaN where resamples do not show how it varies."""
    size, error = abs(difference), bootstrap.standard_error(resampled, buckets)
    if not (np.isfinite(size) and np.isfinite(error)):
        return float("nan")
    if size <= max(margin, _NOISE):
        return 1.0
    # Resamples that are all equal do not show it either.
    if error <= _NOISE:
        return float("nan")
    # The chances of both tails at the edge of the hypothesis; two-sided for a margin of 0.
    edges = (size - margin, size + margin)
    return sum(bootstrap.tail(edge, error, buckets) for edge in edges)
