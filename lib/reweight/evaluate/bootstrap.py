"""Bootstrap intervals over buckets of groups.

Rows of a group depend on each other, so whole groups are resampled. On big data, groups are hashed
into a fixed number of buckets, each bucket is reduced to sums, and the buckets are resampled: the
cost does not grow with the number of rows. All methods share the same draws, so differences are
paired.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def draws(buckets: int, replicates: int, seed: int) -> Array:
    """How often each resample draws each bucket, float64 [replicates, buckets].

    Each row sums to the number of buckets. A single bucket does not show how buckets vary: its
    draws are NaN, and so are the intervals computed from them.
    """
    if buckets == 1:
        return np.full((replicates, 1), np.nan)
    generator = np.random.default_rng(seed)
    share = np.full(buckets, 1 / buckets)
    return generator.multinomial(buckets, share, size=replicates).astype(np.float64)


def interval(values: Array, point: float, resampled: float, confidence: float) -> tuple[float, ...]:
    """The percentile interval of a statistic.

    Args:
        values: the statistic on each resample; NaN where it is undefined.
        point: the exact statistic on all rows.
        resampled: the statistic on all rows, from the coarser bins that are resampled; the interval
            is shifted by ``point - resampled``.
        confidence: level of the interval, such as 0.95.

    Returns:
        (low, high); NaN where no interval can be computed.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or not np.isfinite(point):
        return np.nan, np.nan
    tail = 50 * (1 - confidence)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low + point - resampled), float(high + point - resampled)
