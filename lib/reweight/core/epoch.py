"""Numbers that are times: which unit they count is seen by their size."""

import re

# 1990 and 2100 in seconds since 1970. A factor of 1,000 lies between units, so no number fits two.
_FIRST, _LAST = 631_152_000, 4_102_444_800
_READ = {
    1: "timestamp_seconds(try_cast({} AS bigint))",
    10**3: "timestamp_millis(try_cast({} AS bigint))",
    10**6: "timestamp_micros(try_cast({} AS bigint))",
    10**9: "timestamp_micros(try_cast({} AS bigint) div 1000)",
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


def time_expression(column: str, value: str) -> str | None:
    """The expression that reads a number as a time.

    Small numbers are seconds since the log began; they become times from 1970 on.

    Args:
        column: the raw column, as it is written in SQL.
        value: a value of it.

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
    for per_second, sql in _READ.items():
        if _FIRST <= number / per_second < _LAST:
            return sql.format(column)
    return _READ[1].format(column) if 0 <= number < _FIRST else None
