"""Numbers as people write them: separators of thousands, decimal commas, units."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Digits are those of ASCII: Spark reads no others, such as full-width ones.
INTEGER = re.compile(r"[+-]?[0-9]+")
FLOAT = re.compile(
    r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?inf(inity)?", re.IGNORECASE
)
# No thousands begin with 0: 0.125 is a decimal.
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?")
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+(,[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_WITH_UNIT = re.compile(
    r"(?P<sign>[+-]?)((?P<before>[$€£¥]|USD|EUR|GBP)\s?)?(?P<number>[+-]?[0-9.,]*[0-9])"
    r"(\s?(?P<after>[$€£¥%]|USD|EUR|GBP))?"
)


class Amounts(NamedTuple):
    """How texts are read as numbers.

    Attributes:
        sql: the expression.
        why: what was seen.
        others: other expressions, each with the reason to take it.
    """

    sql: str
    why: str
    others: tuple[tuple[str, str], ...] = ()


def amounts(sql: str, values: Sequence[str]) -> Amounts | None:
    """The expression that reads the values; None if they are no numbers.

    Args:
        sql: the column.
        values: its values, without nulls and blanks around them. For plain numbers there is only
            something to say if their points may separate thousands.
    """
    example = next((v for v in values if not FLOAT.fullmatch(v)), None)
    if example is None:
        return _pointed(sql, values)
    matches = [m for v in values if (m := _WITH_UNIT.fullmatch(v))]
    units = list(dict.fromkeys(u for m in matches for u in m.group("before", "after") if u))
    if not units or len(matches) < len(values):
        return _separated(sql, values, "numbers as text", example)
    if "%" in units and len(units) > 1:
        return None
    # Commas stay: where no value of the sample has one, a number with one becomes null, and counts.
    bare = f"regexp_replace({sql}, '[^0-9.,+-]', '')"
    numbers = [m["sign"] + m["number"] for m in matches]
    reading = _separated(bare, numbers, "numbers with a unit", example)
    if reading is None:
        return None
    if "%" in units:
        shares = (f"{reading.sql} / 100", "if 5% is to be 0.05")
        return reading._replace(others=(*reading.others, shares))
    if len(units) > 1:
        return reading._replace(why=f"{reading.why}; several units: {', '.join(units)}")
    return reading


def _pointed(sql: str, values: Sequence[str]) -> Amounts | None:
    """Plain numbers such as 1.234 and 12, of which the points may separate thousands."""
    example = next((v for v in values if "." in v), None)
    if example is None or not all(
        _POINT_THOUSANDS.fullmatch(v) or INTEGER.fullmatch(v) for v in values
    ):
        return None
    return _separated(sql, values, "numbers", example)


def _separated(sql: str, values: Sequence[str], what: str, example: str) -> Amounts | None:
    """Numbers with or without separators of thousands and decimal commas."""
    plain = f"try_cast(replace({sql}, ',', '') AS double)"
    commas = f"try_cast(replace(replace({sql}, '.', ''), ',', '.') AS double)"
    count = sum("," in v for v in values)
    why = what + (f", {count:,} with commas" if count else "") + f", such as '{example}'"
    thousands = all(_THOUSANDS.fullmatch(v) or FLOAT.fullmatch(v) for v in values)
    points = all(
        _POINT_THOUSANDS.fullmatch(v) or _COMMA.fullmatch(v) or INTEGER.fullmatch(v) for v in values
    )
    if not count and thousands:
        cast = f"try_cast({sql} AS double)"
        if not points or all(INTEGER.fullmatch(v) for v in values):
            return Amounts(cast, why)
        why += ": ambiguous, decimals or thousands; read as decimals"
        return Amounts(cast, why, ((commas, "if the points separate thousands"),))
    if thousands and points:
        why += ": ambiguous, thousands or decimals; read as thousands"
        return Amounts(plain, why, ((commas, "if it is a decimal comma"),))
    if thousands:
        return Amounts(plain, f"{why}: separators of thousands")
    return Amounts(commas, f"{why}: decimal commas") if points else None
