"""Distributions of columns, the same however rows are partitioned."""

from collections.abc import Mapping

import numpy as np
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

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
    size = F.floor(F.log2(F.abs("value")) * 128).cast("long")
    # Zero has no logarithm; the sign goes with the bin, ordered by the values themselves below.
    bins = rows.select(long).groupBy("name", F.signum("value"), size)
    # Small by nature: 128 bins per factor of two.
    found = bins.agg(F.count("*").alias("n"), F.max("value").alias("value")).collect()
    result = {}
    for name in values:
        own = sorted((row["value"], row["n"]) for row in found if row["name"] == name)
        shares = np.cumsum([n for _, n in own]) / max(1, sum(n for _, n in own))
        result[name] = tuple((float(v), float(s)) for (v, _), s in zip(own, shares, strict=True))
    return result


def quantile(points: Distribution, share: float) -> float:
    """The smallest value at or below which at least the share of the rows lies."""
    return next(value for value, below in points if below >= share - 1e-12)
