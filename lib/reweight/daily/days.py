"""What is known of the days of a run: which were delivered, with how many rows, up to when."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from statistics import median
from typing import Literal

from reweight.core.asked_days import EPOCH
from reweight.core.errors import RunError, SourceError
from reweight.core.files import write_whole
from reweight.core.run_folder import RunFolder
from reweight.core.section import Section
from reweight.daily.section import Daily

# So many days before a day say how many rows are usual; and so many at least.
_USUAL_DAYS, _FEWEST_DAYS = 28, 3


class Day(Section):
    """A day that was delivered.

    Attributes:
        day: the day.
        status: ``running`` until all of its tables are written.
        changed: the days of its events.
        raw: source -> number of raw rows.
        events: number of events, without those that lost to other days' events of equal keys.
        last: time of the last of them, microseconds since 1970; 0 if there is none.
        columns: source -> its raw columns with their types.
        empty: event columns without a value.
        versions: source -> what was read of it; null where that is not known.
        lost_to: other days whose events were kept instead of events of this day with equal keys.
    """

    day: date
    status: Literal["running", "done"]
    changed: tuple[date, ...]
    raw: dict[str, int]
    events: int
    last: int
    columns: dict[str, dict[str, str]]
    empty: tuple[str, ...] = ()
    versions: dict[str, str | None] = {}
    lost_to: tuple[date, ...] = ()


def read_days(folder: RunFolder) -> dict[date, Day]:
    """The days that were delivered, in order."""
    days = [Day.model_validate_json(path.read_text()) for path in folder.days.glob("*.json")]
    return {day.day: day for day in sorted(days, key=lambda d: d.day)}


def write_day(folder: RunFolder, day: Day) -> None:
    """Writes what is known of a day."""
    write_whole(folder.day(str(day.day)), day.model_dump_json(indent=1).encode())


def unchanged(earlier: Day, new: Day) -> bool:
    """Whether a day delivers again what it delivered, as far as that is known."""
    return None not in new.versions.values() and new.versions == earlier.versions


def check_days(asked: Sequence[date], daily: Daily, known: Mapping[date, Day]) -> None:
    """Checks the days that are asked for, before any work.

    Raises:
        RunError: none is, one is before the first one, or another day is unfinished.
    """
    if not asked:
        raise RunError(
            "no day is given",
            expected="a day",
            got="none",
            fix=f"python jobs/daily.py CONFIG --day {daily.first}",
        )
    if early := [day for day in asked if day < daily.first]:
        raise RunError(
            f"{early[0]} is before the days of this run",
            expected=f"days from {daily.first} on (daily.first); the run `model_run_id` has those "
            "before",
            got=f"{asked[0]} to {asked[-1]}",
            fix=f"python jobs/daily.py CONFIG --day {daily.first}, or a later day",
        )
    unfinished = [d for d, day in known.items() if day.status == "running" and d not in asked]
    if unfinished:
        raise RunError(
            f"{unfinished[0]} was begun and not finished",
            expected="every day before to be finished, since later days go on from it",
            got=f"unfinished: {', '.join(map(str, unfinished))}",
            fix=f"python jobs/daily.py CONFIG --day {unfinished[0]}",
        )


def check_settings(common: Mapping[str, str], noted: Mapping[str, str], run_id: str) -> None:
    """Checks that the settings and models are those of the first day.

    Args:
        common: what the days of the run have in common, as digests by name.
        noted: the same, as noted on the first day. What it lacks had not been noted when the run
            began, so nothing is known of it.
        run_id: the run.

    Raises:
        RunError: some have changed.
    """
    if changed := sorted(k for k, value in common.items() if noted.get(k, value) != value):
        raise RunError(
            f"{', '.join(changed)} changed since the first day of run '{run_id}'",
            expected="the same settings and models for all days",
            got="others than on the first day",
            fix="undo the change; or write another run_id, and deliver its days by "
            "--from and --to; nothing was changed",
        )


def check_volume(day: Day, known: Mapping[date, Day], daily: Daily) -> None:
    """Checks that a day has events, and not far more rows than the days before it.

    Raises:
        SourceError: it has none, or too many.
    """
    if not day.events:
        raise SourceError(
            f"{day.day} has no events",
            expected="events in what the day delivers",
            got=f"{sum(day.raw.values()):,} raw rows, of which none is an event",
            fix="deliver the day again, or go on with the next one; nothing was written",
        )
    rows, before = sum(day.raw.values()), _rows_before(day.day, known)
    if daily.largest is None or len(before) < _FEWEST_DAYS:
        return
    usual = median(before)
    if rows > daily.largest * usual:
        raise SourceError(
            f"{day.day} has far more rows than the days before it",
            expected=f"at most {daily.largest:g} times the median of {len(before)} days, "
            f"{usual:,.0f} rows (daily.largest)",
            got=f"{rows:,} rows, {rows / usual:.1f} times",
            fix="deliver the day again; if it is right, add daily.largest=null to the command; "
            "nothing was written",
        )


def usual_rows(day: date, known: Mapping[date, Day], window: int) -> float:
    """About the rows that a day writes, by the days before it; infinite if there are none.

    Args:
        day: the day.
        known: what is known of the days.
        window: of labels, in seconds: the days within it are written again.
    """
    before = _rows_before(day, known)
    return median(before) * (1 + window / 86400) if before else math.inf


def check_columns(day: Day, known: Mapping[date, Day], daily: Daily) -> None:
    """Checks that the log has the columns that it had on the days before.

    Raises:
        SourceError: columns of a source, their types, or whether they have values have changed.
    """
    before = _before(day.day, known)
    if not before:
        return
    last = before[-1]
    for source, columns in day.columns.items():
        columns_before = last.columns.get(source, columns)
        if columns != columns_before:
            raise SourceError(
                f"the columns of cleaning.sources.{source} changed between {last.day} and "
                f"{day.day}",
                expected=_shown(columns_before, columns),
                got=_shown(columns, columns_before),
                fix="deliver the day again with the columns of the days before; if the change is "
                "intended, begin a new run: write another run_id and daily.first; nothing was "
                "written",
            )
    always = set(day.empty).difference(*[d.empty for d in before[-7:]]) - set(daily.may_be_empty)
    if lost := sorted(always):
        raise SourceError(
            f"the event columns {lost} have no value on {day.day}",
            expected=f"values, as on the days before ({last.day})",
            got="null in all events",
            fix="check whether the fields were renamed in the log; if the day is right, write "
            f"daily: {{may_be_empty: [{', '.join(lost)}]}}; nothing was written",
        )


def reopened(day: Day, known: Mapping[date, Day], window: int, first: date) -> tuple[int, int]:
    """From when on samples are made again, and when the log ends, in microseconds since 1970.

    A sample changes if its label window was open when the log ended before, or reaches an event
    that is new; and so do those after a new event, which have it in their histories.

    Args:
        day: the day.
        known: the days that were delivered.
        window: length of the label window in seconds; 0 for none.
        first: the first day.
    """
    other_ends = [d.last for d in known.values() if d.day != day.day]
    changed = micros(min(day.changed))
    since = min([changed, *([max(other_ends)] if other_ends else [])]) - window * 10**6
    return max(since, micros(first)), max([day.last, *other_ends])


def micros(day: date) -> int:
    """When a day begins, microseconds since 1970."""
    return (day - EPOCH).days * 86400 * 10**6


def of_micros(time: int) -> date:
    """The day of a time in microseconds since 1970."""
    return EPOCH + timedelta(days=time // (86400 * 10**6))


def in_days(days: Iterable[date]) -> str:
    """The condition on ``event_time`` to be in one of the days."""
    return " OR ".join(
        f"({since(micros(d))} AND event_time < {literal(micros(d + timedelta(1)))})"
        for d in sorted(days)
    )


def since(time: int) -> str:
    """The condition on ``event_time`` to be at or after a time in microseconds since 1970."""
    return f"event_time >= {literal(time)}"


def literal(time: int) -> str:
    """A time in microseconds since 1970 as SQL."""
    seconds, fraction = divmod(time, 10**6)
    day, second = divmod(seconds, 86400)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{fraction:06d}"
    return f"TIMESTAMP '{EPOCH + timedelta(days=day)} {clock}+00:00'"


def usual_raw_rows(day: date, known: Mapping[date, Day], source: str) -> float | None:
    """The median of a source's raw rows over the days before a day; None if these are too few.

    Args:
        day: the day.
        known: the days that were delivered.
        source: the source; it has no rows on days on which it is not known.
    """
    before = [d.raw.get(source, 0) for d in _before(day, known)][-_USUAL_DAYS:]
    return median(before) if len(before) >= _FEWEST_DAYS else None


def _rows_before(day: date, days: Mapping[date, Day]) -> list[int]:
    return [sum(d.raw.values()) for d in _before(day, days)][-_USUAL_DAYS:]


def _before(day: date, days: Mapping[date, Day]) -> list[Day]:
    return [d for key, d in days.items() if key < day and d.status == "done"]


def _shown(columns: Mapping[str, str], other_columns: Mapping[str, str]) -> str:
    differ = {name: kind for name, kind in columns.items() if other_columns.get(name) != kind}
    return ", ".join(f"{name}: {kind}" for name, kind in differ.items()) or "none of the others'"
