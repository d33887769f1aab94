"""The design effect: how much less information rows carry if those of a group are alike.

With n_g rows and y_g positives of group g in part t, which has n_t rows and the rate q_t, the
design effect over the parts is
    e = max(1, sum_tg (y_g - q_t n_g)^2 / sum_t n_t q_t (1 - q_t) (1 - sum_g n_g^2 / n_t^2))
and tests for independent rows apply to n / e rows and y / e positives (Rao and Scott 1992,
Biometrics 48). For independent rows both sums have the same mean, so e is about 1. Where negatives
were sampled, n counts those of the whole log: each row as often as it stands for one, which e shows
as well.
"""

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight


def counted(rows: DataFrame, part: Column) -> DataFrame:
    """Rows ``n``, positives ``y`` and ``groups`` of each ``part``, and the sums for its effect.

    Args:
        rows: with ``group_id``, ``label`` and, if negatives were sampled, ``design_weight``.
        part: the column that rows are counted by.
    """
    n, y = F.col("_n"), F.col("_y")
    groups = rows.groupBy(part.alias("part"), "group_id").agg(
        F.sum(design_weight(rows)).alias("_n"), F.sum("label").alias("_y")
    )
    return groups.groupBy("part").agg(
        F.sum(n).alias("n"),
        F.sum(y).alias("y"),
        F.sum(n * n).alias("nn"),
        F.sum(n * y).alias("ny"),
        F.sum(y * y).alias("yy"),
        F.count("*").cast("double").alias("groups"),
    )


def design_effect(parts: pd.DataFrame) -> float:
    """The design effect over all parts together, at least 1.

    Args:
        parts: the output of ``counted``.
    """
    n, rate = parts["n"], parts["y"] / parts["n"]
    observed = parts["yy"] - 2 * rate * parts["ny"] + rate**2 * parts["nn"]
    expected = n * rate * (1 - rate) * (1 - parts["nn"] / n**2)
    if (parts["nn"] == n**2).all():
        # Each part is a single group, which may be worth no more than one row.
        return float(n.mean())
    total = float(expected.sum())
    return max(1.0, float(observed.sum()) / total) if total > 0 else 1.0
