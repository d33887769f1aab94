"""Bootstrap intervals over buckets of groups.

Rows of a group depend on each other, so whole groups are resampled. On big data, groups are hashed
into a fixed number of buckets, each bucket is reduced to sums, and the buckets are resampled: the
cost does not grow with the number of rows. All methods share the same draws, so differences are
paired.

Resamples of B buckets vary too little where B is small: by sqrt((B - 1) / B) in the mean, and by
what a normal distribution leaves out. So errors are multiplied by sqrt(B / (B - 1)), p-values are
Student's with B - 1 degrees of freedom, and intervals are as much wider (the small-sample
corrections of Cameron, Gelbach and Miller 2008, "Bootstrap-Based Improvements for Inference with
Clustered Errors"). If one group has most of the rows, many buckets show as little as a few: B is
their effective number (Carter, Schnepel and Steigerwald 2017, "Asymptotic Behavior of a t-Test
Robust to Cluster Heterogeneity").
"""

import math

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]

# So few buckets, or fewer, do not show how they vary: intervals of two cover 8 of 10 values, not 19
# of 20.
TOO_FEW = 2.0


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


def effective(rows: Array) -> float:
    """How many buckets of equal size show as much: B = (sum n)^2 / sum n^2 (Kish).

    Args:
        rows: number of rows of each bucket, or their mass, [buckets].
    """
    squares = float((rows**2).sum())
    return float(rows.sum()) ** 2 / squares if squares > 0 else 0.0


def standard_error(values: Array, buckets: float) -> float:
    """The standard error of a statistic.

    Args:
        values: the statistic on each resample; NaN where it is undefined.
        buckets: B, the effective number of buckets that it is computed from.

    Returns:
        The standard deviation of the resamples times sqrt(B / (B - 1)); NaN if B is below 2.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or buckets < 2:
        return float("nan")
    return float(values.std(ddof=1)) * _correction(buckets)


def tail(size: float, error: float, buckets: float) -> float:
    """The chance that an estimate is as many errors or more above what is true.

    Args:
        size: the estimate less what is true.
        error: its standard error, above 0.
        buckets: B, as for ``standard_error``, 2 or more.

    Returns:
        The upper tail of Student's t with B - 1 degrees of freedom.
    """
    return float(scipy.stats.t.sf(size / error, buckets - 1))


def interval(
    values: Array, point: float, confidence: float, buckets: float, floor: float = -np.inf
) -> tuple[float, ...]:
    """The percentile interval of a statistic, moved to its point and widened about it.

    Resamples have coarser bins than the point, and a statistic that noise alone makes larger, such
    as a calibration error, is larger in them: the interval is moved by the point less their mean.

    Each side is t / z sqrt(B / (B - 1)) times as wide, with t and z the quantiles of Student's
    distribution with B - 1 degrees of freedom and of the normal one: 1 % more of 200 buckets, and
    half as wide again of 6.

    Args:
        values: the statistic on each resample; NaN where it is undefined.
        point: the exact statistic on all rows.
        confidence: level of the interval, such as 0.95.
        buckets: B, as for ``standard_error``.
        floor: the lowest possible value of the statistic.

    Returns:
        (low, high); NaN where no interval can be computed, as of a single bucket.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or buckets < 2 or not np.isfinite(point):
        return np.nan, np.nan
    quantile = (1 + confidence) / 2
    low, high = np.quantile(values, [1 - quantile, quantile]) - values.mean()
    wider = (
        scipy.stats.t.ppf(quantile, buckets - 1)
        / scipy.stats.norm.ppf(quantile)
        * _correction(buckets)
    )
    return max(floor, float(point + wider * low)), float(point + wider * high)


def _correction(buckets: float) -> float:
    return math.sqrt(buckets / (buckets - 1))
