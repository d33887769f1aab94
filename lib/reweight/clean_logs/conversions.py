"""Conversions that lose a value: a cast that makes null of something that was there.

Spark reads a time of a day, such as ``10:11:12``, as one of the day on which it runs. Here it is no
time (``dated``), so it is lost like any other text that cannot be converted.
"""

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.sql_calls import Call, calls, replaced

_CASTS = {"cast", "try_cast"}
_TIMES = {"timestamp", "timestamp_ntz", "date"}
_SIMPLE = (
    r"(tiny|small|big)?int|integer|long|float|real|double|decimal.*|boolean|string|"
    + "|".join(sorted(_TIMES))
)
_KINDS = {"to_date": "date", "to_number": "double", "try_to_number": "double"}
# Casts that are written as functions: double(x).
_KINDS |= {k: k for k in ("tinyint", "smallint", "int", "bigint", "float", "double", "boolean")}
_KINDS |= {"decimal": "decimal(10, 0)", "timestamp": "timestamp", "date": "date"}
_CONVERTING = _CASTS | {*_KINDS, "to_timestamp", "try_to_timestamp"}
# What reads texts as times without a format: name -> the number of arguments that it then has.
_FORMLESS = {"timestamp": 1, "to_timestamp": 1, "try_to_timestamp": 1, "to_timestamp_ltz": 1}
_FORMLESS |= {"to_utc_timestamp": 2, "from_utc_timestamp": 2}
# Spark trims what is no letter; without a backslash, which Spark's settings may read in two ways.
_NO_DATE = "^[^!-~]*T?[0-9]{1,2}:"
# An expression with more of them is a computation; its nulls are not those of a value.
_MOST = 20

LOST = "array<struct<column: string, value: string>>"


def dated(sql: str) -> str:
    """The expression, with null for times of a day without a date."""
    for call in {c.text: c for c in calls(sql)}.values():
        if (argument := _formless(call)) is not None:
            # The type is known before any row is read, so other columns are not made texts.
            is_text = f"typeof({argument}) LIKE 'string%'"
            alone = f"{is_text} AND CAST(({argument}) AS string) RLIKE '{_NO_DATE}'"
            sql = replaced(sql, call, f"(CASE WHEN {alone} THEN NULL ELSE {call.text} END)")
    return sql


def lost_values(columns: dict[str, str]) -> Column:
    """The values that the columns lose by a conversion, as ``LOST``; empty for most rows.

    Args:
        columns: column -> expression over the raw columns.
    """
    lost = [F.when(~F.col("_malformed"), c) for n, sql in columns.items() for c in _lost(n, sql)]
    return F.array_compact(F.array(*lost)).cast(LOST) if lost else F.array().cast(LOST)


def converts(sql: str) -> bool:
    """Whether the expression has a conversion that can lose a value."""
    return bool(_lost("", sql))


def count_lost(rows: DataFrame) -> dict[str, str]:
    """Column -> how many values it lost, with an example.

    Args:
        rows: they have the values that they lost as ``_lost``.
    """
    # Small: one row per column.
    counted = (
        rows.select(F.inline("_lost"))
        .groupBy("column")
        .agg(F.count("*").alias("n"), F.min("value").alias("value"))
        .orderBy("column")
        .collect()
    )
    return {
        row["column"]: f"{row['n']:,} value{'s' * (row['n'] > 1)} such as '{row['value']}'"
        for row in counted
    }


def _lost(name: str, sql: str) -> list[Column]:
    if "->" in sql:
        return []  # The variable of a lambda function means nothing outside it.
    converting = [call for call in calls(sql) if call.name in _CONVERTING]
    if not 0 < len(converting) <= _MOST:
        return []
    values = [value for call in converting if (value := _value(sql, call)) is not None]
    if not values:
        return []
    value = F.substring(F.coalesce(*values), 1, 60)
    entry = F.struct(F.lit(name).alias("column"), value.alias("value"))
    # Nearly all values are converted, so nothing more is computed for them.
    return [F.when(F.expr(dated(sql)).isNull() & F.coalesce(*values).isNotNull(), entry)]


def _value(sql: str, call: Call) -> Column | None:
    """The text that a conversion makes null; None for a type that no single value has."""
    argument, kind = call.arguments[0], _KINDS.get(call.name, "timestamp")
    if call.name in _CASTS:
        argument, kind = _cast_parts(call)
    if not re.fullmatch(_SIMPLE, kind) or argument.isdigit():
        return None  # The digits are those of a type, such as decimal(10, 2).
    text = F.expr(f"CAST(({argument}) AS string)")
    lost = F.trim(text) != ""
    if call.text != sql.strip():
        # The conversion is to blame only if the whole has a value where the conversion has one.
        value = f"CAST({'timestamp_seconds(1)' if kind in _TIMES else 1} AS {kind})"
        filled = replaced(sql, call, f"coalesce({call.text}, {value})")
        lost &= F.expr(dated(call.text)).isNull() & F.expr(filled).isNotNull()
    return F.when(lost, text)


def _formless(call: Call) -> str | None:
    """What is read as a time without a format; None for other calls."""
    if call.name in _CASTS:
        argument, kind = _cast_parts(call)
        return argument if kind in ("timestamp", "timestamp_ltz") else None
    return call.arguments[0] if len(call.arguments) == _FORMLESS.get(call.name) else None


def _cast_parts(call: Call) -> tuple[str, str]:
    """What is cast, and the type."""
    argument, _, kind = re.split(r"(?is)\s(AS)\s(?!.*\sAS\s)", ", ".join(call.arguments))
    return argument, kind.strip().lower()
