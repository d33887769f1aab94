"""Weights and rankers in memory: classes of the pipeline, fitted to arrays.

`logistic_regression` is scikit-learn's, sum_i w_i l_i + |b|^2 / (2 C) with w of mean 1, which has
the same minimum as Spark's at r = 1 / (C sum w). `lightgbm` is what the pipeline fits in a task,
and `deep` what its ranks train, in one process.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.importance.base import ImportanceMethod
from reweight.score_weights.policy import Weighting, fit_policy, weight_in_memory
from reweight.score_weights.training_rows import MemoryRows
from reweight.train_ranker.in_python import TrainingRows
from reweight.train_ranker.rankers.deep import Deep
from reweight.train_ranker.rankers.lightgbm import LightGbm
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

Array = NDArray[np.float64]

InMemory = LogisticRegression | LightGbm | Deep
# Positions from here on share an indicator.
_POSITIONS = 20


@dataclass(frozen=True)
class Labelled:
    """N rows with labels and weights.

    Attributes:
        x: features, then an indicator for each value of each id, float64 [N, D + sum of sizes].
        y: labels, 0 or 1, float64 [N].
        weights: float64 [N].
    """

    x: Array
    y: Array
    weights: Array


def probabilities(
    ranker: InMemory,
    train: Labelled,
    held_out: Sequence[Labelled],
    cardinalities: Sequence[int],
    *,
    batch_size: int,
    seed: int,
) -> Array:
    """p(y = 1) of the held-out rows, one table after the other.

    Args:
        ranker: the ranker.
        train: the training rows.
        held_out: validation rows, by which `deep` stops, and others, whose labels are not read.
        cardinalities: sizes of the id spaces.
        batch_size: rows per training step of `deep`.
        seed: the run's seed.
    """
    matrices = [rows.x for rows in held_out]
    if isinstance(ranker, LogisticRegression):
        return _by_regression(ranker.C, train, matrices)
    if isinstance(ranker, Deep):
        margins = _by_network(ranker, train, held_out, cardinalities, batch_size, seed)
    else:
        margins = _by_trees(ranker, train, matrices, cardinalities, seed)
    return np.asarray(1 / (1 + np.exp(-margins)))


def weights_of(
    method: ImportanceMethod, importance: Array, policy: Weighting, segments: NDArray[Any]
) -> Array:
    """Weights of the training rows by a method, float64 [N].

    Args:
        method: the method.
        importance: importance of the training rows, float64 [N].
        policy: the weight policy.
        segments: their segments, [N].
    """
    rows = MemoryRows({method.name: importance}, segments)
    stats = fit_policy(rows, policy, [method])[method.name]
    weights = weight_in_memory(importance, policy, stats, segments)
    # As in the pipeline's ranker: regularisation uses the sum of raw importance.
    return weights * importance.mean() if method.keeps_scale else weights


def of_positions(position: "pd.Series[Any]") -> Array:
    """log(position) and an indicator for each position, float64 [N, 21]; 0 without a position."""
    numbers = position.astype(float).to_numpy()
    place = np.where(np.isnan(numbers), 0, np.clip(numbers, 1, _POSITIONS)).astype(int)
    hot = np.eye(_POSITIONS + 1)[place][:, 1:]
    return np.concatenate([np.log(np.maximum(place, 1))[:, None], hot], axis=1)


def _by_regression(C: float, train: Labelled, held_out: Sequence[Array]) -> Array:  # noqa: N803
    from sklearn.linear_model import LogisticRegression as InSklearn

    model = InSklearn(C=C, solver="newton-cholesky", max_iter=200, tol=1e-8)
    model.fit(train.x, train.y, sample_weight=train.weights)
    return np.concatenate([model.predict_proba(matrix)[:, 1] for matrix in held_out])


def _by_trees(
    ranker: LightGbm,
    train: Labelled,
    held_out: Sequence[Array],
    cardinalities: Sequence[int],
    seed: int,
) -> Array:
    used = train.weights > 0
    numbers = pd.DataFrame({"label": train.y[used], "weight": train.weights[used]})
    rows = TrainingRows(_with_ids(train.x[used], cardinalities), numbers)
    score = ranker.trained(rows, len(cardinalities), seed).loaded()
    return np.concatenate([score(_with_ids(matrix, cardinalities)) for matrix in held_out])


def _by_network(
    ranker: Deep,
    train: Labelled,
    held_out: Sequence[Labelled],
    cardinalities: Sequence[int],
    batch_size: int,
    seed: int,
) -> Array:
    import torch

    from reweight.importance.artifact import Scorer
    from reweight.importance.batch import Batch
    from reweight.importance.cross_network import DeepNetwork
    from reweight.importance.training import TrainFacts
    from reweight.training.in_memory import fit_in_memory

    network = DeepNetwork.of(ranker.name, ranker)

    def batch(rows: Labelled) -> Batch:
        table, fields = _with_ids(rows.x, cardinalities), len(cardinalities)
        features, ids = np.split(table, [table.shape[1] - fields], axis=1)
        # Weights of mean 1, as the network expects.
        weights = torch.tensor(rows.weights / rows.weights.mean(), dtype=torch.float32)
        return Batch(
            torch.arange(len(table)),
            torch.tensor(features),
            torch.tensor(ids, dtype=torch.int64),
            torch.tensor(rows.y, dtype=torch.float32),
            {network.training.weight: weights},
        )

    facts = TrainFacts(
        dim=train.x.shape[1] - sum(cardinalities),
        cardinalities=tuple(cardinalities),
        rows=len(train.y),
        positives=round(train.y.sum()),
        seed=seed,
    )
    batches = [batch(rows) for rows in (train, *held_out)]
    models, _ = fit_in_memory([network], facts, *batches[:2], batch_size=batch_size)
    scorer = Scorer(models)
    margins = [scorer(rows)[network.name].double().numpy() for rows in batches[1:]]
    return np.concatenate(margins)


def _with_ids(matrix: Array, cardinalities: Sequence[int]) -> NDArray[np.float32]:
    """A number in place of the indicators of each id, float32 [N, D + fields]."""
    ends = matrix.shape[1] - sum(cardinalities) + np.cumsum([0, *cardinalities])
    features = matrix[:, : ends[0]].astype(np.float32)
    ids = [matrix[:, a:b].argmax(1) for a, b in pairwise(ends)]
    return np.column_stack([features, *ids]).astype(np.float32, copy=False)
