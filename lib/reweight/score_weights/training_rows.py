"""The training rows that the weight policy learns from: in a Spark frame, or in memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.arithmetic import ARRAYS, COLUMNS, Arithmetic, Array, Value
from reweight.core.distribution import Distribution, distribution, distribution_of


@dataclass(frozen=True)
class Sums:
    """Of a value over the training rows.

    Attributes:
        rows: how many there are.
        total: sum of the values.
        squares: sum of their squares.
        low: the smallest.
        bad: rows with null, NaN or infinity.
    """

    rows: int
    total: float
    squares: float
    low: float
    bad: int


class TrainingRows(ABC, Generic[Value]):
    """Training rows with an importance per method; a value is a column or an array.

    Attributes:
        arithmetic: what formulas over the values are written with.
    """

    arithmetic: Arithmetic[Value]

    @abstractmethod
    def importance(self, method: str) -> Value:
        """The importance of the rows by a method."""

    @abstractmethod
    def segment(self) -> Any:
        """The segments of the rows; some may be null."""

    @abstractmethod
    def sums(self, values: Mapping[str, Value]) -> dict[str, Sums]:
        """Sums of several values, by their names."""

    @abstractmethod
    def distributions(self, values: Mapping[str, Value]) -> dict[str, Distribution]:
        """Distributions of several values, by their names."""

    @abstractmethod
    def segment_totals(self, values: Mapping[str, Value], most: int) -> dict[str, dict[str, float]]:
        """Sums by segment, of the segments with the largest ones.

        Args:
            values: name -> value.
            most: how many segments for each value.

        Returns:
            name -> segment -> sum.
        """


class FrameRows(TrainingRows[Column]):
    """Rows of a Spark frame.

    Args:
        rows: with a column of importance per method, and ``segment`` where segments have a cap.
    """

    arithmetic = COLUMNS

    def __init__(self, rows: DataFrame) -> None:
        self.rows = rows

    def importance(self, method: str) -> Column:
        """The method's column."""
        return F.col(method).cast("double")

    def segment(self) -> Column:
        """The column ``segment``."""
        return F.col("segment")

    def sums(self, values: Mapping[str, Column]) -> dict[str, Sums]:
        """In one pass."""
        found: Any = self.rows.agg(
            F.count("*").alias("rows"),
            *[F.sum(v).alias(f"{n}.total") for n, v in values.items()],
            *[F.sum(v * v).alias(f"{n}.squares") for n, v in values.items()],
            *[F.min(v).alias(f"{n}.low") for n, v in values.items()],
            *[
                F.count_if(v.isNull() | F.isnan(v) | (F.abs(v) == float("inf"))).alias(f"{n}.bad")
                for n, v in values.items()
            ],
        ).first()
        names = ("total", "squares", "low", "bad")
        return {n: Sums(found["rows"], *[found[f"{n}.{k}"] for k in names]) for n in values}

    def distributions(self, values: Mapping[str, Column]) -> dict[str, Distribution]:
        """In one pass."""
        return distribution(self.rows, values)

    def segment_totals(
        self, values: Mapping[str, Column], most: int
    ) -> dict[str, dict[str, float]]:
        """In one pass over the rows, and a small one for each value."""
        totals = [F.sum(value).alias(name) for name, value in values.items()]
        groups = self.rows.where("segment is not null").groupBy("segment").agg(*totals).persist()
        try:
            return {
                name: {
                    row["segment"]: row[name]
                    for row in groups.orderBy(F.desc(name), "segment").limit(most).collect()
                }
                for name in values
            }
        finally:
            groups.unpersist()


class MemoryRows(TrainingRows[Array]):
    """Rows that lie in memory.

    Args:
        importance: method -> float64 [N].
        segments: of the rows, [N]; None for none.
    """

    arithmetic = ARRAYS

    def __init__(self, importance: Mapping[str, Array], segments: Any = None) -> None:
        self._importance = importance
        self._segments = segments

    def importance(self, method: str) -> Array:
        """The method's array."""
        return np.asarray(self._importance[method], dtype=np.float64)

    def segment(self) -> Any:
        """As given."""
        return self._segments

    def sums(self, values: Mapping[str, Array]) -> dict[str, Sums]:
        """Of each array."""
        return {
            name: Sums(
                len(value),
                float(value.sum()),
                float((value**2).sum()),
                float(value.min()),
                int((~np.isfinite(value)).sum()),
            )
            for name, value in values.items()
        }

    def distributions(self, values: Mapping[str, Array]) -> dict[str, Distribution]:
        """Of each array."""
        return {name: distribution_of(value) for name, value in values.items()}

    def segment_totals(self, values: Mapping[str, Array], most: int) -> dict[str, dict[str, float]]:
        """Rows of no segment are in none of the groups."""
        if self._segments is None:
            return {name: {} for name in values}
        totals = {
            n: pd.Series(v).groupby(np.asarray(self._segments)).sum() for n, v in values.items()
        }
        return {
            name: {str(k): float(v) for k, v in found.sort_index().nlargest(most).items()}
            for name, found in totals.items()
        }
