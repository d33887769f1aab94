"""The times of a log: which of them are plausible, and where the log begins and ends.

Clocks of phones are wrong, and a number read in the wrong unit is a time too, so the rows of each
day are counted. Times outside 1970 to 2100 are rejected, and refused if there are many of them
(``time_units``). Rows far beyond the others are rejected too: the log ends with its last day that
has more than a trickle of rows, plus the longest silence that it had before. So a single row cannot
move the end of the log, which decides whose label window is open.

Setting ``not_before`` or ``not_after`` replaces the checks on that side.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median_low

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.clean_logs.section import Cleaning

REASON = "out_of_range:event_time"
_EARLIEST, _LATEST = "1970-01-01 00:00:00", "2100-01-01 00:00:00"
# Days that stand for all times before and after these.
BEFORE, AFTER = -1, 10**6
# A larger share of implausible times is not a few wrong clocks but a wrong expression.
FEW = 0.1
# Zeros are times of the first days of 1970, and so are numbers that are read in a unit a thousand
# times too small. Days since 1970; those of our days begin in 1990.
_MISREAD, _OUR_DAYS = 25, 7305
# Half of this share of a log's rows is looked at on either side of its core.
_EDGES = 0.1
# Rows in a usual step of time; with fewer, one row more or less means nothing.
_USUAL = 40
_TRICKLE = 1 / 20
_YEAR = 365


@dataclass(frozen=True)
class Group:
    """Rows that have the same source, reasons and day.

    Attributes:
        source: name of the source.
        reasons: why they are rejected; empty for events.
        day: days since 1970; ``BEFORE`` or ``AFTER`` for implausible times; None for other rows
            that are rejected.
        rows: their number.
        timed: number of those with a time.
        lost: number of values that conversions lost.
        first: smallest time, microseconds since 1970.
        last: largest time.
    """

    source: str
    reasons: tuple[str, ...]
    day: int | None
    rows: int
    timed: int = 0
    lost: int = 0
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Span:
    """The first and the last day of a log, in days since 1970; None for no limit."""

    first: int | None
    last: int | None

    def holds(self, day: int) -> bool:
        """Whether the day is in the log."""
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)


EVERY_DAY = Span(None, None)


def outside(cleaning: Cleaning) -> Column:
    """Whether a time is outside ``not_before`` and ``not_after``, or implausible."""
    if not cleaning.times:
        return F.lit(False)
    time = F.col("event_time")
    return _before(cleaning, time) | _after(cleaning, time)


def day(cleaning: Cleaning) -> Column:
    """The day of a row, as ``Group.day`` has it."""
    if not cleaning.times:
        return F.lit(None).cast("int")
    time = F.col("event_time")
    number = F.floor(F.unix_micros(time) / (86400 * 10**6)).cast("int")
    early = _before(cleaning, time) & F.lit(cleaning.not_before is None) & ~F.col("_malformed")
    late = _after(cleaning, time) & F.lit(cleaning.not_after is None) & ~F.col("_malformed")
    return (
        F.when(early, F.lit(BEFORE))
        .when(late, F.lit(AFTER))
        .when(F.size("_reasons") == 0, number)
        .otherwise(F.lit(None).cast("int"))
    )


def log_span(groups: Sequence[Group], cleaning: Cleaning) -> Span:
    """The days of the log; outside them there are at most a few rows, which are rejected."""
    span = seen_span(groups)
    return Span(
        span.first if cleaning.not_before is None else None,
        span.last if cleaning.not_after is None else None,
    )


def seen_span(groups: Sequence[Group]) -> Span:
    """The days of the log as the rows show them, whatever the config says.

    Each source that has enough rows is looked at by itself, since purchases may be collected for
    longer than clicks, and all sources are looked at together.
    """
    by_source = _days(groups)
    of_another_unit = misread(sum(by_source.values(), Counter()))
    by_source = {
        name: Counter({d: n for d, n in days.items() if d not in of_another_unit})
        for name, days in by_source.items()
    }
    pooled = sum(by_source.values(), Counter())
    spans = [span for days in (*by_source.values(), pooled) if (span := _span(days)) is not None]
    if not spans:
        return Span(_MISREAD, None) if of_another_unit else EVERY_DAY
    return Span(min(s[0] for s in spans), max(s[1] for s in spans))


def early_ends(groups: Sequence[Group]) -> dict[str, str]:
    """The sources of which nothing comes any more while the log goes on, for the summary.

    If the purchases of a log were collected up to some day and its clicks for longer, the labels of
    the later clicks look settled.

    Args:
        groups: all rows, those outside the days of the log rejected.
    """
    ended: dict[str, str] = {}
    by_source = _days(groups)
    spans = {name: span for name, days in by_source.items() if (span := _span(days))}
    for name, (_, silent_until) in sorted(spans.items()):
        first, last = min(by_source[name]), max(by_source[name])
        # A source that began later, such as the next month, takes its place and is no reason.
        all_days = (by_source[other] for other in spans)
        beside = [max(days) for days in all_days if 2 * min(days) <= first + last]
        if (end := max(beside)) > silent_until:
            ended[name] = (
                f"{_date(last)}, and others {_date(end)}. If label events are among its events, "
                f"end the log there: set cleaning.not_after: '{_date(last + 1)}'"
            )
    return ended


def _days(groups: Sequence[Group]) -> dict[str, Counter[int]]:
    """The events of each source by their days."""
    by_source: dict[str, Counter[int]] = {}
    for g in groups:
        if g.day is not None and not g.reasons:
            by_source.setdefault(g.source, Counter())[g.day] += g.rows
    return by_source


def misread(days: Mapping[int, int]) -> set[int]:
    """The days of January 1970 in a log of our days: no log has both, and nothing between them.

    Args:
        days: day -> rows.
    """
    early = {d for d in days if 0 <= d < _MISREAD}
    rows = sum(days[d] for d in early)
    ours = sum(n for d, n in days.items() if d >= _OUR_DAYS)
    between = sum(n for d, n in days.items() if _MISREAD <= d < _OUR_DAYS)
    # A few of our days in a log of small numbers are the wrong ones themselves.
    return early if between <= rows and ours > FEW * (rows + between + ours) else set()


def within(groups: Sequence[Group], span: Span) -> list[Group]:
    """The groups, with those outside the days of the log rejected."""
    return [
        g if g.reasons or g.day is None or span.holds(g.day) else replace(g, reasons=(REASON,))
        for g in groups
    ]


def beyond(span: Span) -> Column:
    """Whether a time is outside the days of the log."""
    seconds = F.unix_seconds("event_time")
    is_beyond = F.lit(False)
    if span.first is not None:
        is_beyond |= seconds < span.first * 86400
    if span.last is not None:
        is_beyond |= seconds >= (span.last + 1) * 86400
    return is_beyond


def with_span(rows: DataFrame, span: Span) -> DataFrame:
    """Adds the reason to the rows that are outside the days of the log."""
    reasons = F.when((F.size("_reasons") == 0) & beyond(span), F.array(F.lit(REASON)))
    return rows.withColumn("_reasons", F.coalesce(reasons, F.col("_reasons")))


def said(groups: Sequence[Group], span: Span) -> dict[str, str]:
    """For the summary: from when to when the log goes, and which rows are outside."""
    summary = {"times": shown([g for g in groups if not g.reasons])}
    strange = [g for g in groups if g.day in (BEFORE, AFTER)]
    late = [g for g in groups if REASON in g.reasons and g.day is not None and g not in strange]
    for name, part, limit in (
        ("implausible times", strange, ""),
        ("before the log", [g for g in late if not _ends_before(g, span)], _limit(span, "first")),
        ("after the log", [g for g in late if _ends_before(g, span)], _limit(span, "last")),
    ):
        if rows := sum(g.rows for g in part):
            summary[name] = f"{rows:,} row{'s' * (rows > 1)}, {shown(part)}; rejected{limit}"
    return summary


def _before(cleaning: Cleaning, time: Column) -> Column:
    return time < F.lit(cleaning.not_before or _EARLIEST).cast("timestamp")


def _after(cleaning: Cleaning, time: Column) -> Column:
    return time > F.lit(cleaning.not_after or _LATEST).cast("timestamp")


def _span(days: Mapping[int, int]) -> tuple[int, int] | None:
    """The first and the last day on which rows are plausible; None if there are too few rows."""
    core = _core(days)
    if not core:
        return None
    width = 1
    while median_low(_steps(core, core[0], width, days).values()) < _USUAL:
        if width > core[-1] - core[0]:
            return None
        width *= 2
    usual = median_low(_steps(core, core[0], width, days).values())
    steps = _steps(list(days), core[0], width, days)
    full = sorted(s for s in _steps(core, core[0], width, days) if steps[s] > usual * _TRICKLE)
    silence = max([1, *[b - a for a, b in pairwise(full)]])
    first, last = full[0], full[-1]
    for step in sorted(s for s in steps if s > last):
        # After a longer silence than ever, it takes a usual day to go on.
        if steps[step] > usual * (_TRICKLE if step - last <= silence else 0.5):
            last = step
    # Shops begin small, and events arrive late: only what is far before is not of the log.
    far = max(last - first, _YEAR // width) + 1
    for step in sorted((s for s in steps if s < first), reverse=True):
        if first - step <= far:
            first = step
    return core[0] + first * width, core[0] + (last + silence + 1) * width - 1


def _core(days: Mapping[int, int]) -> list[int]:
    """The days that hold the middle of the rows."""
    edge, ordered = sum(days.values()) * _EDGES / 2, sorted(days)
    begin = _after_rows(ordered, edge, days)
    end = _after_rows(ordered[::-1], edge, days)
    return ordered[begin : len(ordered) - end]


def _after_rows(ordered: Sequence[int], rows: float, days: Mapping[int, int]) -> int:
    passed = 0
    for index, d in enumerate(ordered):
        passed += days[d]
        if passed > rows:
            return index
    return len(ordered)


def _steps(chosen: Sequence[int], origin: int, width: int, days: Mapping[int, int]) -> Counter[int]:
    """Rows of each step of so many days, counted from the origin."""
    steps: Counter[int] = Counter()
    for d in chosen:
        steps[(d - origin) // width] += days[d]
    return steps


def _ends_before(group: Group, span: Span) -> bool:
    assert group.day is not None
    return span.last is not None and group.day > span.last


def _limit(span: Span, side: str) -> str:
    day = getattr(span, side)
    if day is None:
        return ""
    key = "not_before" if side == "first" else "not_after"
    limit = _date(day + (side == "last"))
    return f"; to decide yourself, set cleaning.{key}, which is now '{limit}'"


def _date(day: int) -> str:
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day):%Y-%m-%d}"


def shown(groups: Sequence[Group]) -> str:
    """The first and the last time of the rows."""
    first = min((g.first for g in groups if g.first is not None), default=None)
    last = max((g.last for g in groups if g.last is not None), default=None)
    if first is None or last is None:
        return "no time"
    return _text(first) if first == last else f"{_text(first)} to {_text(last)}"


def _text(micros: int) -> str:
    try:
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    except OverflowError:
        return f"the year {1970 + round(micros / 31_556_952_000_000)}"
    return f"{time:%Y-%m-%d %H:%M:%S}"
