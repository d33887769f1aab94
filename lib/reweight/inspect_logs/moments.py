"""Texts and numbers that are times: how they are written, and the expression that reads them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from string import whitespace

from reweight.core.epoch import either, has_fractions, in_unit, is_large, time_expression

_UNITS = {
    "seconds": ("seconds since 1970", 1),
    "millis": ("milliseconds since 1970", 10**3),
    "micros": ("microseconds since 1970", 10**6),
    "div": ("nanoseconds since 1970", 10**9),
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CLOCK = (
    r"(?P<h>\d{1,2}):(?P<m>\d\d)(?::(?P<s>\d\d)(?P<f>[.,]\d{1,9})?)?(?: ?(?P<ampm>[AaPp][Mm]))?"
)
_ZONE = r"(?P<zone>Z|[+-]\d\d:?\d\d|[+-]\d\d| ?(?:UTC|GMT)| [+-]\d\d:?\d\d)?"
_DATES = {
    "digits": r"(?P<a>\d{1,4})(?P<x>[-./ ])(?P<b>\d{1,2})(?P=x)(?P<c>\d{1,4})",
    "named": r"(?P<a>\d{1,2})(?P<x>[-/ ])(?P<b>[A-Za-z]{3})(?P=x)(?P<c>\d{4})",
    "named first": r"(?P<b>[A-Za-z]{3})(?P<x> )(?P<a>\d{1,2}), (?P<c>\d{4})",
}
_FORMS = {
    name: re.compile(rf"{date}(?:(?P<t>[T :]|, ){_CLOCK}{_ZONE})?", re.ASCII)
    for name, date in _DATES.items()
}
_HOURS = re.compile(_CLOCK, re.ASCII)


@dataclass(frozen=True)
class Moments:
    """How a column is read as times.

    Attributes:
        sql: the expression.
        seconds: of each value, seconds since 1970; None if it is no time.
        evidence: what was seen.
        others: other expressions that read the values too, each with the reason to take it.
        hours: whether the times have hours.
        small: whether they are numbers too small for a time of our days.
    """

    sql: str
    seconds: list[float | None]
    evidence: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()
    hours: bool = True
    small: bool = False

    @property
    def share(self) -> float:
        """The share of the values that are times."""
        return sum(s is not None for s in self.seconds) / max(1, len(self.seconds))


@dataclass(frozen=True)
class _Style:
    """How a date is written: the order of its parts, and whether that is known."""

    order: str
    sure: bool
    why: str = ""
    names: dict[str, str] = field(default_factory=dict)


def text(seconds: float, hours: bool = True) -> str:
    """A time as it is shown in comments."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return f"{time:%Y-%m-%d %H:%M:%S}" if hours else f"{time:%Y-%m-%d}"


def numbers(sql: str, values: Sequence[str]) -> Moments | None:
    """Numbers as times; None if they are not.

    Args:
        sql: the column.
        values: its values, without nulls.
    """
    fractions = has_fractions(values)
    read = [time_expression(sql, v, fractions) for v in values]
    counts = Counter(e for e in read if e)
    if not counts:
        return None
    chosen, most = counts.most_common(1)[0]
    if most * 2 < len(values):
        return None
    # A number that is a time of our days in another unit is no time in this one.
    elsewhere = Counter(
        e for v, e in zip(values, read, strict=True) if e and e != chosen and is_large(v)
    )
    seconds = [
        None if e in elsewhere and is_large(v) else _seconds(v, chosen)
        for v, e in zip(values, read, strict=True)
    ]
    if "string" in chosen:
        form = re.findall("'(.*)'", chosen)[0]
        why = f"digits as {form}, such as {values[0]}"
        return Moments(chosen, seconds, (why, *_zoneless(None)), hours="HH" in form)
    unit, _ = _unit(chosen)
    small = not any(is_large(v) for v in values)
    low, high = min(values, key=float_or_zero), max(values, key=float_or_zero)
    if small:
        why = f"small numbers, {low} .. {high}: ambiguous, perhaps seconds since the log began"
        millis = (in_unit(sql, 10**3, fractions), "if they are milliseconds")
        return Moments(chosen, seconds, (why,), (millis,), small=True)
    lengths = sorted({len(v.split(".")[0].lstrip("-")) for v in values if _is_number(v)})
    digits = " to ".join(dict.fromkeys((str(lengths[0]), str(lengths[-1]))))
    evidence = [f"{digits} digits, {low} .. {high}: {unit}"]
    others = []
    for other_sql, count in elsewhere.items():
        if "string" not in other_sql:
            evidence.append(
                f"ambiguous: {count:,} would be times of our days as {_unit(other_sql)[0]}"
            )
    if units := [e for e in elsewhere if "string" not in e]:
        why = "if all these units are meant" if units[1:] else "if both units are meant"
        others.append((either(sql, [chosen, *units]), why))
    return Moments(chosen, seconds, tuple(evidence), tuple(others))


def texts(sql: str, values: Sequence[str]) -> Moments | None:
    """Texts as times; None if they are not.

    Args:
        sql: the column.
        values: its values, without nulls.
    """
    for name, form in _FORMS.items():
        matches = [form.fullmatch(v.strip(whitespace)) for v in values]
        matched = [m for m in matches if m]
        if len(matched) <= len(values) * 0.8:
            continue
        style = _style(name, matched)
        if style is None:
            return None
        hours = any(m["t"] for m in matched)
        seconds = [_of_match(m, style.order) if m else None for m in matches]
        evidence = [f"'{matched[0][0]}'" + (f": {style.why}" if style.why else "")]
        if not hours:
            evidence.append("dates without hours (see `same_time` in docs/own_logs.md)")
        evidence += _zoneless(next((m["zone"] for m in matched if m["zone"]), None))
        others = []
        if not style.sure:
            other_order = style.order[1] + style.order[0] + style.order[2]
            others.append(
                (_parsing(sql, name, matched, other_order), f"if it is {_written(other_order)}")
            )
        chosen = _parsing(sql, name, matched, style.order)
        return Moments(chosen, seconds, tuple(evidence), tuple(others), hours)
    return None


def are_hours(values: Sequence[str]) -> bool:
    """Whether the values are times of a day, without a day."""
    return bool(values) and all(_HOURS.fullmatch(v.strip()) for v in values)


def float_or_zero(value: str) -> float:
    """The number, or 0 for a text that is none."""
    return float(value) if _is_number(value) else 0.0


def _is_number(value: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\s*", value, re.ASCII) is not None


def _unit(sql: str) -> tuple[str, int]:
    name = "div" if " div " in sql else re.findall(r"timestamp_(\w+)\(", sql)[0]
    return _UNITS[name]


def _seconds(value: str, sql: str) -> float | None:
    if "string" in sql:
        digits = len(re.findall("'(.*)'", sql)[0])
        form = "%Y%m%d%H%M%S"[: digits - 2]  # two characters for a part, and four digits for a year
        try:
            return datetime.strptime(value.strip(), form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            return None
    seconds = float(value) / _unit(sql)[1] if _is_number(value) else None
    # Python has no years beyond.
    return seconds if seconds is not None and -6e10 < seconds < 2e11 else None


def _style(name: str, matched: Sequence[re.Match[str]]) -> _Style | None:
    """The order of day, month and year; None if no order fits all values."""
    if name != "digits":
        are_months = all(m["b"].lower() in _MONTHS for m in matched)
        return _Style("dMy", True) if are_months else None
    if all(len(m["a"]) == 4 for m in matched):
        return _Style("yMd", True)
    first, second = (max(int(m[g]) for m in matched) for g in ("a", "b"))
    if first > 31 or (first > 12 and second > 12):
        return None
    if first > 12:
        return _Style("dMy", True, f"day first, since the first number goes up to {first}")
    if second > 12:
        return _Style("Mdy", True, f"month first, since the second number goes up to {second}")
    order = "dMy" if matched[0]["x"] == "." else "Mdy"
    why = f"ambiguous: day or month first, no number is above 12; read as {_written(order)}"
    return _Style(order, False, why)


def _written(order: str) -> str:
    return {"dMy": "day, month, year", "Mdy": "month, day, year"}[order]


def _of_match(match: re.Match[str], order: str) -> float | None:
    parts = dict(zip(order, (match["a"], match["b"], match["c"]), strict=True))
    month = parts["M"].lower()
    year = int(parts["y"]) + (2000 if len(parts["y"]) == 2 else 0)
    hour = int(match["h"] or 0)
    if match["ampm"]:
        hour = hour % 12 + 12 * (match["ampm"].lower() == "pm")
    try:
        time = datetime(
            year,
            _MONTHS.index(month) + 1 if month in _MONTHS else int(month),
            int(parts["d"]),
            hour,
            int(match["m"] or 0),
            int(match["s"] or 0),
            tzinfo=_offset(match["zone"]),
        )
    except ValueError:
        return None
    return time.timestamp() + float((match["f"] or "0").replace(",", "."))


def _offset(zone: str | None) -> timezone:
    parts = re.fullmatch(r" ?([+-])(\d\d):?(\d\d)?", zone or "")
    if parts is None:
        return UTC
    size = timedelta(hours=int(parts[2]), minutes=int(parts[3] or 0))
    return timezone(size if parts[1] == "+" else -size)


def _zoneless(zone: str | None) -> tuple[str, ...]:
    return (f"with a zone, such as {zone.strip()}",) if zone else ("no zone: read as UTC",)


def _parsing(sql: str, name: str, matched: Sequence[re.Match[str]], order: str) -> str:
    """The expression that reads texts of this form."""
    timed = [m for m in matched if m["t"]]
    iso = name == "digits" and order == "yMd" and matched[0]["x"] == "-"
    fractions = [m["f"] for m in timed if m["f"]]
    # Without a form, Spark reads no comma before fractions, and no zone after minutes.
    others = [m for m in timed if m["ampm"] or m["t"] not in "T " or (m["zone"] and not m["s"])]
    if iso and not others and not any(f[0] == "," for f in fractions):
        return f"try_to_timestamp({sql})"
    wide = {"d": "dd", "M": "MM"} if name == "digits" else {"d": "dd", "M": "MMM"}
    groups = dict(zip(order, "abc", strict=True))
    if any(len(m[groups["d"]]) == 1 for m in matched):
        wide["d"] = "d"
    if name == "digits" and any(len(m[groups["M"]]) == 1 for m in matched):
        wide["M"] = "M"
    wide["y"] = "yy" if all(len(m[groups["y"]]) == 2 for m in matched) else "yyyy"
    x = matched[0]["x"]
    date = x.join(wide[part] for part in order)
    if name == "named first":
        date = f"MMM {wide['d']}, yyyy"
    if not timed:
        return f"try_to_timestamp({sql}, '{date}')"
    half = any(m["ampm"] for m in timed)
    hour = "h" if half else "H"
    clock = hour * (1 if any(len(m["h"]) == 1 for m in timed) else 2) + ":mm"
    if any(m["s"] for m in timed):
        second = ":ss"
        if fractions:
            second += f"[{fractions[0][0]}{'S' * max(len(f) - 1 for f in fractions)}]"
        clock += second if all(m["s"] for m in timed) else f"[{second}]"
    if half:
        clock += " a" if _spaced(timed) else "a"
    clock += _zone_form(timed)
    between = {"T": "'T'"}.get(timed[0]["t"], timed[0]["t"])
    rest = between + clock
    form = date + (rest if len(timed) == len(matched) else f"[{rest}]")
    mark = '"' if "'" in form else "'"
    return f"try_to_timestamp({sql}, {mark}{form}{mark})"


def _spaced(timed: Sequence[re.Match[str]]) -> bool:
    return any(re.search(r" [AaPp][Mm]", m[0]) for m in timed)


def _zone_form(timed: Sequence[re.Match[str]]) -> str:
    zone = next((m["zone"] for m in timed if m["zone"]), "")
    if not zone:
        return ""
    blank, zone = (" " if zone[0] == " " else ""), zone.strip()
    kind = "XXX" if zone == "Z" or ":" in zone else "VV" if zone.isalpha() else "XX"
    return f"{blank}{kind}" if all(m["zone"] for m in timed) else f"[{blank}{kind}]"
