"""Intervals from a bootstrap of buckets of groups.

Rows of a group depend on each other, so whole groups are resampled. On big data groups are hashed
into a fixed number of buckets, a bucket is reduced to sums, and buckets are resampled: the cost
does not grow with the rows. The same draws serve every method, so a difference is a paired one.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def draws(buckets: int, replicates: int, seed: int) -> Array:
    """How often each bucket is in each resample, float64 [replicates, buckets]; rows sum to it.

    One bucket alone does not tell how another would differ: its draws are NaN, as are the intervals
    that follow from them.
    """
    if buckets == 1:
        return np.full((replicates, 1), np.nan)
    generator = np.random.default_rng(seed)
    share = np.full(buckets, 1 / buckets)
    return generator.multinomial(buckets, share, size=replicates).astype(np.float64)


def interval(values: Array, point: float, resampled: float, confidence: float) -> tuple[float, ...]:
    """The percentile interval of a statistic.

    Args:
        values: of the resamples; NaN where the statistic was not defined.
        point: the statistic on all rows, exact.
        resampled: the same from what is resampled (coarser bins); the interval is moved by the
            difference.
        confidence: as 0.95.

    Returns:
        (low, high); NaN where it cannot be told.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or not np.isfinite(point):
        return np.nan, np.nan
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low + point - resampled), float(high + point - resampled)
