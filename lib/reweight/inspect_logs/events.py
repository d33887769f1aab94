"""The samples of all sources -> the event columns, and which of them is the time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reweight.inspect_logs.guesses import Guess, RawColumn, guess
from reweight.inspect_logs.naming import KEPT, event_names
from reweight.inspect_logs.samples import Sample


@dataclass(frozen=True)
class Event:
    """An event column.

    Attributes:
        name: its name.
        guess: how it is read.
    """

    name: str
    guess: Guess

    @property
    def sql(self) -> str:
        """The expression."""
        return self.guess.sql


@dataclass(frozen=True)
class Events:
    """The event columns of one or more sources that have the same raw columns.

    Attributes:
        samples: the sources.
        time: the column ``event_time``; None if no column is a time.
        columns: the others.
        other_times: names of other columns that are times.
    """

    samples: tuple[Sample, ...]
    time: Event | None
    columns: tuple[Event, ...]
    other_times: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows that were looked at."""
        return sum(s.rows for s in self.samples)

    @property
    def whole(self) -> bool:
        """Whether all rows were looked at."""
        return all(s.whole for s in self.samples)

    @property
    def all(self) -> tuple[Event, ...]:
        """All columns, the time first."""
        return (self.time, *self.columns) if self.time else self.columns


def events_of(samples: Sequence[Sample]) -> list[Events]:
    """The event columns; sources with the same raw columns are read by the same expressions."""
    alike: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for s in samples:
        alike.setdefault(tuple((c.sql, c.kind) for c in s.columns), []).append(s)
    return [_events(group) for group in alike.values()]


def _events(samples: Sequence[Sample]) -> Events:
    pooled = [
        replace(first, values=[v for s in samples for v in s.columns[i].values])
        for i, first in enumerate(samples[0].columns)
    ]
    guesses = [guess(column) for column in pooled]
    dated = sorted((g for g in guesses if g.moments is not None), key=lambda g: g.timely)
    chosen = _with_hours(dated[0], guesses) if dated else None
    used = dated[0] if dated else None
    if chosen is not None and chosen.kind != "time" and chosen.moments is not None:
        why = "the only column with numbers that are times of our days"
        m = chosen.moments
        chosen = replace(chosen, sql=m.sql, evidence=(why, *m.evidence), others=m.others)
    rest = [g for g in guesses if g is not used]
    if used is not None and _nearly_all_null(used):
        chosen, rest = None, guesses
    named = [
        Event(name, g)
        for name, g in zip(event_names(g.column.name for g in rest), rest, strict=True)
    ]
    return Events(
        tuple(samples),
        Event("event_time", chosen) if chosen else None,
        tuple(_keepable(e) for e in named),
        tuple(g.column.name for g in rest if g.kind == "time"),
    )


def _nearly_all_null(column_guess: Guess) -> bool:
    return column_guess.present < len(column_guess.column.values) / 2


def _keepable(event: Event) -> Event:
    # Samples have columns of these names, which are numbers.
    if event.name in KEPT and event.guess.kind not in ("integer", "number"):
        return replace(event, name=f"log_{event.name}")
    return event


def _with_hours(date: Guess, guesses: Sequence[Guess]) -> Guess:
    """The date with the hours of another column, if it has none of its own."""
    hours = next((g for g in guesses if g.kind == "hours"), None)
    if hours is None or date.moments is None or date.moments.hours:
        return date
    joined = [
        None if d is None or h is None else f"{d.strip()} {h.strip()}"
        for d, h in zip(date.column.values, hours.column.values, strict=True)
    ]
    sql = f"concat({date.column.sql}, ' ', {hours.column.sql})"
    column = RawColumn(date.column.name, sql, "string", joined)
    merged = guess(column)
    why = f"the day is {date.column.name}, the hours are {hours.column.name}"
    return merged if merged.moments is None else replace(merged, evidence=(why, *merged.evidence))
