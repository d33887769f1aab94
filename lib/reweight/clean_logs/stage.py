"""The stage clean_logs.

Reads:
    The raw files of ``cleaning.sources`` and ``cleaning.lookups``: CSV, JSON, Parquet, Delta.

Writes:
    The tables ``events`` and ``rejected``. Every raw row is in one of them, the rejected ones with
    all reasons. The summary also counts the rows that the `where` of a source leaves out, and names
    the files below a path that are not read.

Refuses:
    Files that are missing or cannot be read to their end, archives and binary files in the place of
    text, empty sources, expressions that do not fit the columns or fail on a row, types that a
    table cannot hold, an ``event_time`` that is not a time or is read in another unit, an event
    column without a type, sources that differ in the types of a column, files that differ in their
    header or in the type of a column, lookups with duplicate keys, malformed lines or expressions
    that change, more rejected rows than ``cleaning.max_rejected``, and counts that do not add up.
"""

from functools import partial
from typing import Any

from reweight.clean_logs import cleaning, conversions, lookups, reasons, time_units, times
from reweight.clean_logs.sources import readable
from reweight.clean_logs.typed_rows import typed_rows
from reweight.config import Run
from reweight.core.persisted import persisted
from reweight.core.run import reads
from reweight.core.tables import EVENTS, REJECTED


def input_versions(run: Run) -> dict[str, str | None]:
    """Versions of the raw logs, by their key in ``cleaning``; None where they are not known."""
    return cleaning.versions(run.spark, run.config.cleaning)


@reads(input_versions)
def clean_logs(run: Run) -> dict[str, Any]:
    """Maps raw logs to typed events; every other row goes to `rejected` with its reasons."""
    section = run.config.cleaning
    with readable():
        sources = cleaning.read_sources(run.spark, section)
        rows = typed_rows(run.spark, sources, section)
    with persisted(rows) as rows:
        run.store.check_types(EVENTS, cleaning.events(rows).schema)
        with readable():
            raw, left_out = cleaning.count_rows(sources)
            groups = reasons.count_groups(rows, section)
            time_units.check_times(groups, section, sources)
            lost = conversions.count_lost(rows) if sum(g.lost for g in groups) else {}
            lost |= lookups.lost_facts(run.spark, section)
        with reasons.within_log(rows, groups, section) as (cleaned, groups, span):
            total, bad, by_reason = reasons.count_reasons(groups)
            meant = partial(time_units.suggestion, section, sources)
            reasons.check_counts(raw, total, bad, by_reason, section.max_rejected, meant)
            written = run.store.write(EVENTS, cleaning.events(cleaned))
            rejected = run.store.write(REJECTED, cleaning.rejected(cleaned))
            reasons.check_counts(raw, written + rejected, rejected, by_reason, 1.0)
    by_source = reasons.count_duplicates(groups)
    counts = {
        "raw": sum(raw.values()),
        "events": written,
        "rejected": rejected,
        "reasons": by_reason,
        **times.said(groups, span),
        **({"sources that end early": early} if (early := times.early_ends(groups)) else {}),
        **({"duplicates by source": by_source} if by_source else {}),
        **({"not converted": lost} if lost else {}),
    }
    unread = {name: read.passed_over for name, read in sources.items() if read.passed_over}
    return (
        counts
        | ({"left out": left_out} if any(left_out.values()) else {})
        | ({"files not read": {n: _named(files) for n, files in unread.items()}} if unread else {})
    )


def _named(files: list[str]) -> dict[str, Any]:
    """Their number, and the names of the first ones."""
    return {"files": len(files), "names": files[:20]}
