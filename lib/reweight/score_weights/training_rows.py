"""The training rows that the weight policy learns from, in a Spark frame or in memory."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.arithmetic import ARRAYS, COLUMNS, Arithmetic, Array, Value
from reweight.core.columns import design_weight
from reweight.core.distribution import Distribution, distribution, distribution_of
from reweight.core.persisted import persisted


@dataclass(frozen=True)
class Sums:
    """Sums of a value over the training rows.

    Where negatives were sampled, a row counts as often as its design weight c says.

    Attributes:
        rows: number of rows, sum of c.
        total: sum of c v over the values v.
        squares: sum of (c v)^2.
        low: the smallest value.
        bad: number of rows with null, NaN or infinity.
        there: number of rows that are there, without c.
    """

    rows: float
    total: float
    squares: float
    low: float
    bad: int
    there: int


class TrainingRows(ABC, Generic[Value]):
    """Training rows with an importance per method; a value is a column or an array.

    Attributes:
        arithmetic: the operations on the values.
        thinned: whether rows stand for different numbers of rows of the whole log.
    """

    arithmetic: Arithmetic[Value]
    thinned: bool = False

    @abstractmethod
    def importance(self, method: str) -> Value:
        """The importance of the rows by a method."""

    @abstractmethod
    def segment(self) -> Any:
        """The segments of the rows, some of which may be null."""

    @abstractmethod
    def sums(self, values: Mapping[str, Value]) -> dict[str, Sums]:
        """Sums of several values, by name."""

    @abstractmethod
    def distributions(self, values: Mapping[str, Value]) -> dict[str, Distribution]:
        """Distributions of several values, by name."""

    @abstractmethod
    def segment_totals(self, values: Mapping[str, Value], most: int) -> dict[str, dict[str, float]]:
        """Sums by segment, for the segments with the largest sums.

        Args:
            values: name -> value.
            most: number of segments for each value.

        Returns:
            name -> segment -> sum.
        """


class FrameRows(TrainingRows[Column]):
    """Rows of a Spark frame.

    Args:
        rows: a column of importance per method, ``segment`` if segments have a cap, and
            ``design_weight`` if negatives were sampled.
    """

    arithmetic = COLUMNS

    def __init__(self, rows: DataFrame) -> None:
        self.rows = rows
        self.thinned = "design_weight" in rows.columns

    def _counted(self, value: Column) -> Column:
        return value * design_weight(self.rows) if self.thinned else value

    def importance(self, method: str) -> Column:
        """The column of the method."""
        return F.col(method).cast("double")

    def segment(self) -> Column:
        """The column ``segment``."""
        return F.col("segment")

    def sums(self, values: Mapping[str, Column]) -> dict[str, Sums]:
        """Sums of several values, in one pass over the rows."""
        counted = {n: self._counted(v) for n, v in values.items()}
        sums: Any = self.rows.agg(
            F.count("*").alias("there"),
            F.sum(self._counted(F.lit(1))).alias("rows"),
            *[F.sum(v).alias(f"{n}.total") for n, v in counted.items()],
            *[F.sum(v * v).alias(f"{n}.squares") for n, v in counted.items()],
            *[F.min(v).alias(f"{n}.low") for n, v in values.items()],
            *[
                F.count_if(v.isNull() | F.isnan(v) | (F.abs(v) == float("inf"))).alias(f"{n}.bad")
                for n, v in values.items()
            ],
        ).first()
        names = ("total", "squares", "low", "bad")
        counts = {"rows": sums["rows"], "there": sums["there"]}
        return {n: Sums(**counts, **{k: sums[f"{n}.{k}"] for k in names}) for n in values}

    def distributions(self, values: Mapping[str, Column]) -> dict[str, Distribution]:
        """Distributions of several values, in one pass over the rows."""
        return distribution(self.rows, values)

    def segment_totals(
        self, values: Mapping[str, Column], most: int
    ) -> dict[str, dict[str, float]]:
        """Sums by segment, in one pass over the rows and a small one per value."""
        totals = [F.sum(self._counted(value)).alias(name) for name, value in values.items()]
        groups = self.rows.where("segment is not null").groupBy("segment").agg(*totals)
        with persisted(groups) as groups:
            return {
                name: {
                    row["segment"]: row[name]
                    for row in groups.orderBy(F.desc(name), "segment").limit(most).collect()
                }
                for name in values
            }


class MemoryRows(TrainingRows[Array]):
    """Rows in memory.

    Args:
        importance: method -> importance of the rows, float64 [N].
        segments: segments of the rows, [N]; None if they have none.
        design_weight: how many rows of the whole log each row stands for, float64 [N]; None for 1.
    """

    arithmetic = ARRAYS

    def __init__(
        self,
        importance: Mapping[str, Array],
        segments: Any = None,
        design_weight: Array | None = None,
    ) -> None:
        self._importance = importance
        self._segments = segments
        self._c: Any = 1.0 if design_weight is None else design_weight
        self.thinned = design_weight is not None

    def importance(self, method: str) -> Array:
        """The array of the method."""
        return np.asarray(self._importance[method], dtype=np.float64)

    def segment(self) -> Any:
        """The segments as given."""
        return self._segments

    def sums(self, values: Mapping[str, Array]) -> dict[str, Sums]:
        """Sums of each array."""
        return {
            name: Sums(
                float(self._c.sum()) if self.thinned else len(value),
                float((self._c * value).sum()),
                float(((self._c * value) ** 2).sum()),
                float(value.min()),
                int((~np.isfinite(value)).sum()),
                len(value),
            )
            for name, value in values.items()
        }

    def distributions(self, values: Mapping[str, Array]) -> dict[str, Distribution]:
        """Distributions of each array."""
        return {name: distribution_of(value) for name, value in values.items()}

    def segment_totals(self, values: Mapping[str, Array], most: int) -> dict[str, dict[str, float]]:
        """Sums by segment; rows without a segment are left out."""
        if self._segments is None:
            return {name: {} for name in values}
        totals = {
            n: pd.Series(self._c * v).groupby(np.asarray(self._segments)).sum()
            for n, v in values.items()
        }
        return {
            name: {str(k): float(v) for k, v in by_segment.sort_index().nlargest(most).items()}
            for name, by_segment in totals.items()
        }


class CountedRows(TrainingRows[Array]):
    """Rows of which only the values that occur are known, and how many rows have each.

    Args:
        importance: method -> the values, float64 [K].
        counts: number of rows with each value, float64 [K].
    """

    arithmetic = ARRAYS

    def __init__(self, importance: Mapping[str, Array], counts: Array) -> None:
        present = counts > 0
        self._importance = {name: values[present] for name, values in importance.items()}
        self._counts = counts[present]

    def importance(self, method: str) -> Array:
        """The values of the method."""
        return self._importance[method]

    def segment(self) -> Any:
        """None: the segments are not known."""
        return None

    def sums(self, values: Mapping[str, Array]) -> dict[str, Sums]:
        """Sums over all rows."""
        counts = self._counts
        return {
            name: Sums(
                int(counts.sum()),
                float(counts @ value),
                float(counts @ value**2),
                float(value.min()),
                int(counts[~np.isfinite(value)].sum()),
                int(counts.sum()),
            )
            for name, value in values.items()
        }

    def distributions(self, values: Mapping[str, Array]) -> dict[str, Distribution]:
        """Distributions over all rows."""
        result: dict[str, Distribution] = {}
        for name, value in values.items():
            distinct, place = np.unique(value, return_inverse=True)
            below = np.cumsum(np.bincount(place, weights=self._counts)) / self._counts.sum()
            result[name] = tuple(zip(distinct.tolist(), below.tolist(), strict=True))
        return result

    def segment_totals(self, values: Mapping[str, Array], most: int) -> dict[str, dict[str, float]]:
        """Nothing: the segments are not known."""
        return {name: {} for name in values}
