"""The config section of the stage daily, and what the rest of a config must be for it."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.clean_logs.section import Cleaning
from reweight.core.asked_days import AskedDays
from reweight.core.section import Name, Names, Place, Sql

# Stands for the day in paths and conditions; with a format, as in `{day:%Y%m%d}`, in that form.
DAY = "{day}"
_PLACE = re.compile(r"\{day(?::([^{}]+))?\}")
# Days that differ in one part each.
_DIFFERENT = (date(2026, 1, 2), date(2026, 1, 3), date(2026, 2, 2), date(2027, 1, 2))

# The parts of the section `cleaning` that decide about rows, beside its columns.
_RULES = (
    *("sources", "lookups", "required", "allowed", "ranges", "not_before", "not_after"),
    *("reject", "duplicates"),
)


class Daily(AskedDays):
    """The section ``daily``.

    Attributes:
        first: the first day, UTC. Histories also count the events that the run ``model_run_id`` has
            of earlier days.
        paths: source -> path of the raw files that a day delivers, in which ``{day}`` stands for
            the day, such as ``raw/day={day}``, or in another form ``raw/{day:%Y/%m/%d}/*.csv``
            (``strftime``). It takes the place of the source's own ``path``.
        where: source -> condition over the source's columns on the rows that a day delivers, such
            as ``to_date(received_at) = '{day}'``. It is added to the source's own ``where``. CSV
            and JSON need ``paths``, since a malformed line has no columns that tell its day.
        reopen: a day may deliver events of so many days before it, which are opened again; older
            ones are rejected.
        largest: a day with more raw rows than so many times the median of the days before it (at
            least three, at most 28) is refused before anything is written; None for no limit.
        may_be_empty: event columns that may have no value in a whole day. For all others that is
            refused, if they have had values on every one of the last days.
        day: the day that this call takes (``--day``).
        begin: the first of several days (``--from``), in place of ``day``.
        end: the last of these days (``--to``).
    """

    # Which days a call takes says nothing of what comes out.
    call: ClassVar[dict[str, bool]] = {"day": True, "begin": True, "end": True}

    first: date
    paths: dict[Name, Place] = {}
    where: dict[Name, Sql] = {}
    reopen: int = Field(default=7, ge=0)
    largest: float | None = Field(default=10.0, gt=1)
    may_be_empty: Names = ()

    @field_validator("paths", "where")
    @classmethod
    def _name_the_day(cls, texts: dict[str, str]) -> dict[str, str]:
        if without := [text for text in texts.values() if not _tells_days(text)]:
            raise ValueError(
                f"expected `{DAY}` in the place of the day, or a form with year, month and day, "
                f"such as `{{day:%Y%m%d}}`; got {without}"
            )
        return texts

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if (self.begin is None) != (self.end is None):
            raise ValueError("expected `day` (--day), or `begin` and `end` (--from and --to)")
        return self

    @property
    def days(self) -> tuple[date, ...]:
        """The days that this call takes, in order."""
        begin, end = self.span
        if begin is None or end is None:
            return ()
        return tuple(begin + timedelta(n) for n in range((end - begin).days + 1))


def _of_day(text: str, day: date) -> str:
    return _PLACE.sub(lambda place: day.strftime(place[1] or "%Y-%m-%d"), text)


def _tells_days(text: str) -> bool:
    return len({_of_day(text, day) for day in _DIFFERENT}) == len(_DIFFERENT)


def cleaning_of(day: date, cleaning: Cleaning, daily: Daily) -> Cleaning:
    """How the rows that a day delivers are read: those alone, with times that a day may deliver."""
    sources = {}
    for name, source in cleaning.sources.items():
        update: dict[str, str] = {}
        if path := daily.paths.get(name):
            update["path"] = _of_day(path, day)
        if where := daily.where.get(name):
            where = _of_day(where, day)
            update["where"] = f"({source.where}) AND ({where})" if source.where else where
        sources[name] = source.model_copy(update=update)
    begins = _midnight(max(daily.first, day - timedelta(daily.reopen)))
    ends = _midnight(day + timedelta(1)) - timedelta(microseconds=1)
    if cleaning.not_before:
        begins = max(begins, _utc(cleaning.not_before))
    if cleaning.not_after:
        ends = min(ends, _utc(cleaning.not_after))
    limits = {"not_before": begins.isoformat(" "), "not_after": ends.isoformat(" ")}
    return cleaning.model_copy(update={"sources": sources, **limits})


def row_rules(cleaning: Cleaning, daily: Daily) -> dict[str, Any]:
    """What decides which raw rows are events, and what is in them: key in the config -> value.

    Where files lie decides nothing about a row: ``path`` is left out, since it differs by day.
    """
    dumped = cleaning.model_dump(
        mode="json",
        include=set(_RULES),
        exclude={
            "sources": {name: {"path"} for name in cleaning.sources},
            "lookups": {name: {"source": {"path"}} for name in cleaning.lookups},
        },
    )
    return {
        "cleaning.columns": list(cleaning.stored_columns),
        **{f"cleaning.columns.{name}": sql for name, sql in cleaning.columns.items()},
        **{f"cleaning.{name}": dumped[name] for name in _RULES},
        "daily.where": daily.where,
        "daily.reopen": daily.reopen,
    }


def wrong_for_days(
    daily: Daily | None,
    model_run_id: str | None,
    cleaning: Cleaning,
    sampling: Sampling,
    splits: Splits,
    features: Features,
) -> Iterator[str]:
    """What days cannot be made with, or would depend on days to come; nothing without days."""
    if daily is None:
        return
    if model_run_id is None:
        yield "model_run_id: days are scored by the models of another run; write its run_id"
    if not cleaning.times:
        yield "daily: the log has no times (cleaning.times: false), so no row is of a day"
    unknown = sorted({*daily.paths, *daily.where} - set(cleaning.sources))
    if unknown:
        yield f"daily: expected sources out of {sorted(cleaning.sources)}, got {unknown}"
    yield from _wrong_rows_of_a_day(daily, cleaning)
    if tables := [n for n in daily.paths if n in cleaning.sources and cleaning.sources[n].table]:
        yield f"daily.paths: the sources {tables} are tables; select the rows by daily.where"
    if sampling.label.never_closes:
        yield (
            "sampling.label.window: without one, every day would open all days before it again; "
            "write window: 7 days"
        )
    if sampling.collapse is not None:
        yield "sampling.collapse: events that belong together may be of several days; remove it"
    if features.sequence is not None:
        yield "features.sequence: the last events before a day are not kept; remove it"
    yield from _moving(daily, splits)


def _wrong_rows_of_a_day(daily: Daily, cleaning: Cleaning) -> Iterator[str]:
    """Sources of which nothing says, or can say, which rows a day delivers."""
    without = {name: s for name, s in cleaning.sources.items() if name not in daily.paths}
    text = [name for name, source in without.items() if source.kind in ("csv", "json")]
    if lost := [name for name in without if name not in daily.where]:
        paths = f"daily.paths: {{{lost[0]}: raw/day={DAY}}}"
        where = f"daily.where: {{{lost[0]}: \"to_date(received_at) = '{DAY}'\"}}"
        yield (
            f"daily: nothing says which rows of the sources {lost} a day delivers; write "
            f"{paths if lost[0] in text else f'{paths}, or {where}'}"
        )
    if selected := [name for name in text if name in daily.where]:
        yield (
            f"daily.where: the sources {selected} are files of text, and no condition says of "
            "which day a malformed line is, so every day would reject those of all; write "
            f"daily.paths: {{{selected[0]}: raw/day={DAY}}}"
        )


def _moving(daily: Daily, splits: Splits) -> Iterator[str]:
    """Parts of the split that would move as days come."""
    if splits.by == "time":
        if splits.cuts is None:
            yield (
                "splits.cuts: cuts by shares would move with every day; write those of the run "
                'model_run_id, such as cuts: ["2026-01-10", "2026-01-17"]'
            )
        elif splits.seconds[0] > _midnight(daily.first).timestamp():
            yield (
                "splits.cuts: expected the first one at or before daily.first, since days are "
                f"scored, not trained on; got {splits.cuts[0]} and {daily.first}"
            )
    elif splits.target_where is None:
        yield (
            "splits.target_where: the newest share of the rows would move with every day; name the "
            'target rows, such as target_where: "false", or cut by time'
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, datetime.min.time(), UTC)


def _utc(time: str) -> datetime:
    parsed = datetime.fromisoformat(time)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
