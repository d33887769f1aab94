"""Log odds as a line in the scores of a ranker that gives no log odds (Platt 1999)."""

import numpy as np
from numpy.typing import NDArray


def fitted_line(
    score: NDArray[np.float64],
    positive: NDArray[np.float64],
    negative: NDArray[np.float64],
    start: float,
) -> tuple[float, float]:
    """The log odds as a line in a score: intercept and slope, by Newton's method.

    The unit of the score does not matter. Of a score that is the same for all rows, the slope is 0.

    Args:
        score: of each bin of rows.
        positive: sum of the weights of its rows with label 1.
        negative: likewise with label 0.
        start: a first intercept.
    """
    mass = positive + negative
    mean = float(mass @ score / mass.sum())
    deviation = float(np.sqrt(mass @ (score - mean) ** 2 / mass.sum()))
    if deviation <= 1e-9 * np.abs(score).max():
        # Nothing but rounding.
        deviation = 1.0
    x = np.stack([np.ones_like(score), (score - mean) / deviation])
    beta = np.array([start, 0.0])
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
    slope = float(beta[1]) / deviation
    return float(beta[0]) - slope * mean, slope
