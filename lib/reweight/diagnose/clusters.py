"""How much less rows tell where those of a group are alike.

With n_g rows and y_g positives of the group g in a part t of n_t rows and the rate q_t, the design
effect of parts is
    e = max(1, sum_tg (y_g - q_t n_g)^2 / sum_t n_t q_t (1 - q_t) (1 - sum_g n_g^2 / n_t^2))
and what holds for independent rows holds for n / e rows and y / e positives (Rao and Scott 1992,
Biometrics 48). Of independent rows both sums have the same mean, so that e is about 1.
"""

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F


def counted(rows: DataFrame, part: Column) -> DataFrame:
    """Rows ``n`` and positives ``y`` of each ``part``, and the sums that tell the design effect.

    Args:
        rows: with ``group_id`` and ``label``.
        part: what rows are counted by.
    """
    n, y = F.col("_n"), F.col("_y")
    groups = rows.groupBy(part.alias("part"), "group_id").agg(
        F.count("*").cast("double").alias("_n"), F.sum("label").alias("_y")
    )
    return groups.groupBy("part").agg(
        F.sum(n).alias("n"),
        F.sum(y).alias("y"),
        F.sum(n * n).alias("nn"),
        F.sum(n * y).alias("ny"),
        F.sum(y * y).alias("yy"),
    )


def design_effect(parts: pd.DataFrame) -> float:
    """The design effect of all these parts together, at least 1.

    Args:
        parts: of ``counted``.
    """
    n, rate = parts["n"], parts["y"] / parts["n"]
    apart = parts["yy"] - 2 * rate * parts["ny"] + rate**2 * parts["nn"]
    expected = n * rate * (1 - rate) * (1 - parts["nn"] / n**2)
    if (parts["nn"] == n**2).all():
        # Each part is one group, and nothing tells that it is worth more than one row.
        return float(n.mean())
    total = float(expected.sum())
    return max(1.0, float(apart.sum()) / total) if total > 0 else 1.0
