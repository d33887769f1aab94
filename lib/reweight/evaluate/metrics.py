r"""Metrics from histograms of scores: numpy only, vectorised over resamples.

A histogram holds the number of positives and negatives per bin of ascending score, so that
    AUC = sum_b pos_b (neg_{<b} + neg_b / 2) / (P N)
and average precision = sum_b (pos_b / P) precision_b, over bins from the highest score down, as
scikit-learn defines it. Rows in the same bin count as ties. All functions take arrays whose last
axis is the bins and broadcast over the other axes; an undefined metric (one class only) is NaN.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def auc(pos: Array, neg: Array) -> Array:
    """Area under the ROC curve; [..., bins] -> [...]."""
    below = np.cumsum(neg, axis=-1) - neg / 2
    return ratio((pos * below).sum(-1), pos.sum(-1) * neg.sum(-1))


def average_precision(pos: Array, neg: Array) -> Array:
    """Area under the stepwise precision-recall curve; [..., bins] -> [...]."""
    hits = np.cumsum(pos[..., ::-1], axis=-1)
    seen = np.cumsum((pos + neg)[..., ::-1], axis=-1)
    steps: Array = pos[..., ::-1] * ratio(hits, seen, 0.0)
    return ratio(steps.sum(-1), pos.sum(-1))


def entropy(rate: Array) -> Array:
    """Entropy of a label with this positive rate, in nats; 0 if there is one class only."""
    inside = np.clip(rate, 1e-300, 1 - 1e-16)
    nats = -(inside * np.log(inside) + (1 - inside) * np.log1p(-inside))
    # Exactly 0, so that what is divided by it is undefined and not huge.
    return np.asarray(np.where((rate <= 0) | (rate >= 1), 0.0, nats))


def calibration_error(count: Array, predicted: Array, positives: Array) -> Array:
    """ECE: row-weighted mean over bins of |mean prediction - label rate|; [..., bins] -> [...]."""
    return ratio(np.abs(predicted - positives).sum(-1), count.sum(-1))


def confusion(pos: Array, neg: Array) -> tuple[Array, Array, Array, Array]:
    """(tp, fp, fn, tn) if bin b and all higher bins are called positive; each [..., bins]."""
    tp = np.cumsum(pos[..., ::-1], axis=-1)[..., ::-1]
    fp = np.cumsum(neg[..., ::-1], axis=-1)[..., ::-1]
    return tp, fp, pos.sum(-1, keepdims=True) - tp, neg.sum(-1, keepdims=True) - fp


def macro_precision(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    """Mean precision of the two classes; a class that is never predicted has precision 0."""
    return (ratio(tp, tp + fp, 0.0) + ratio(tn, tn + fn, 0.0)) / 2


def macro_recall(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    """Mean recall of the two classes; equals macro precision with the arguments swapped."""
    return (ratio(tp, tp + fn, 0.0) + ratio(tn, tn + fp, 0.0)) / 2


def macro_f1(tp: Array, fp: Array, fn: Array, tn: Array) -> Array:
    """Mean F1 of the two classes."""
    return (ratio(2 * tp, 2 * tp + fp + fn, 0.0) + ratio(2 * tn, 2 * tn + fp + fn, 0.0)) / 2


def ratio(above: Array, below: Array, undefined: float = np.nan) -> Array:
    """above / below; ``undefined`` where below is 0, NaN where either is NaN."""
    below = np.asarray(below, dtype=np.float64)
    empty = below <= 0
    return np.asarray(np.where(empty, undefined, above / np.where(empty, 1.0, below)))
