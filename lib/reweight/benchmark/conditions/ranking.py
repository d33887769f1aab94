"""The rankers of a world in memory: classes of the pipeline, fitted to arrays.

`logistic_regression` is scikit-learn's, sum_i w_i l_i + |b|^2 / (2 C) with w of mean 1, which has
the same minimum as Spark's at r = 1 / (C sum w). `lightgbm` is what the pipeline fits in a task.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.train_ranker.in_python import TrainingRows
from reweight.train_ranker.rankers.lightgbm import LightGbm
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

Array = NDArray[np.float64]

InMemory = LogisticRegression | LightGbm
# Positions from here on share an indicator.
_POSITIONS = 20


def probabilities(
    ranker: InMemory,
    x: Array,
    y: Array,
    weights: Array,
    held_out: Sequence[Array],
    cardinalities: Sequence[int],
    seed: int,
) -> Array:
    """p(y = 1) of the rows of several matrices, one after the other.

    Args:
        ranker: the ranker.
        x: features, then an indicator for each value of each id, float64 [N, D + sum of sizes].
        y: labels of the training rows.
        weights: their weights.
        held_out: matrices like ``x``.
        cardinalities: sizes of the id spaces.
        seed: the run's seed.
    """
    if isinstance(ranker, LogisticRegression):
        return _by_regression(ranker.C, x, y, weights, held_out)
    used = weights > 0
    numbers = pd.DataFrame({"label": y[used], "weight": weights[used]})
    rows = TrainingRows(_with_ids(x[used], cardinalities), numbers)
    score = ranker.trained(rows, len(cardinalities), seed).loaded()
    margins = np.concatenate([score(_with_ids(matrix, cardinalities)) for matrix in held_out])
    return np.asarray(1 / (1 + np.exp(-margins)))


def of_positions(position: "pd.Series[Any]") -> Array:
    """log(position) and an indicator for each position, float64 [N, 21]; 0 without a position."""
    numbers = position.astype(float).to_numpy()
    place = np.where(np.isnan(numbers), 0, np.clip(numbers, 1, _POSITIONS)).astype(int)
    hot = np.eye(_POSITIONS + 1)[place][:, 1:]
    return np.concatenate([np.log(np.maximum(place, 1))[:, None], hot], axis=1)


def _by_regression(
    C: float,  # noqa: N803
    x: Array,
    y: Array,
    weights: Array,
    held_out: Sequence[Array],
) -> Array:
    from sklearn.linear_model import LogisticRegression as InSklearn

    model = InSklearn(C=C, solver="newton-cholesky", max_iter=200, tol=1e-8)
    model.fit(x, y, sample_weight=weights)
    return np.concatenate([model.predict_proba(matrix)[:, 1] for matrix in held_out])


def _with_ids(matrix: Array, cardinalities: Sequence[int]) -> NDArray[np.float32]:
    """A number in place of the indicators of each id, float32 [N, D + fields]."""
    ends = matrix.shape[1] - sum(cardinalities) + np.cumsum([0, *cardinalities])
    features = matrix[:, : ends[0]].astype(np.float32)
    ids = [matrix[:, a:b].argmax(1) for a, b in pairwise(ends)]
    return np.column_stack([features, *ids]).astype(np.float32, copy=False)
