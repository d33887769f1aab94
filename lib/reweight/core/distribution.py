"""Empirical distributions that do not depend on how rows are partitioned."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# Bins per factor of two.
_BINS = 128
# (value, share of rows at or below), ascending.
Distribution = tuple[tuple[float, float], ...]


def bin_position(value: Column) -> Column:
    """Where the magnitude of a value is on the scale of the bins; null for 0."""
    return F.log2(F.abs(value)) * _BINS


def bin_positions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same in memory, up to rounding; -infinity for 0."""
    with np.errstate(divide="ignore"):
        positions: NDArray[np.float64] = np.log2(np.abs(values)) * _BINS
    return positions


def distribution(rows: DataFrame, values: Mapping[str, Column]) -> dict[str, Distribution]:
    """The empirical distribution of several columns: (value, share at or below), ascending.

    Exact at the edges of bins that are 0.5 % wide and, unlike approximate quantiles, independent
    of how the rows are partitioned.

    Args:
        rows: any frame.
        values: name -> finite column.
    """
    return distribution_by(rows, values, F.lit(None).cast("string"))[None]


def distribution_by(
    rows: DataFrame, values: Mapping[str, Column], key: Column
) -> dict[Any, dict[str, Distribution]]:
    """The distributions by a key and, under None, those of all rows, in one pass.

    Args:
        rows: any frame.
        values: name -> finite column.
        key: a column with few values.
    """
    long = F.inline(
        F.array(*[F.struct(F.lit(n).alias("name"), v.alias("value")) for n, v in values.items()])
    )
    magnitude = F.floor(bin_position(F.col("value"))).cast("long")
    # The sign is part of the bin, and zero, which has no logarithm, gets a bin of its own.
    bins = rows.select(key.alias("key"), long).groupBy(
        "key", "name", F.signum("value").alias("sign"), magnitude.alias("magnitude")
    )
    # Small: 128 bins per factor of two.
    counted = bins.agg(F.count("*").alias("n"), F.max("value").alias("value")).collect()
    bins_of: dict[Any, dict[str, dict[Any, tuple[float, int]]]] = {None: {n: {} for n in values}}
    for row in counted:
        place = (row["sign"], row["magnitude"])
        for group in {None, row["key"]}:
            by_place = bins_of.setdefault(group, {n: {} for n in values})[row["name"]]
            largest, rows_so_far = by_place.get(place, (row["value"], 0))
            by_place[place] = (max(largest, row["value"]), rows_so_far + row["n"])
    return {
        group: {name: _cumulated(list(by_place.values())) for name, by_place in by_name.items()}
        for group, by_name in bins_of.items()
    }


def distribution_of(values: NDArray[np.float64]) -> Distribution:
    """The empirical distribution of values in memory, float64 [N], all finite."""
    magnitude = np.floor(bin_positions(values))
    bins = pd.DataFrame({"sign": np.sign(values), "magnitude": magnitude, "value": values})
    counted = bins.groupby(["sign", "magnitude"])["value"].agg(["max", "size"])
    return _cumulated([(float(value), int(n)) for value, n in counted.itertuples(index=False)])


def _cumulated(bins: list[tuple[float, int]]) -> Distribution:
    """(largest value, rows) of each bin -> (value, share at or below), ascending."""
    ordered = sorted(bins)
    shares = np.cumsum([n for _, n in ordered]) / max(1, sum(n for _, n in ordered))
    return tuple((float(v), float(s)) for (v, _), s in zip(ordered, shares, strict=True))


def quantile(points: Distribution, share: float) -> float:
    """The smallest value with at least this share of the rows at or below it."""
    return next(value for value, below in points if below >= share - 1e-12)
