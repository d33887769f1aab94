"""The recalibration of a ranker's predictions on the validation rows of a judge.

``linear`` minimises sum_b [n_b log(1 + exp(a + s z_b)) - pos_b (a + s z_b)] over an intercept a and
a slope s >= 0, with z_b the log odds of a bin (Platt 1999, "Probabilistic Outputs for Support
Vector Machines", without its prior). It stays convex where a judge counts a row with a positive
mass above 1 and a negative one below 0, since their sum n_b is not negative. ``isotonic`` is the
monotone function with the least squared error (Zadrozny and Elkan 2002), by pooling adjacent
violators.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Recalibrated probabilities stay within these, so that their logarithms are finite.
_LOWEST = 1e-6
_STEPS = 100
_STEEPEST = 50.0


def recalibrated(z: Array, n: Array, pos: Array, kind: str, shown: Array | None = None) -> Array:
    """Recalibrated probabilities of bins.

    Args:
        z: log odds of the bins of the rows that it is fitted on, ascending, [bins].
        n: sum of the masses of their rows, 0 or more, [bins].
        pos: sum of their positive masses, [bins].
        kind: ``linear`` or ``isotonic``.
        shown: log odds of the bins to recalibrate, [k]; by default ``z``.

    Returns:
        Probabilities [k]; those of the log odds themselves if the rows have only one class.
    """
    shown = z if shown is None else shown
    total, positive = float(n.sum()), float(pos.sum())
    if not 0 < positive < total:
        return _sigmoid(shown)
    if kind == "isotonic":
        return np.clip(np.interp(shown, z, _isotonic(n, pos)), _LOWEST, 1 - _LOWEST)
    intercept, slope = _linear(z, n, pos)
    return np.clip(_sigmoid(intercept + slope * shown), 1e-15, 1 - 1e-12)


def _linear(z: Array, n: Array, pos: Array) -> tuple[float, float]:
    """Intercept and slope, by Newton's method with halved steps."""
    rate = pos.sum() / n.sum()
    constant = np.array([np.log(rate / (1 - rate)), 0.0])
    design = np.stack([np.ones_like(z), z])
    best = np.array([0.0, 1.0])
    loss = _loss(best @ design, n, pos)
    for _ in range(_STEPS):
        p = _sigmoid(best @ design)
        gradient = design @ (n * p - pos)
        hessian = (design * (n * p * (1 - p))) @ design.T + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        if best[1] > _STEEPEST:
            break
        size = 1.0
        while size > 1e-6 and _loss((best - size * step) @ design, n, pos) > loss:
            size /= 2
        best = best - size * step
        gained, loss = loss - _loss(best @ design, n, pos), _loss(best @ design, n, pos)
        if gained <= 1e-12 * max(1.0, abs(loss)):
            break
    if best[1] >= _STEEPEST and (pos <= n).all():
        # Log odds that hardly differ, or that separate the labels: what they order still counts.
        return _intercept(_STEEPEST * z, n, pos), _STEEPEST
    # Below 0 the order is reversed; without bound, masses beyond a row have no best fit.
    intercept, slope = best if 0 < best[1] < _STEEPEST else constant
    return float(intercept), float(slope)


def _intercept(offset: Array, n: Array, pos: Array) -> float:
    """The intercept beside known log odds, at which the predictions sum to the positives."""
    from scipy.optimize import brentq

    logit = float(np.log(pos.sum()) - np.log(n.sum() - pos.sum()))
    low, high = logit - float(offset.max()) - 1, logit - float(offset.min()) + 1
    return float(brentq(lambda a: float(n @ _sigmoid(a + offset) - pos.sum()), low, high))


def _loss(logits: Array, n: Array, pos: Array) -> float:
    return float(n @ np.logaddexp(0, logits) - pos @ logits)


def _isotonic(n: Array, pos: Array) -> Array:
    """The monotone rate of each bin, weighted by the masses."""
    from sklearn.isotonic import IsotonicRegression

    weight, place = np.maximum(n, 1e-12), np.arange(len(n))
    fitted = IsotonicRegression().fit(place, pos / weight, sample_weight=weight)
    return np.asarray(fitted.predict(place), dtype=np.float64)


def _sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -700, 700))))
