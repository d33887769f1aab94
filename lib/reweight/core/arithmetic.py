"""The operations that formulas are written in, so that columns and arrays share one formula.

``+ - * /`` and comparisons come with the values themselves. Every other operation that a formula
needs is a method here, implemented once for Spark columns and once for numpy arrays.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.distribution import Distribution
from reweight.core.share_lookup import share_at_or_below

Array = NDArray[np.float64]
Value = TypeVar("Value", Column, Array)


class Arithmetic(ABC, Generic[Value]):
    """Element-wise operations; `Value` is a column or an array of doubles."""

    @abstractmethod
    def clip(self, x: Value, low: float, high: float) -> Value:
        """x, limited to [low, high]; what is no number stays none."""

    @abstractmethod
    def power(self, x: Value, exponent: float) -> Value:
        """x ** exponent."""

    @abstractmethod
    def log(self, x: Value) -> Value:
        """Natural logarithm."""

    @abstractmethod
    def log1p(self, x: Value) -> Value:
        """log(1 + x), exact for small x."""

    @abstractmethod
    def floor(self, x: Value) -> Value:
        """Largest whole number at or below x."""

    @abstractmethod
    def where(self, condition: Any, yes: Any, no: Any) -> Value:
        """yes where the condition holds, else no."""

    @abstractmethod
    def share_at_or_below(self, x: Value, points: Distribution) -> Value:
        """Share of the rows at or below x in a known distribution.

        It is the share of the first point whose value is not smaller than x, or of the last point;
        NaN has none, and stays NaN.
        """

    @abstractmethod
    def factor(self, keys: Any, factors: Mapping[str, float]) -> Value:
        """The factor of each key, 1 for null and unknown keys."""


class ColumnArithmetic(Arithmetic[Column]):
    """Operations on columns of a Spark frame."""

    def clip(self, x: Column, low: float, high: float) -> Column:
        """x, limited to [low, high]; Spark would take null and NaN for high."""
        limited = F.greatest(F.lit(low), F.least(F.lit(high), x))
        return F.when(x.isNull() | F.isnan(x), x).otherwise(limited)

    def power(self, x: Column, exponent: float) -> Column:
        """x ** exponent."""
        return F.pow(x, F.lit(exponent))

    def log(self, x: Column) -> Column:
        """Natural logarithm."""
        return F.log(x)

    def log1p(self, x: Column) -> Column:
        """log(1 + x)."""
        return F.log1p(x)

    def floor(self, x: Column) -> Column:
        """Largest whole number at or below x, as a bigint."""
        return F.floor(x)

    def where(self, condition: Column, yes: Any, no: Any) -> Column:
        """yes where the condition holds, else no."""
        return F.when(condition, yes).otherwise(no)

    def share_at_or_below(self, x: Column, points: Distribution) -> Column:
        """By the bin of x."""
        return share_at_or_below(x, points)

    def factor(self, keys: Column, factors: Mapping[str, float]) -> Column:
        """By looking up each key in a map of literals."""
        pairs = [F.lit(part) for pair in factors.items() for part in pair]
        return F.coalesce(F.create_map(*pairs)[keys], F.lit(1.0))


class ArrayArithmetic(Arithmetic[Array]):
    """Operations on arrays in memory, float64 [N]."""

    def clip(self, x: Array, low: float, high: float) -> Array:
        """x, limited to [low, high]."""
        return np.clip(x, low, high)

    def power(self, x: Array, exponent: float) -> Array:
        """x ** exponent; NaN for a root of a negative number, as in Spark."""
        with np.errstate(invalid="ignore"):
            return np.asarray(x**exponent)

    def log(self, x: Array) -> Array:
        """Natural logarithm."""
        return np.asarray(np.log(x))

    def log1p(self, x: Array) -> Array:
        """log(1 + x)."""
        return np.asarray(np.log1p(x))

    def floor(self, x: Array) -> Array:
        """Largest whole number at or below x."""
        return np.asarray(np.floor(x))

    def where(self, condition: Any, yes: Any, no: Any) -> Array:
        """yes where the condition holds, else no."""
        return np.where(condition, yes, no)

    def share_at_or_below(self, x: Array, points: Distribution) -> Array:
        """By binary search."""
        values, shares = (np.array(column) for column in zip(*points, strict=True))
        share = shares[np.minimum(np.searchsorted(values, x), len(points) - 1)]
        return np.where(np.isnan(x), x, share)

    def factor(self, keys: Any, factors: Mapping[str, float]) -> Array:
        """By looking up each distinct key."""
        distinct, index = np.unique([str(key) for key in keys], return_inverse=True)
        return np.array([factors.get(key, 1.0) for key in distinct])[index]


COLUMNS = ColumnArithmetic()
ARRAYS = ArrayArithmetic()
