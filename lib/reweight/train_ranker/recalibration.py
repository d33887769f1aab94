"""A constant in the log odds of a ranker that repairs its level."""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight
from reweight.train_ranker.rankers.base import FittedRanker


def recalibrated(ranker: FittedRanker, train: DataFrame) -> FittedRanker:
    """The ranker, shifted so that mean prediction = label rate on ``train``.

    Rows count as often as their ``design_weight`` says, so that the rate is that of the whole log.
    """
    # No method, whose weights are a column here, has a name that begins with an underscore.
    scored, c = ranker.with_log_odds(train, "_z"), design_weight(train)
    bins = scored.groupBy(F.floor(F.col("_z") * 200)).agg(
        F.sum(c).alias("n"),
        (F.sum(c * F.col("_z")) / F.sum(c)).alias("z"),
        F.sum(c * F.col("label")).alias("positives"),
    )
    # Small by nature: occupied bins of 0.005 in log odds.
    rows = bins.collect()
    n, z = (np.array([row[name] for row in rows], dtype=float) for name in ("n", "z"))
    positives, shift = sum(row["positives"] for row in rows), 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-(z + shift)))
        step = (positives - n @ p) / max(float(n @ (p * (1 - p))), 1e-12)
        # A full Newton step from far away can land where the slope is almost 0.
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return ranker.shifted(shift)
