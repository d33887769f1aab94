"""Whether features and label relate differently in a part of the rows: a score test.

A logistic regression of all rows is fitted on one half of the groups and applied to the other. With
its probability p_i, v_i = p_i (1 - p_i), and a part's means x_j weighted by v, the scores of the
part are
    U_j = sum_i (x_ij - x_j) (y_i - p_i)
which have mean 0 if the model holds there. Over B buckets b of groups, with I_b the sum of v,
    V_j = max(sum_i v_i (x_ij - x_j)^2, B / (B - 1) sum_b (U_bj - U_j I_b / I)^2)
    Q = sum_j U_j^2 / V_j
V_j is the model's variance or, if rows of a group are alike, the larger one between buckets. Q is a
mixture of chi-squares, approximated by a chi2(f) with a = sum_jl r_jl^2 / D and f = D / a, where r
are the correlations of the scores (Satterthwaite 1946). A departure of the log odds with root mean
square d adds about d^2 sum_i v_i, so Q is tested against a material d as a noncentral chi-square.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from pyspark.ml.functions import array_to_vector
from pyspark.ml.stat import Summarizer
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.train_ranker.rankers.base import FittedRanker
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression
from reweight.train_ranker.rows import with_vector

Array = NDArray[np.float64]
# Buckets of groups, and how many must hold rows to show how much the scores vary.
BUCKETS, _LEAST_BUCKETS = 200, 30
# Rows of each class in each fold.
_FEWEST = 20
_REGRESSION = LogisticRegression(max_iter=30)


@dataclass(frozen=True)
class Scores:
    """The scores of a part.

    Attributes:
        sums: U_bj, float64 [BUCKETS, D]; 0 for a bucket without rows.
        information: I_b, float64 [BUCKETS].
        variance: variance of U_j under the model, float64 [D].
    """

    sums: Array
    information: Array
    variance: Array

    def less(self, other: "Scores") -> "Scores":
        """The scores of a contrast: half the difference, so d is the shift between the parts."""
        return Scores(
            (self.sums - other.sums) / 2,
            (self.information + other.information) / 4,
            (self.variance + other.variance) / 4,
        )

    def enough(self) -> bool:
        """Whether enough buckets hold rows to show how much the scores vary."""
        return int(self.sums.any(axis=1).sum()) >= _LEAST_BUCKETS


@dataclass(frozen=True)
class Departure:
    """How far the relation of a part is from the model.

    Attributes:
        size: root mean square of the departure of the log odds; 0 if chance explains Q.
        p: p-value for the hypothesis that it is at most the limit.
        signed: U_j / sqrt(V_j), float64 [D]; 0 for a constant feature.
    """

    size: float
    p: float
    signed: Array


def departure(scores: Scores, limit: float) -> Departure:
    """Tests the scores of a part against a material departure of the log odds.

    Args:
        scores: the scores of the part.
        limit: largest root mean square of the departure that is not material.
    """
    information = float(scores.information.sum())
    expected = scores.information[:, None] / max(information, 1e-12)
    # Relative to what the size of a bucket predicts: unequal sizes are not variance.
    deviations = scores.sums - expected * scores.sums.sum(0)
    empirical = (deviations**2).sum(0) * BUCKETS / (BUCKETS - 1)
    variance = np.maximum(empirical, scores.variance)
    varies = variance > 1e-8 * max(variance.max(initial=0.0), 1e-12)
    count = int(varies.sum())
    signed = np.zeros(len(variance))
    if not count:
        return Departure(0.0, 1.0, signed)
    deviation = np.sqrt(variance[varies])
    signed[varies] = scores.sums[:, varies].sum(0) / deviation
    q = float((signed**2).sum())
    normed = deviations[:, varies] / deviation
    scale = max(1.0, float(((normed.T @ normed) ** 2).sum()) / count)
    moved = information * limit**2
    p = float(scipy.stats.ncx2.sf(q / scale, count / scale, moved / scale))
    size = max(0.0, q - count) / max(information, 1e-12)
    return Departure(size**0.5, p, signed)


def crossed(rows: DataFrame, places: Sequence[int], seed: int) -> DataFrame | None:
    """Adds ``own``, the log odds of the label by a model that saw no row of the group.

    Args:
        rows: with ``group_id``, ``features``, ``label`` and ``mature``; rows that are not mature
            are left out, since their labels only reflect the time.
        places: indices of the features to use, [D]; ``features`` is reduced to these.
        seed: seed of the folds and buckets.

    Returns:
        The rows, also with the ``bucket`` of the group; None if a fold has too few rows of a class.
    """
    fold = (drawn(seed, "fold") < 0.5).cast("int")
    rows = vectors(rows.where("mature"), places).withColumns(
        {"fold": fold, "bucket": bucket(seed, BUCKETS)}
    )
    counted = rows.groupBy("fold").agg(F.count("*").alias("n"), F.sum("label").alias("y"))
    # Small by nature: 2 folds.
    folds = {row["fold"]: (row["n"], row["y"]) for row in counted.collect()}
    if len(folds) < 2 or any(min(y, n - y) < _FEWEST for n, y in folds.values()):
        return None
    models = {
        f"_not_{1 - k}": fitted(rows.where(F.col("fold") == k), n)
        for k, (n, _) in sorted(folds.items())
    }
    log_odds = F.when(F.col("fold") == 0, F.col("_not_0")).otherwise(F.col("_not_1"))
    for name, model in models.items():
        rows = model.with_log_odds(rows, name)
    return rows.withColumn("own", log_odds).drop(*models, "vector")


def scores(judged: DataFrame, part: str) -> dict[Any, Scores]:
    """The scores of each part of the rows.

    Args:
        judged: the output of ``crossed``.
        part: name of a column with few values.
    """
    p = 1 / (1 + F.exp(-F.col("own")))
    residual, variance = F.col("label") - p, p * (1 - p)
    sums = F.concat(
        F.array(residual, variance),
        F.transform("features", lambda x: x * F.col("_residual")),
        F.transform("features", lambda x: x * F.col("_variance")),
        F.transform("features", lambda x: x * x * F.col("_variance")),
    )
    parts = judged.withColumns({"_residual": residual, "_variance": variance})
    vector = array_to_vector(sums.cast("array<double>"))
    summaries = (
        parts.select(part, "bucket", vector.alias("v"))
        .groupBy(part, "bucket")
        .agg(Summarizer.metrics("sum").summary(F.col("v")).alias("s"))
    )
    by_part: dict[Any, Array] = {}
    # Small by nature: parts times 200 buckets of 3 D + 2 sums.
    for row in summaries.collect():
        values = row["s"]["sum"].toArray()
        by_part.setdefault(row[part], np.zeros((BUCKETS, len(values))))[row["bucket"]] = values
    return {name: _centred(values) for name, values in by_part.items()}


def _centred(sums: Array) -> Scores:
    """Scores about the part's own means, so that a different label rate does not count."""
    residual, information = sums[:, :1], sums[:, 1]
    scores, firsts, seconds = np.split(sums[:, 2:], 3, axis=1)
    total = max(float(information.sum()), 1e-12)
    means = firsts.sum(0) / total
    variance = np.maximum(seconds.sum(0) - total * means**2, 0.0)
    return Scores(scores - residual * means, information, variance)


def drawn(seed: int, stream: str) -> Column:
    """A uniform number in (0, 1) for each group."""
    return uniform(seed, f"mechanisms-{stream}", "group_id")


def bucket(seed: int, buckets: int) -> Column:
    """The bucket of each group."""
    return F.floor(drawn(seed, "bucket") * buckets).cast("int")


def vectors(rows: DataFrame, places: Sequence[int]) -> DataFrame:
    """Reduces ``features`` to the given indices, and adds them as ``vector``."""
    selected = F.transform(F.lit(list(places)), lambda place: F.get("features", place))
    return with_vector(rows.withColumn("features", selected), ())


def fitted(rows: DataFrame, count: int) -> FittedRanker:
    """The pipeline's default ranker, fitted on rows of equal weight."""
    return _REGRESSION.fitted(rows.withColumn("_one", F.lit(1.0)), "_one", count)
