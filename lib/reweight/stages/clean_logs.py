"""The stage clean_logs."""

from typing import Any

from pyspark import StorageLevel

from reweight import cleaning
from reweight.runs import Run
from reweight.sources import readable
from reweight.tables import EVENTS, REJECTED


def clean_logs(run: Run) -> dict[str, Any]:
    """Maps raw logs to typed events; every other row goes to `rejected` with its reasons."""
    section = run.config.cleaning
    with readable():
        sources = cleaning.read_sources(run.spark, section)
        rows = (
            cleaning.mapped(sources, section)
            .transform(cleaning.with_lookups, run.spark, section)
            .transform(cleaning.with_reasons, section)
            .transform(cleaning.with_duplicates, section)
            .persist(StorageLevel.DISK_ONLY)
        )
    try:
        with readable():
            total, bad, reasons = cleaning.count_reasons(rows)
            raw = cleaning.count_rows(sources)
        cleaning.check_counts(raw, total, bad, reasons, section.max_rejected)
        written = run.store.write(EVENTS, cleaning.events(rows))
        thrown = run.store.write(REJECTED, cleaning.rejected(rows))
        cleaning.check_counts(raw, written + thrown, thrown, reasons, 1.0)
    finally:
        rows.unpersist()
    return {
        "raw": sum(raw.values()),
        "events": written,
        "rejected": thrown,
        "reasons": reasons,
    }
