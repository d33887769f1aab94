"""The proposed config: every guess with its evidence, and what cannot be known left to fill in."""

from collections import Counter
from collections.abc import Sequence

from reweight.inspect_logs import moments, skeleton
from reweight.inspect_logs.events import Event, Events, events_of
from reweight.inspect_logs.page import Page
from reweight.inspect_logs.samples import Sample
from reweight.inspect_logs.time_limits import Limits, limits

# Words in the name of a column that identifies an event.
_OF_EVENTS = {
    *("event", "request", "impression", "row", "uuid", "guid", "message", "log", "index", "line"),
}
_MADE_UP = "timestamp '2000-01-01 00:00:00'"


def proposal(samples: Sequence[Sample]) -> str:
    """The text of a config that reads the sources.

    Args:
        samples: the first rows of each source.
    """
    groups = events_of(samples)
    page = Page()
    page.comment(
        0,
        "Proposed by jobs/inspect_logs.py from " + "; ".join(map(_looked_at, samples)) + ".",
        "Every guess has its evidence above it; what is commented out is for you to decide.",
    )
    page.set(0, "run_id", samples[0].name)
    page.set(0, "root", f"out/{samples[0].name}")
    page.blank()
    page.set(0, "cleaning")
    _sources(page, groups)
    _columns(page, groups)
    _limits(page, groups)
    _duplicates(page, groups)
    page.blank()
    skeleton.write(page, groups)
    return page.text


def _looked_at(sample: Sample) -> str:
    rows = f"{sample.rows:,} rows of {sample.name}"
    return f"all {rows}" if sample.whole else f"the first {rows}"


def _shared(groups: Sequence[Events]) -> dict[str, str]:
    """Event columns that are read by the same expression in all sources."""
    per_group = [{e.name: e.sql for e in of.all} for of in groups]
    return {n: sql for n, sql in per_group[0].items() if all(e.get(n) == sql for e in per_group)}


def _sources(page: Page, groups: Sequence[Events]) -> None:
    page.set(1, "sources")
    shared = _shared(groups)
    for of in groups:
        for s in of.samples:
            page.set(2, s.name)
            page.comment(3, *s.evidence)
            if s.malformed:
                lines = f"{len(s.malformed):,} lines do not parse and will be rejected"
                page.comment(3, f"{lines}, such as: {s.malformed[0]}")
            for key, value in s.settings.items():
                page.set(3, key, value)
            unshared = [e for e in of.all if e.name not in shared]
            if unshared or (of.time is None and len(groups) > 1):
                page.set(3, "columns")
                _time(page, 4, of) if "event_time" not in shared else None
                for e in unshared:
                    if e.name != "event_time":
                        _column(page, 4, e)


def _columns(page: Page, groups: Sequence[Events]) -> None:
    page.set(1, "columns")
    shared, first = _shared(groups), groups[0]
    if "event_time" in shared or len(groups) == 1:
        _time(page, 2, first)
    for e in first.columns:
        if e.name in shared:
            _column(page, 2, e)
    for of in groups:
        for left_out in of.samples[0].left_out:
            page.comment(2, f"left out, since it has no single value: {left_out}")


def _column(page: Page, depth: int, event: Event) -> None:
    evidence = "; ".join(event.guess.evidence)
    page.comment(depth, f"{event.guess.column.name or 'without a name'}: {evidence}")
    for sql, why in event.guess.others:
        page.off(depth, event.name, sql, why)
    page.set(depth, event.name, event.sql)


def _time(page: Page, depth: int, of: Events) -> None:
    if of.time is None:
        page.comment(
            depth,
            "No column is a time, so all events get a made-up one. Write the expression of the "
            "time; if the log has none, keep splits.by: row.",
        )
        page.set(depth, "event_time", _MADE_UP)
        return
    guess, parts = of.time.guess, list(of.time.guess.evidence)
    assert guess.moments is not None
    span = _limits_of(of)
    if span.first is not None and span.last is not None:
        hours = guess.moments.hours
        first, last = moments.text(span.first, hours), moments.text(span.last, hours)
        parts.append(f"{first} .. {last} UTC")
    page.comment(depth, f"{guess.column.name}: {'; '.join(parts)}")
    lost = guess.present - sum(s is not None for s in guess.moments.seconds)
    missing = len(guess.column.values) - guess.present + lost
    if missing:
        page.comment(depth, f"{missing:,} rows without a time will be rejected")
    if of.other_times:
        page.comment(depth, f"other columns that are times: {', '.join(of.other_times)}")
    if "no zone: read as UTC" in guess.evidence:
        page.off(
            depth,
            "event_time",
            f"to_utc_timestamp({guess.sql}, 'Europe/Berlin')",
            "if these are local times, of Berlin for example",
        )
    for sql, why in guess.others:
        page.off(depth, "event_time", sql, why)
    page.set(depth, "event_time", guess.sql)


def _limits_of(of: Events) -> Limits:
    assert of.time is not None
    assert of.time.guess.moments is not None
    return limits(s for s in of.time.guess.moments.seconds if s is not None)


def _limits(page: Page, groups: Sequence[Events]) -> None:
    spans = [_limits_of(of) for of in groups if of.time is not None]
    is_whole = all(of.whole for of in groups)
    firsts = [s.first for s in spans if s.first is not None]
    lasts = [s.last for s in spans if s.last is not None]
    for key, far, limit in (
        ("not_before", [t for s in spans for t in s.before], min(firsts, default=0.0)),
        ("not_after", [t for s in spans for t in s.after], max(lasts, default=0.0)),
    ):
        if not far:
            continue
        # To the next midnight, so that times of the same day are in.
        day = limit // 86400 + (key == "not_after")
        time = moments.text(day * 86400)
        example = f"{moments.text(far[0])}" + (f" .. {moments.text(far[-1])}" if far[1:] else "")
        times = f"{len(far):,} times are" if far[1:] else "1 time is"
        page.comment(1, f"{times} far from the rest, and rejected: {example}")
        if is_whole:
            page.set(1, key, time)
        else:
            why = (
                "only the beginning of the log was looked at; without this line clean_logs finds "
                "where the log begins and ends"
            )
            page.off(1, key, time, why)


def _duplicates(page: Page, groups: Sequence[Events]) -> None:
    equal = sum(s.equal for of in groups for s in of.samples)
    rows = sum(of.rows for of in groups)
    page.comment(1, f"{equal:,} of {rows:,} rows equal an earlier row in all fields")
    page.set(1, "duplicates")
    page.set(2, "exact", True)
    if len(groups) > 1:
        return
    of, keys = groups[0], []
    for e in of.columns:
        values = e.guess.column.values
        if e.guess.kind in ("text", "integer") and None not in values:
            keys += [e] if len(set(values)) == len(values) > 1 else []
    for e in keys[:3]:
        why = f"{e.guess.column.name or e.name} is another one in each of the {of.rows:,} rows"
        named = bool(_OF_EVENTS & set(e.guess.column.words)) or not e.guess.column.words
        if of.rows >= 100 and named and e is keys[0]:
            page.comment(2, why)
            page.set(2, "keys", [e.name])
        else:
            page.off(2, "keys", [e.name], f"{why}; if it identifies an event")
    if not keys and of.time is not None:
        _together(page, of, of.time)


def _together(page: Page, of: Events, time: Event) -> None:
    """Columns that may identify an event together."""
    parts = [e for e in of.columns if e.guess.kind in ("text", "integer")][:4]
    if not parts:
        return
    columns = [e.guess.column.values for e in (*parts, time)]
    counts = Counter(zip(*columns, strict=True))
    repeats = sum(n - 1 for n in counts.values())
    why = f"{repeats:,} of {of.rows:,} rows have the values of an earlier row in these columns"
    page.off(2, "keys", [e.name for e in (*parts, time)], why)
