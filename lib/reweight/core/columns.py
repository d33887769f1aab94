"""Columns of ``samples`` as the numbers that methods read, and names of the columns they add."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

# The range of a float32; anything larger is treated as infinite.
_LARGEST = 3.4e38


def number(name: str, segments: Sequence[str], value: Column | None = None) -> Column:
    """A column as float; null stays null, which a method reads as NaN.

    Args:
        name: a column of ``samples``. For ``segment`` the number is the position in ``segments``,
            counted from 1; 0 for null and for segments that are not in the list.
        segments: the segments of the training rows.
        value: the column to use instead, for a frame with other column names.
    """
    value = F.col(name) if value is None else value
    if name != "segment":
        return value.cast("float")
    listed = F.array(*[F.lit(segment) for segment in segments]).cast("array<string>")
    # By name: in Spark 3.5 the Python function does not accept a column as the value.
    position = F.call_function("array_position", listed, value)
    return F.coalesce(position, F.lit(0)).cast("float")


def design_weight(rows: DataFrame) -> Column:
    """How many rows of the whole log each row stands for; 1 unless negatives were sampled.

    Args:
        rows: a frame that may have the column, which earlier versions of the tables lack.
    """
    default = F.lit(1.0)
    return F.coalesce("design_weight", default) if "design_weight" in rows.columns else default


def soft_label(method: str) -> str:
    """Name of the column with a method's soft labels; no method can have this name."""
    return f"{method}:label"


def in_sample_flag(method: str) -> str:
    """Name of the column that marks scores by networks that were trained on the row itself."""
    return f"{method}:in_sample"


def literals(values: Sequence[int | float | str], kind: str) -> Column:
    """An array of constants, ``array<kind>``."""
    return F.array(*[F.lit(v) for v in values]).cast(f"array<{kind}>")


def finite(number: Column) -> Column:
    """The number, or null where it is NaN, infinite or too large for a float32."""
    return F.when(F.abs(number) < _LARGEST, number)


def as_json(*columns: Column | str) -> Column:
    """Columns as the fields of a JSON object; unlike Spark's, times keep their microseconds."""
    form = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"
    formats = {"timestampFormat": form + "XXX", "timestampNTZFormat": form}
    return F.to_json(F.struct(*columns), formats)
