"""The level of a ranker, repaired: one constant in its log odds."""

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.train_ranker.rankers.base import FittedRanker


def recalibrated(ranker: FittedRanker, train: DataFrame) -> FittedRanker:
    """The ranker, shifted so that mean prediction = label rate on ``train``."""
    scored = ranker.with_log_odds(train, "z")
    bins = scored.groupBy(F.floor(F.col("z") * 200)).agg(
        F.count("*").alias("n"), F.avg("z").alias("z"), F.sum("label").alias("positives")
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
