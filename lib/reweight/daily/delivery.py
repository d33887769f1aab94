"""What a day delivers: its raw rows, cleaned."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs import cleaning, reasons
from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.sources import Read, readable
from reweight.clean_logs.typed_rows import typed_rows
from reweight.core.errors import SourceError
from reweight.core.persisted import persisted
from reweight.core.spark_files import listed
from reweight.daily.days import Day, of_micros

DELIVERED = "_delivered"


@dataclass(frozen=True)
class Delivery:
    """The rows that a day delivers.

    Attributes:
        rows: all of them, with the event columns, ``_reasons`` and the day that delivered them.
        day: what is known of the day.
        summary: counts by name.
    """

    rows: DataFrame
    day: Day
    summary: Mapping[str, Any]


@contextmanager
def delivered(spark: SparkSession, day: date, section: Cleaning) -> Iterator[Delivery]:
    """Reads and cleans what a day delivers.

    Args:
        spark: the session.
        day: the day.
        section: how the day is read, of ``cleaning_of``.

    Raises:
        SourceError: there are no files, or as in the stage clean_logs.
    """
    _check_files(spark, day, section)
    with readable():
        sources = cleaning.read_sources(spark, section)
        rows = typed_rows(spark, sources, section)
        rows = rows.withColumn(DELIVERED, F.lit(day).cast("date"))
    with persisted(rows) as rows:
        with readable():
            raw, _ = cleaning.count_rows(sources)
            groups = reasons.count_groups(rows, section)
            empty = _empty(rows, section)
        total, bad, by_reason = reasons.count_reasons(groups)
        # A source may have no row on a day; that no source has one is refused with the volume.
        with_rows = {name: count for name, count in raw.items() if count}
        if with_rows:
            reasons.check_counts(with_rows, total, bad, by_reason, section.max_rejected)
        good = [g for g in groups if not g.reasons]
        last = max((g.last for g in good if g.last is not None), default=0)
        changed = {of_micros(g.first) for g in good if g.first is not None} | {day}
        day_record = Day(
            day=day,
            status="running",
            changed=tuple(sorted(changed)),
            raw=raw,
            events=total - bad,
            last=last,
            columns={name: _columns(read) for name, read in sources.items()},
            empty=empty,
            versions=cleaning.versions(spark, section),
        )
        late = {
            str(of_micros(g.first)): g.rows
            for g in sorted(good, key=lambda g: g.first or 0)
            if g.first is not None and of_micros(g.first) < day
        }
        counts = {"raw": sum(raw.values()), "events": total - bad, "rejected": bad}
        yield Delivery(
            rows,
            day_record,
            counts | ({"reasons": by_reason} if bad else {}) | ({"late": late} if late else {}),
        )


def _check_files(spark: SparkSession, day: date, section: Cleaning) -> None:
    for name, source in section.sources.items():
        if source.path is None or source.format == "delta" or listed(spark, source.path).under:
            continue
        raise SourceError(
            f"there are no raw files of {day}",
            expected=f"files at {source.path} (source '{name}')",
            got="none",
            fix="deliver the day, or correct daily.paths; then start the job again; nothing was "
            "written",
        )


def _empty(rows: DataFrame, section: Cleaning) -> tuple[str, ...]:
    """The event columns without a value in any event."""
    names = section.stored_columns
    good = rows.where(F.size("_reasons") == 0)
    counts = good.agg(*[F.count(name).alias(name) for name in names]).first()
    assert counts is not None
    return tuple(name for name in names if not counts[name])


def _columns(read: Read) -> dict[str, str]:
    added = ("source", "source_file")
    return {c: kind for c, kind in read.rows.dtypes if not (c.startswith("_") or c in added)}
