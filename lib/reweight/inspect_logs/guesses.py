"""The values of a raw column -> the expression that reads them, with what was seen."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import whitespace
from typing import Literal

from reweight.inspect_logs import moments
from reweight.inspect_logs.amounts import FLOAT, INTEGER, amounts
from reweight.inspect_logs.moments import Moments

Kind = Literal["text", "integer", "number", "boolean", "time", "hours", "other"]

# Texts that stand for a value that is not there.
_NOTHING = {
    *("null", "nan", "none", "n/a", "na", "nil", "nat", "\\n", "-", "?", "#n/a", "undefined"),
    "(not set)",
}
# What Spark casts to a boolean.
_TRUE, _FALSE = {"true", "t", "yes", "y", "1"}, {"false", "f", "no", "n", "0"}
_TIME_WORDS = {
    *("time", "ts", "timestamp", "date", "datetime", "dt", "day", "created", "updated", "at"),
    *("when", "hour", "epoch", "millis", "utc"),
}
_INTEGERS = {"tinyint", "smallint", "int", "bigint"}
# Names that are the time of an event before other times are, best first.
_BEST = ("event_time", "event_timestamp", "timestamp", "ts", "time", "datetime")
_FEW = 20
_SHOWN = 8


@dataclass(frozen=True)
class RawColumn:
    """A column of a sample.

    Attributes:
        name: its name in the log.
        sql: how it is written in an expression.
        kind: Spark's name of its type.
        values: its values as text.
    """

    name: str
    sql: str
    kind: str
    values: Sequence[str | None]

    @property
    def words(self) -> list[str]:
        """The words of the name, in lower case."""
        spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", self.name)
        return re.findall(r"[^\W_]+", spaced.lower())


@dataclass(frozen=True)
class Guess:
    """How a column is read.

    Attributes:
        column: the raw column.
        kind: what its values are.
        sql: the expression.
        evidence: what was seen.
        others: other expressions, each with the reason to take it.
        moments: how the column is read as a time, if it can be.
        counts: how often each value occurs, if there are few.
        present: number of values that are there.
    """

    column: RawColumn
    kind: Kind
    sql: str
    evidence: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    moments: Moments | None = None
    counts: dict[str, int] = field(default_factory=dict)
    present: int = 0

    @property
    def timely(self) -> tuple[bool, bool, int, int]:
        """Sorts columns by how likely they are the time of the event, the likeliest first."""
        assert self.moments is not None
        name = "_".join(self.column.words)
        place = next((i for i, best in enumerate(_BEST) if name == best), len(_BEST))
        return (self.kind != "time", not self.moments.hours, place, -self.present)


def guess(column: RawColumn) -> Guess:
    """How a column is read, by its values."""
    values = [v for v in column.values if v is not None]
    blank = [v for v in values if not v.strip()]
    nothing = Counter(v for v in values if v.strip().lower() in _NOTHING)
    real = [v for v in values if v.strip() and v not in nothing]
    odd = _odd(column, len(blank), nothing)
    if column.kind not in ("string", "void"):
        return _typed(column, real, odd)
    sql = _without(column.sql, nothing)
    if not real:
        sql = f"CAST({column.sql} AS string)" if column.kind == "void" else column.sql
        return Guess(column, "text", sql, (*odd, "no value in the sample: its type is not known"))
    reading = _read(column, sql, real, bool(blank))
    if padded := sum(v != v.strip(" ") for v in real):
        real = [v.strip(" ") for v in real]
        # Numbers and booleans are read with blanks around them.
        if reading.kind in ("text", "time", "hours"):
            reading = _read(column, f"trim({sql})", real, bool(blank))
            odd = (*odd, f"{padded:,} with blanks around them, which are cut off")
    return Guess(
        column,
        reading.kind,
        reading.sql,
        (*reading.evidence, *odd),
        reading.others,
        reading.moments,
        reading.counts,
        len(real),
    )


def _read(column: RawColumn, sql: str, real: Sequence[str], blank: bool) -> Guess:
    reading = _boolean(column, sql, real) or _number(column, sql, real) or _time(column, sql, real)
    return reading or _text(column, sql, real, blank)


def shown(counts: Counter[str]) -> str:
    """The most frequent values with their counts."""
    digits = any(v[-1:].isdigit() for v in counts)
    parts = [
        f"{_short(v)} ({n:,})" if digits else f"{_short(v)} {n:,}"
        for v, n in counts.most_common(_SHOWN)
    ]
    return ", ".join(parts) + (", ..." if len(counts) > _SHOWN else "")


def _odd(column: RawColumn, blank: int, nothing: Counter[str]) -> tuple[str, ...]:
    rows, nulls = len(column.values), sum(v is None for v in column.values)
    oddities = [f"{nulls:,} of {rows:,} rows null"] if nulls else []
    if blank:
        oddities.append(f"{blank:,} empty text{'s' * (blank > 1)}")
    oddities += [
        f"{n:,} text{'s' * (n > 1)} '{v}' read as null" for v, n in nothing.most_common(_SHOWN)
    ]
    return tuple(oddities)


def _without(sql: str, nothing: Counter[str]) -> str:
    """The column, with the texts that stand for nothing as null."""
    for word in sorted(nothing):
        escaped = word.replace("\\", "\\\\").replace("'", "\\'")
        sql = f"nullif({sql}, '{escaped}')"
    return sql


def _typed(column: RawColumn, real: Sequence[str], odd: tuple[str, ...]) -> Guess:
    counts = _few(real)
    kind: Kind = "other"
    sql, evidence, times = column.sql, [column.kind], None
    if column.kind in ("timestamp", "timestamp_ntz", "date"):
        times = moments.texts(column.sql, real) if real else None
        if column.kind == "date":
            sql = f"CAST({sql} AS timestamp)"
            evidence.append("dates without hours")
        if column.kind == "timestamp_ntz":
            sql = f"CAST({sql} AS timestamp)"
            evidence.append("no zone: read as UTC")
        if times is not None:
            times = Moments(sql, times.seconds, (), (), column.kind != "date")
        kind = "time"
    elif column.kind in _INTEGERS:
        kind, times = "integer", moments.numbers(column.sql, real)
        evidence.append("" if counts else _range(real))
    elif column.kind in ("double", "float") or column.kind.startswith("decimal"):
        kind = "number"
        times = moments.numbers(column.sql, real) if column.kind == "double" else None
        evidence.append("" if counts else _range(real))
    elif column.kind == "boolean":
        kind = "boolean"
    elif column.kind == "binary":
        # Ids as bytes, such as UUIDs: as a text many of them would be one.
        sql = f"hex({sql})" if any("\ufffd" in v for v in real) else f"CAST({sql} AS string)"
    if times is not None and kind in ("integer", "number"):
        if _is_timely(column, times):
            return Guess(
                column, "time", times.sql, (*times.evidence, *odd), times.others, times, {},
                len(real),
            )  # fmt: skip
        if not _may_be_timely(column, times, real):
            times = None
    if counts and kind != "time":
        evidence.append(_values(counts))
    return Guess(
        column, kind, sql, (*filter(None, evidence), *odd), (), times, dict(counts), len(real)
    )


def _boolean(column: RawColumn, sql: str, real: Sequence[str]) -> Guess | None:
    words = {v.strip().lower() for v in real}
    if not words <= _TRUE | _FALSE or words <= {"0", "1"}:
        return None
    if len(words) == 1 and not words & {"true", "false"}:
        return None
    counts = Counter(real)
    return Guess(
        column, "boolean", f"try_cast({sql} AS boolean)", (f"booleans as words: {shown(counts)}",),
        counts=dict(counts),
    )  # fmt: skip


def _number(column: RawColumn, sql: str, real: Sequence[str]) -> Guess | None:
    # Blanks as Spark knows them: a number with others around it would be null.
    stripped = [v.strip(whitespace) for v in real]
    if all(INTEGER.fullmatch(v) for v in stripped):
        return _integer(column, sql, stripped)
    if all(FLOAT.fullmatch(v) for v in stripped):
        times = moments.numbers(sql, stripped)
        if times is not None and _is_timely(column, times):
            return Guess(column, "time", times.sql, times.evidence, times.others, times)
        as_number = f"try_cast({sql} AS double)"
        if _are_ids(column, stripped):
            why = (
                f"ids with a point, such as {stripped[0]}: kept as text, a number would lose digits"
            )
            others = ((as_number, "if they are numbers"),)
            return Guess(column, "text", sql, (why,), others, counts=dict(_few(stripped)))
        return _decorated(column, sql, stripped) or Guess(
            column, "number", as_number, (_range(stripped),)
        )
    return _decorated(column, sql, stripped)


def _integer(column: RawColumn, sql: str, real: Sequence[str]) -> Guess | None:
    counts = _few(real)
    times = moments.numbers(sql, real)
    if times is not None and _is_timely(column, times):
        return Guess(column, "time", times.sql, times.evidence, times.others, times)
    if times is not None and not _may_be_timely(column, times, real):
        times = None
    long = [v for v in real if len(v.lstrip("+-")) > 1 and v.lstrip("+-").startswith("0")]
    as_number = f"try_cast({sql} AS bigint)"
    if long:
        why = f"digits, {len(long):,} with leading zeros such as {long[0]}: kept as text"
        return Guess(
            column, "text", sql, (why,), ((as_number, "if they are numbers"),), times, dict(counts)
        )
    if any(not -(2**63) <= int(v) < 2**63 for v in real):
        return Guess(column, "text", sql, ("numbers of more than 64 bits: kept as text",))
    evidence = (_values(counts) if counts else _range(real),)
    return Guess(column, "integer", as_number, evidence, (), times, dict(counts))


def _are_ids(column: RawColumn, real: Sequence[str]) -> bool:
    """Whether numbers with a point are ids, such as 1058563274.1700000000 of web analytics."""
    parts = [re.fullmatch(r"([0-9]+)\.([0-9]+)", v) for v in real]
    if not all(parts):
        return False
    long = all(len(part) >= 9 for match in parts if match for part in match.groups())
    # Those of pandas end in .0 where a value is missing.
    return long or ("id" in column.words and any(m[2].strip("0") for m in parts if m))


def _decorated(column: RawColumn, sql: str, real: Sequence[str]) -> Guess | None:
    read = amounts(sql, real)
    return Guess(column, "number", read.sql, (read.why,), read.others) if read else None


def _time(column: RawColumn, sql: str, real: Sequence[str]) -> Guess | None:
    if moments.are_hours(real):
        return Guess(column, "hours", sql, (f"times of a day without a day, such as '{real[0]}'",))
    times = moments.texts(sql, real)
    if times is None or times.share < 0.9:
        return None
    none = [v for v, s in zip(real, times.seconds, strict=True) if s is None]
    evidence = times.evidence
    if none:
        evidence = (
            *evidence,
            f"{len(none):,} texts that are no times, such as '{_short(none[0])}'",
        )
    return Guess(column, "time", times.sql, evidence, times.others, times)


def _text(column: RawColumn, sql: str, real: Sequence[str], blank: bool) -> Guess:
    counts = _few(real)
    evidence = [_values(counts) if counts else _examples(real)]
    others = []
    numbers = [v for v in real if FLOAT.fullmatch(v.strip())]
    words = [v for v in real if v.strip().lower() in _TRUE | _FALSE]
    if 0.8 * len(real) < len(words) > len(numbers) > 0:
        odd = Counter(v for v in real if v.strip().lower() not in _TRUE | _FALSE)
        evidence.append(f"{len(words):,} booleans, and {odd.total():,} other texts: {shown(odd)}")
        others.append((f"try_cast({sql} AS boolean)", "if the other texts are to be null"))
    if len(numbers) > 0.8 * len(real):
        odd = Counter(v for v in real if not FLOAT.fullmatch(v.strip()))
        evidence = [f"{len(numbers):,} numbers and {odd.total():,} other texts: {shown(odd)}"]
        others.append((f"try_cast({sql} AS double)", "if the other texts are to be null"))
    if blank:
        sql = f"nullif({sql if sql.startswith('trim(') else f'trim({sql})'}, '')"
    return Guess(column, "text", sql, tuple(evidence), tuple(others), counts=dict(counts))


def _may_be_timely(column: RawColumn, times: Moments, real: Sequence[str]) -> bool:
    """Whether numbers may be times though the name does not say so: they have no better name."""
    nameless = re.fullmatch(r"_?c\d+", column.name) is not None
    return not times.small and (
        nameless or all(len(_integer_digits(v)) in (10, 13, 16, 19) for v in real)
    )


def _is_timely(column: RawColumn, times: Moments) -> bool:
    """Whether the name says that numbers are times; of small ones that takes a clear name."""
    if times.small:
        return "_".join(column.words) in _BEST
    return bool(_TIME_WORDS & set(column.words))


def _integer_digits(number: str) -> str:
    return number.strip().lstrip("+-").split(".")[0]


def _few(real: Sequence[str]) -> Counter[str]:
    counts = Counter(real)
    return counts if len(counts) <= _FEW and len(counts) < max(2, len(real)) else Counter()


def _values(counts: Counter[str]) -> str:
    return f"{len(counts)} distinct value{'s' * (len(counts) > 1)}: {shown(counts)}"


def _examples(real: Sequence[str]) -> str:
    distinct = dict.fromkeys(real)
    first = ", ".join(_short(v) for v in list(distinct)[:3])
    return f"{len(distinct):,} distinct values, such as {first}"


def _range(real: Sequence[str]) -> str:
    if not real:
        return ""
    ordered = sorted(real, key=moments.float_or_zero)
    return f"{ordered[0].strip()} .. {ordered[-1].strip()}, {len(set(real)):,} distinct values"


def _short(value: str) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= 40 else f"{flat[:37]}..."
