"""Distributions of columns, the same however rows are partitioned."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# Bins per factor of two.
_BINS = 128
# (value, share of rows at or below), ascending.
Distribution = tuple[tuple[float, float], ...]


def distribution(rows: DataFrame, values: Mapping[str, Column]) -> dict[str, Distribution]:
    """The empirical distribution of several columns: (value, share at or below), ascending.

    Exact at the edges of bins that are 0.5 % wide, and the same however rows are partitioned,
    which approximate quantiles are not.

    Args:
        rows: any frame.
        values: name -> finite column.
    """
    long = F.inline(
        F.array(*[F.struct(F.lit(n).alias("name"), v.alias("value")) for n, v in values.items()])
    )
    size = F.floor(F.log2(F.abs("value")) * _BINS).cast("long")
    # Zero has no logarithm; the sign goes with the bin, ordered by the values themselves below.
    bins = rows.select(long).groupBy("name", F.signum("value"), size)
    # Small by nature: 128 bins per factor of two.
    counted = bins.agg(F.count("*").alias("n"), F.max("value").alias("value")).collect()
    return {
        name: _cumulated([(row["value"], row["n"]) for row in counted if row["name"] == name])
        for name in values
    }


def distribution_of(values: NDArray[np.float64]) -> Distribution:
    """The same of values that lie in memory, float64 [N], finite."""
    with np.errstate(divide="ignore"):
        size = np.floor(np.log2(np.abs(values)) * _BINS)
    bins = pd.DataFrame({"sign": np.sign(values), "size": size, "value": values})
    counted = bins.groupby(["sign", "size"])["value"].agg(["max", "size"])
    return _cumulated([(float(value), int(n)) for value, n in counted.itertuples(index=False)])


def _cumulated(bins: list[tuple[float, int]]) -> Distribution:
    """Largest value and number of rows of each bin -> shares at or below, ascending."""
    ordered = sorted(bins)
    shares = np.cumsum([n for _, n in ordered]) / max(1, sum(n for _, n in ordered))
    return tuple((float(v), float(s)) for (v, _), s in zip(ordered, shares, strict=True))


def quantile(points: Distribution, share: float) -> float:
    """The smallest value at or below which at least the share of the rows lies."""
    return next(value for value, below in points if below >= share - 1e-12)
