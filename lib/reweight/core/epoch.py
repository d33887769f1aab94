"""Numbers that are times: which unit they count is seen by their size."""

import re
from collections.abc import Collection, Iterable

# 1990 and 2100 in seconds since 1970. A factor of 1,000 lies between units, so no number fits two.
_FIRST, _LAST = 631_152_000, 4_102_444_800
_READ = {
    1: "timestamp_seconds({})",
    10**3: "timestamp_millis({})",
    10**6: "timestamp_micros({})",
    10**9: "timestamp_micros({} div 1000)",
}
# Dates and times that are written as a number. Ten digits may be seconds of 2030 or later too, but
# few numbers of seconds in a row have a month, a day and an hour in them.
_DAY, _HOUR = r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", r"([01]\d|2[0-3])"
_WRITTEN = {
    _DAY: "yyyyMMdd",
    _DAY + _HOUR: "yyyyMMddHH",
    _DAY + _HOUR + r"[0-5]\d": "yyyyMMddHHmm",
    _DAY + _HOUR + r"[0-5]\d[0-5]\d": "yyyyMMddHHmmss",
}


def time_expression(column: str, value: str, fractions: bool = False) -> str | None:
    """The expression that reads a number as a time.

    Small numbers are seconds since the log began; they become times from 1970 on.

    Args:
        column: the raw column, as it is written in SQL.
        value: a value of it.
        fractions: whether numbers of the column are written as no integers are, such as ``1.5`` or
            ``1.7E9``: as an integer, Spark reads null.

    Returns:
        The expression; None if the value is no number, or none that is a time in any unit.
    """
    for form, pattern in _WRITTEN.items():
        if re.fullmatch(form, value.strip()):
            return f"try_to_timestamp(CAST({column} AS string), '{pattern}')"
    try:
        number = float(value)
    except ValueError:
        return None
    for per_second in _READ:
        if _FIRST <= number / per_second < _LAST:
            return in_unit(column, per_second, fractions)
    return in_unit(column, 1, fractions) if 0 <= number < _FIRST else None


def has_fractions(values: Iterable[str]) -> bool:
    """Whether one of the numbers is written as no integer is."""
    return any("." in v or "e" in v.lower() for v in values)


def is_large(value: str) -> bool:
    """Whether a number is a time of our days, or of a later one, in some unit."""
    try:
        return float(value) >= _FIRST
    except ValueError:
        return False


def either(column: str, expressions: Collection[str]) -> str:
    """The expression that takes the unit of each number by its size.

    Args:
        column: the raw column, as it is written in SQL.
        expressions: those of ``time_expression`` for values of the column, the likeliest first. If
            one of them reads no unit, the first one is returned as it is.
    """
    forms = {(unit, f): in_unit(column, unit, f) for unit in _READ for f in (False, True)}
    used = {unit: sql for (unit, _), sql in forms.items() if sql in expressions}
    if len(used) < 2 or len(used) < len({*expressions}):
        return next(iter(expressions))
    *smaller, largest = used
    cases = " ".join(
        f"WHEN try_cast({column} AS double) < {_LAST * unit} THEN {used[unit]}" for unit in smaller
    )
    return f"CASE {cases} ELSE {used[largest]} END"


def in_unit(column: str, per_second: int, fractions: bool) -> str:
    """The expression that reads a number as so many parts of a second since 1970.

    Args:
        column: the raw column, as it is written in SQL.
        per_second: 1, or 10^3, 10^6 or 10^9.
        fractions: as for ``time_expression``.
    """
    number = f"try_cast({column} AS {'double' if fractions else 'bigint'})"
    if fractions and per_second > 1:
        number = f"CAST({number} AS bigint)"
    return _READ[per_second].format(number)
