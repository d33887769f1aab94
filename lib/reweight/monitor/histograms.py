"""Rows -> counts by day, variable and bin, in one pass that collects no row."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

Array = NDArray[np.float64]
COLUMNS = "day int, variable int, bin int, n bigint, total double, squares double"
# A network gives a row in another batch a value that differs by about this much, relatively.
_SLACK = 1e-6
# Bin of values that are missing.
MISSING = 0


def edges_of(quantiles: Sequence[float]) -> tuple[float, ...]:
    """The edges between bins, from quantiles 0, 1/bins, ..., 1 of the reference.

    Equal quantiles are one edge. The lowest is an edge too, and so is what is just below it: a
    value which most rows share has a bin of its own, whether those of a day are higher or lower.
    """
    lowest = quantiles[0]
    below = float(np.nextafter(lowest - _SLACK * abs(lowest), -np.inf))
    return tuple(sorted({below, *quantiles[:-1]}))


def histogram(days: NDArray[np.int64], values: Array, edges: Sequence[Sequence[float]]) -> Array:
    """Counts and sums by day, variable and bin.

    Args:
        days: day of each row, int64 [N].
        values: float64 [N, V]; NaN where a value is missing.
        edges: of each variable, ascending; a value equal to an edge is in the bin below it.

    Returns:
        Rows of ``COLUMNS``, float64 [cells, 6]: only cells with rows.
    """
    distinct_days, place = np.unique(days, return_inverse=True)
    parts = []
    for variable, cuts in enumerate(edges):
        x = values[:, variable]
        size = len(cuts) + 2
        missing = np.isnan(x)
        bins = np.where(missing, MISSING, 1 + np.searchsorted(np.asarray(cuts, float), x, "left"))
        cell, filled = place * size + bins, np.where(missing, 0.0, x)
        n, total, squares = (
            np.bincount(cell, weights=w, minlength=len(distinct_days) * size)
            for w in (np.ones(len(x)), filled, filled * filled)
        )
        (used,) = np.nonzero(n)
        columns = (distinct_days[used // size], np.full(len(used), variable), used % size)
        parts.append(np.stack([*columns, n[used], total[used], squares[used]], axis=1))
    return np.concatenate(parts) if parts else np.empty((0, 6))


def counted(rows: DataFrame, edges: Sequence[Sequence[float]]) -> pd.DataFrame:
    """The histogram of rows with ``day``, an int, and ``values``, an array of doubles.

    Args:
        rows: any number of rows.
        edges: of each variable.
    """
    cuts = tuple(tuple(variable_edges) for variable_edges in edges)

    def cells(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not batch.num_rows:
                continue
            flat = batch.column("values").flatten().to_numpy(zero_copy_only=False)
            values = flat.astype(np.float64).reshape(batch.num_rows, len(cuts))
            days = batch.column("day").to_numpy(zero_copy_only=False).astype(np.int64)
            batch_cells = histogram(days, values, cuts)
            kinds = (pa.int32(), pa.int32(), pa.int32(), pa.int64(), pa.float64(), pa.float64())
            names = [column.split()[0] for column in COLUMNS.split(", ")]
            arrays = [
                pa.array(batch_cells[:, i]).cast(kind, safe=False) for i, kind in enumerate(kinds)
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    sums = [F.sum(name).alias(name) for name in ("n", "total", "squares")]
    # Small by nature: days times variables times bins.
    partial_sums = rows.select("day", "values").mapInArrow(cells, COLUMNS)
    return partial_sums.groupBy("day", "variable", "bin").agg(*sums).toPandas()
