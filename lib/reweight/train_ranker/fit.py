"""Samples and weights -> rankers, and what these predict."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import soft_label
from reweight.score_weights.policy import PolicyStats
from reweight.train_ranker.rankers.logistic_regression import (
    Ranker,
    Ranking,
    check_training,
    doubled,
    fit_ranker,
    gathered,
    recalibrated,
    with_probabilities,
    with_vector,
)

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightColumn:
    """Weights that a ranker is trained on.

    Attributes:
        name: of the column, and of its method.
        soft: whether the labels are the method's own, in the column of ``columns.soft_label``.
        regularised_sum: what regularisation takes for the sum of the weights; None for their sum.
    """

    name: str
    soft: bool = False
    regularised_sum: float | None = None


class RankedMethod(Protocol):
    """What rankers ask of a method."""

    @property
    def name(self) -> str:
        """Of its column of weights."""

    @property
    def soft(self) -> bool:
        """Whether it says what the label of a row is."""

    @property
    def keeps_scale(self) -> bool:
        """Whether the ranker's regularisation sees the sum of raw importance, not mean 1."""


def weighted_train(
    samples: DataFrame,
    wide: DataFrame,
    cardinalities: tuple[int, ...],
    names: list[str],
    soft: Sequence[str] = (),
) -> DataFrame:
    """Training rows: ``label``, ``vector``, weights per method, and labels per soft method."""
    train = samples.where("split = 'train'")
    size: Any = train.agg(F.count("*"), F.max(F.size("features"))).first()
    joined = with_vector(train.join(wide, on="sample_id", how="inner"), cardinalities)
    labels = [F.col(name).cast("double").alias(name) for name in ("label", *map(soft_label, soft))]
    joined = joined.select(*labels, "vector", *names)
    return gathered(joined, size[0], size[1] + len(cardinalities))


def weight_columns(
    methods: Sequence[RankedMethod], policies: Mapping[str, PolicyStats]
) -> tuple[WeightColumn, ...]:
    """The columns of weights of some methods."""
    return tuple(
        WeightColumn(m.name, m.soft, policies[m.name].raw_sum if m.keeps_scale else None)
        for m in methods
    )


def fit_rankers(
    train: DataFrame, weights: Sequence[WeightColumn], ranking: Ranking, *, floor: float
) -> dict[str, Ranker]:
    """A ranker for each column of weights, all on the same rows.

    Args:
        train: of ``weighted_train``.
        weights: its columns of weights.
        ranking: the section.
        floor: smallest effective sample size, as a share of the rows.

    Raises:
        WeightError: as ``check_training``.
    """
    soft = [column.name for column in weights if column.soft]
    sums = check_training(train, [column.name for column in weights], floor, soft)
    rankers = {}
    for column in weights:
        name = column.name
        total = sums[name] if column.regularised_sum is None else column.regularised_sum
        rows = doubled(train, name) if column.soft else train
        ranker = fit_ranker(rows, name, total, ranking)
        if name in ranking.recalibrate:
            label = F.col(soft_label(name) if column.soft else "label")
            ranker = recalibrated(ranker, train.withColumn("label", label))
        rankers[name] = ranker
        _LOG.info("%s: fitted, iterations %s", name, iterations(ranker, ranking))
    return rankers


def predictions(
    samples: DataFrame, rankers: dict[str, Ranker], cardinalities: tuple[int, ...]
) -> DataFrame:
    """Rows of the table ``predictions``: one per sample and method."""
    wide = with_vector(samples, cardinalities).transform(with_probabilities, rankers)
    long = F.array(
        *[F.struct(F.lit(n).alias("method"), F.col(n).alias("probability")) for n in rankers]
    )
    return wide.select("sample_id", "group_id", "segment", "split", "label", F.inline(long))


def iterations(ranker: Ranker, ranking: Ranking) -> str:
    """How many iterations the fit took, and whether that is the limit."""
    done = ranker.model.summary.totalIterations
    return f"{done}, the limit (ranking.max_iter)" if done == ranking.max_iter else str(done)
