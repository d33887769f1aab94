"""The share of a known distribution at or below a value, as a column that looks at few points.

The points of a distribution are the ends of regular bins of its values. So the bin of a value tells
where to look: among the points of that bin and of its neighbours, since logarithms of the JVM and
of numpy may differ in the last digit. Comparisons decide, and the share is that of a search through
all points. (To filter an array of all points costs thousands of interpreted comparisons a row.)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.distribution import Distribution, bin_position, bin_positions


def share_at_or_below(x: Column, points: Distribution) -> Column:
    """The share of the first point that is not below x, or of the last point.

    Null for null, and NaN for NaN: Spark takes it for the largest number.

    Args:
        x: a column.
        points: (value, share), ascending.
    """
    x, (values, shares) = x.cast("double"), np.array(points).T
    low, high = _span(values)
    bins = _bins(values, low, high)
    # 0-based place of the first point that may not be below a value of each bin, and behind them.
    all_bins = np.arange(low - high - 1, high - low + 2)
    first = np.searchsorted(bins, all_bins - 1, side="left")
    behind = np.searchsorted(bins, all_bins + 1, side="right")
    most = int((behind - first).max())
    start = F.element_at(_literals(first, "int"), _bin(x, low, high) + (high - low + 2))
    padded = _literals([*values, *[np.inf] * most], "double")
    below = start
    for place in range(most):
        below = below + (F.element_at(padded, start + (place + 1)) < x).cast("int")
    # Longer, and not limited by `least`: that would take a null for the last point.
    padded_shares = [*shares, *[shares[-1]] * (most + 1)]
    share = F.element_at(_literals(padded_shares, "double"), below + 1)
    return F.when(F.isnan(x), x).otherwise(share)


def _span(values: NDArray[np.float64]) -> tuple[int, int]:
    """The lowest and the highest magnitude, with one to spare on both sides."""
    magnitudes = np.floor(bin_positions(values[values != 0]))
    if not len(magnitudes):
        return 0, 0
    return int(magnitudes.min()) - 1, int(magnitudes.max()) + 1


def _bins(values: NDArray[np.float64], low: int, high: int) -> NDArray[np.int64]:
    """Numbers of bins, in the order of the values: 0 for 0, and those of each sign beside it."""
    magnitude = np.floor(np.clip(bin_positions(values), low, high))
    bins: NDArray[np.int64] = (np.sign(values) * (magnitude - low + 1)).astype(np.int64)
    return bins


def _bin(x: Column, low: int, high: int) -> Column:
    """The same for a column."""
    # Clipped first: infinity is no whole number.
    magnitude = F.greatest(F.lit(low), F.least(F.lit(high), bin_position(x)))
    distance = F.floor(magnitude).cast("int") - (low - 1)
    return F.when(x > 0, distance).when(x < 0, -distance).otherwise(F.lit(0))


def _literals(values: Sequence[float] | NDArray[np.generic], kind: str) -> Column:
    """A constant array. From one text, since a call to the JVM per element would take seconds."""
    text = ",".join(repr(value) for value in np.asarray(values).tolist())
    return F.split(F.lit(text), ",").cast(f"array<{kind}>")
