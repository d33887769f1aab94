"""Samples and weights -> rankers and their predictions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight, soft_label
from reweight.core.left_out import Refusals
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
    """A column of weights that a ranker is trained on.

    Attributes:
        name: name of the column and of its method.
        soft: whether the method gives soft labels, in the column named by ``columns.soft_label``.
        regularised_sum: the sum of weights that regularisation uses; None for the actual sum.
    """

    name: str
    soft: bool = False
    regularised_sum: float | None = None


class RankedMethod(Protocol):
    """What rankers need to know of a method."""

    @property
    def name(self) -> str:
        """Name of its column of weights."""

    @property
    def soft(self) -> bool:
        """Whether it gives soft labels."""

    @property
    def keeps_scale(self) -> bool:
        """Whether regularisation uses the sum of raw importance, not of weights with mean 1."""


def weighted_train(
    samples: DataFrame,
    wide: DataFrame,
    cardinalities: tuple[int, ...],
    names: list[str],
    soft: Sequence[str] = (),
) -> DataFrame:
    """The training rows of all rankers.

    Args:
        samples: rows of the table ``samples``.
        wide: one row per ``sample_id`` with the weights of each method and the labels of soft ones.
        cardinalities: size of the id space of each field of ``ids``.
        names: names of the columns of weights.
        soft: the methods that give soft labels.

    Returns:
        Rows with ``label``, ``vector``, ``design_weight``, the weights of each method and the
        labels of soft methods.
    """
    train = samples.where("split = 'train'")
    size: Any = train.agg(F.count("*"), F.max(F.size("features"))).first()
    joined = with_vector(train.join(wide, on="sample_id", how="inner"), cardinalities)
    labels = [F.col(name).cast("double").alias(name) for name in ("label", *map(soft_label, soft))]
    counted = design_weight(samples).alias("design_weight")
    joined = joined.select(*labels, "vector", counted, *names)
    return gathered(joined, size[0], size[1] + len(cardinalities))


def weight_columns(
    methods: Sequence[RankedMethod], policies: Mapping[str, PolicyStats]
) -> tuple[WeightColumn, ...]:
    """The columns of weights of these methods."""
    return tuple(
        WeightColumn(m.name, m.soft, policies[m.name].raw_sum if m.keeps_scale else None)
        for m in methods
    )


def fit_rankers(
    train: DataFrame,
    weights: Sequence[WeightColumn],
    ranking: Ranking,
    *,
    floor: float,
    refusals: Refusals | None = None,
) -> dict[str, Ranker]:
    """Fits a ranker for each column of weights, all on the same rows.

    Args:
        train: the output of ``weighted_train``.
        weights: its columns of weights.
        ranking: the section ``ranking``.
        floor: smallest allowed ESS, as a share of the rows.
        refusals: receives the methods that cannot be trained on; by default they are errors.

    Raises:
        WeightError: as ``check_training``.
    """
    refusals = refusals or Refusals()
    soft = [column.name for column in weights if column.soft]
    sums = check_training(train, [column.name for column in weights], floor, soft, refusals)
    rankers = {}
    for column in refusals.remaining(weights):
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
    """Rows of the table ``predictions``, one per sample and method."""
    wide = with_vector(samples, cardinalities).transform(with_probabilities, rankers)
    long = F.array(
        *[F.struct(F.lit(n).alias("method"), F.col(n).alias("probability")) for n in rankers]
    )
    return wide.select("sample_id", "group_id", "segment", "split", "label", F.inline(long))


def iterations(ranker: Ranker, ranking: Ranking) -> str:
    """The number of iterations of the fit, marked if it is the limit."""
    done = ranker.model.summary.totalIterations
    return f"{done}, the limit (ranking.max_iter)" if done == ranking.max_iter else str(done)
