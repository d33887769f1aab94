"""Columns of ``samples`` as the numbers in which methods read them, and how theirs are named."""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F

# Numbers of a float32; beyond them a value is as good as infinite.
_LARGEST = 3.4e38


def number(name: str, segments: Sequence[str], value: Column | None = None) -> Column:
    """A column as float; null stays null, which reaches a method as NaN.

    Args:
        name: of a column of ``samples``. Of ``segment`` it is the place in ``segments``, counted
            from 1; 0 for a segment that is null or not among them.
        segments: those of the training rows.
        value: what stands for it in a frame of other names.
    """
    value = F.col(name) if value is None else value
    if name != "segment":
        return value.cast("float")
    known = F.array(*[F.lit(one) for one in segments]).cast("array<string>")
    # By name: the function of Spark 3.5's Python takes no column to look for.
    place = F.call_function("array_position", known, value)
    return F.coalesce(place, F.lit(0)).cast("float")


def soft_label(method: str) -> str:
    """Name of the column of a method's soft labels; no method can have it for its own."""
    return f"{method}:label"


def in_sample_flag(method: str) -> str:
    """Name of the column that says which scores come from networks trained on the row itself."""
    return f"{method}:in_sample"


def literals(values: Sequence[int | float | str], kind: str) -> Column:
    """An array of constants, ``array<kind>``."""
    return F.array(*[F.lit(v) for v in values]).cast(f"array<{kind}>")


def finite(number: Column) -> Column:
    """The number, null where it is NaN, infinite, or too large for a float32."""
    return F.when(F.abs(number) < _LARGEST, number)
