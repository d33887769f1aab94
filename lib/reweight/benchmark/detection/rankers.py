"""T3: rankers on the weights of the methods, judged on clean rows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reweight.benchmark.detection.draws import Draw
from reweight.benchmark.detection.protocol import Benchmark, auc_of
from reweight.benchmark.ranking import Labelled, probabilities

Array = NDArray[np.float64]


def areas(
    weight: Array, draw: Draw, benchmark: Benchmark, seed: int
) -> Iterator[tuple[str, float]]:
    """The AUC of each ranker on the weights; those of `uniform` weights are what to compare with.

    Args:
        weight: weights of the training rows, float64 [N].
        draw: the rows.
        benchmark: the section ``benchmark``.
        seed: of the rankers.

    Yields:
        Name of the metric, and its value.

    Raises:
        ReweightError: a ranker cannot be fitted.
    """
    from sklearn.metrics import roc_auc_score

    splits = (draw.train, draw.validation, draw.test)
    weights = (weight, *[np.ones(len(rows)) for rows in splits[1:]])
    train, *held_out = (
        Labelled(rows.matrix().astype(np.float64), rows.label.astype(np.float64), w)
        for rows, w in zip(splits, weights, strict=True)
    )
    for ranker in benchmark.rankers:
        p = probabilities(
            ranker,
            train,
            held_out,
            draw.train.cardinalities,
            batch_size=benchmark.batch_size,
            seed=seed,
        )
        yield auc_of(ranker.name), float(roc_auc_score(draw.test.label, p[-len(draw.test) :]))
