"""The stage clean_logs."""

from typing import Any

from pyspark import StorageLevel

from reweight import cleaning
from reweight.run import Run
from reweight.tables import EVENTS, REJECTED


def clean_logs(run: Run) -> dict[str, Any]:
    """Maps raw logs to typed events; every other row goes to `rejected` with its reasons."""
    section = run.config.cleaning
    raw = cleaning.read_raw(run.spark, section)
    rows = (
        raw.transform(cleaning.with_lookups, run.spark, section)
        .transform(cleaning.with_reasons, section)
        .transform(cleaning.with_duplicates, section)
        .persist(StorageLevel.DISK_ONLY)
    )
    try:
        total, bad, reasons = cleaning.count_reasons(rows)
        # Counted on the files themselves, not on what the rules made of them.
        raw_rows = raw.count()
        cleaning.check_counts(raw_rows, total, bad, reasons, section.max_rejected)
        written = run.store.write(EVENTS, cleaning.events(rows))
        thrown = run.store.write(REJECTED, cleaning.rejected(rows))
        cleaning.check_counts(raw_rows, written + thrown, thrown, reasons, 1.0)
    finally:
        rows.unpersist()
    return {"raw": raw_rows, "events": written, "rejected": thrown, "reasons": reasons}
