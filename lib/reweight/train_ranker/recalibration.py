"""Log odds from what a ranker gives: a constant that repairs its level, or a line in its scores."""

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight
from reweight.train_ranker.rankers.base import FittedRanker


def recalibrated(ranker: FittedRanker, train: DataFrame) -> FittedRanker:
    """The ranker, shifted so that mean prediction = label rate on ``train``.

    Rows count as often as their ``design_weight`` says, so that the rate is that of the whole log.
    """
    scored, c = ranker.with_log_odds(train, "z"), design_weight(train)
    bins = scored.groupBy(F.floor(F.col("z") * 200)).agg(
        F.sum(c).alias("n"),
        (F.sum(c * F.col("z")) / F.sum(c)).alias("z"),
        F.sum(c * F.col("label")).alias("positives"),
    )
    # Small by nature: occupied bins of 0.005 in log odds.
    rows = bins.collect()
    n, z = (np.array([row[name] for row in rows], dtype=float) for name in ("n", "z"))
    positives, shift = sum(row["positives"] for row in rows), 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-(z + shift)))
        step = (positives - n @ p) / max(float(n @ (p * (1 - p))), 1e-12)
        # A full Newton step from far away can land where the slope is almost 0.
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return ranker.shifted(shift)


def fitted_line(
    score: NDArray[np.float64],
    positive: NDArray[np.float64],
    negative: NDArray[np.float64],
    start: float,
) -> tuple[float, float]:
    """The log odds as a line in a score (Platt 1999): intercept and slope, by Newton's method.

    Args:
        score: of each bin of rows.
        positive: sum of the weights of its rows with label 1.
        negative: likewise with label 0.
        start: a first intercept.
    """
    x = np.stack([np.ones_like(score), score])
    beta, mass = np.array([start, 0.0]), positive + negative
    # As little as a row's worth, for scores that separate the labels or are all alike.
    ridge = np.diag([0.0, 0.01])
    for _ in range(100):
        q = 1 / (1 + np.exp(-(beta @ x)))
        gradient = x @ (positive - mass * q) - ridge @ beta
        step = np.linalg.solve(
            (x * (mass * q * (1 - q))) @ x.T + ridge + 1e-9 * np.eye(2), gradient
        )
        # A full step from far away can land where the slope is almost 0.
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(beta[0]), float(beta[1])
