"""Events that several days deliver are those of one run over all days, whatever comes again."""

import json
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs import cleaning
from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.typed_rows import typed_rows
from reweight.core.errors import SourceError
from reweight.core.run_folder import RunFolder
from reweight.core.store_places import open_store
from reweight.core.tables import EVENTS, REJECTED
from reweight.daily.days import read_days
from reweight.daily.delivery import delivered
from reweight.daily.section import Daily, cleaning_of
from reweight.daily.shared_keys import (
    counted,
    note_done,
    settled,
    stored_events,
    write_settled,
)

pytestmark = pytest.mark.timeout(300)

# Id, time and version of an event.
Line = tuple[str, str, int]
KEYS = {"keys": ["event_id"], "prefer": "-v"}


class Log:
    """A log of a few lines a day, and the tables of a run that takes its days.

    Attributes:
        read_again: the days that were read with the last one.
    """

    def __init__(self, spark: SparkSession, path: Path, duplicates: Mapping[str, Any]) -> None:
        self.spark, self.raw, self.folder = spark, path / "raw", RunFolder(path / "run")
        self.store = open_store(spark, str(path), "days")
        self.section = Cleaning.model_validate(
            {
                "sources": {
                    "log": {
                        "path": f"{self.raw}/*",
                        "format": "json",
                        "schema": "event_id string, ts string, v int",
                    }
                },
                "columns": {
                    "event_time": "try_to_timestamp(ts)",
                    "event_id": "event_id",
                    "v": "v",
                    # Spark hashes no maps.
                    "of": "map('v', v)",
                },
                "duplicates": duplicates,
            }
        )
        self.daily = Daily(first=date(2026, 2, 1), paths={"log": f"{self.raw}/{{day}}"})
        self.read_again: str | None = None

    def put(self, day: int, *lines: Line) -> None:
        """Writes what a day delivers."""
        folder = self.raw / f"2026-02-{day:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        rows = [{"event_id": i, "ts": f"2026-02-{time}", "v": v} for i, time, v in lines]
        (folder / "log.json").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def take(self, number: int, *, is_killed: bool = False) -> dict[str, Any]:
        """Takes a day, as far as its events."""
        day, known = date(2026, 2, number), read_days(self.folder)
        part = cleaning_of(day, self.section, self.daily)
        with delivered(self.spark, day, part) as delivery:
            stored = partial(stored_events, self.store, self.section)
            of_day = (delivery, known, stored, self.section, self.daily)
            with settled(self.spark, *of_day) as result:
                write_settled(result, known, self.store, self.folder)
        if not is_killed:
            note_done(result, known, self.folder)
        counts = counted(result, delivery)
        self.read_again = counts.get("read again")
        return counts

    def check(self) -> None:
        """Checks that the tables are those of one run over all days."""
        rows = typed_rows(self.spark, cleaning.read_sources(self.spark, self.section), self.section)
        events = self.store.read(EVENTS).drop("run_id", "_delivered")
        rejected = self.store.read(REJECTED, may_be_empty=True)
        assert sorted(map(tuple, events.collect())) == sorted(
            map(tuple, cleaning.events(rows).select(*events.columns).collect())
        )
        of_day = F.regexp_extract("source_file", r"/([\d-]+)/log", 1).alias("day")
        of_all = cleaning.rejected(rows).select("reasons", "raw", of_day)
        of_days = rejected.select("reasons", "raw", F.col("day").cast("string"))
        assert sorted(map(tuple, of_days.collect())) == sorted(map(tuple, of_all.collect()))
        days = read_days(self.folder).values()
        stayed = events.agg(F.count("*"), F.max(F.unix_micros("event_time"))).first()
        assert stayed == (sum(d.events for d in days), max(d.last for d in days))


@pytest.fixture
def log(spark: SparkSession, tmp_path: Path) -> Callable[..., Log]:
    return lambda **duplicates: Log(spark, tmp_path, duplicates or KEYS)


def test_an_event_that_lost_to_another_day_comes_back(log: Callable[..., Log]) -> None:
    late = ("1", "01 10:00:00", 2)
    shop = log()
    shop.put(1, ("1", "01 10:00:00", 1), ("x", "01 11:00:00", 1))
    shop.put(2, late, ("y", "02 11:00:00", 1))
    shop.take(1)
    shop.take(2)
    assert shop.read_again == "2026-02-01"
    shop.check()
    # The day that won is delivered again, without the event, and with it once more.
    shop.put(2, ("y", "02 11:00:00", 1))
    shop.take(2)
    shop.check()
    shop.put(2, ("y", "02 11:00:00", 2), late)
    shop.take(2)
    # The day that lost is delivered again, and now has a better one.
    shop.put(1, ("1", "01 10:00:00", 3), ("x", "01 11:00:00", 1))
    shop.take(1)
    shop.check()


def test_an_event_is_there_once_if_it_is_sent_again_after_midnight(
    log: Callable[..., Log],
) -> None:
    shop = log(keys=["event_id"])
    shop.put(3, ("9", "03 23:59:59", 1), ("a", "03 10:00:00", 1))
    shop.put(4, ("9", "04 11:00:00", 2), ("b", "04 10:00:00", 1))
    shop.take(3)
    counts = shop.take(4)
    assert (counts["events"], counts["rejected"]) == (1, 1)
    assert counts["reasons"] == {"duplicate_key": 1}
    # Nothing of the day before changes, so it is not read again.
    assert shop.read_again is None
    shop.check()
    shop.put(3, ("a", "03 10:00:00", 1))
    shop.take(3)
    shop.check()
    # Both change, and the first one takes the second one with it.
    shop.put(3, ("9", "03 23:59:59", 3), ("c", "03 10:00:00", 1))
    shop.put(4, ("9", "04 11:00:00", 2), ("b", "04 10:00:00", 2))
    shop.take(3)
    shop.check()


def test_three_days_with_one_event_and_a_job_that_is_killed(
    log: Callable[..., Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = log()
    day_of = {n: (f"only {n}", f"0{n} 12:00:00", 1) for n in (1, 2, 3)}
    for n, version in ((1, 2), (2, 1), (3, 3)):
        shop.put(n, day_of[n], ("k", f"0{n} 10:00:00", version))
    shop.take(1)
    shop.take(2)
    # Between its tables, and after them.
    with monkeypatch.context() as patch:
        patch.setattr("reweight.daily.shared_keys.EVENTS", None)
        with pytest.raises(AttributeError):
            shop.take(3)
    shop.take(3, is_killed=True)
    shop.take(3)
    assert shop.read_again == "2026-02-01"
    shop.check()
    shop.put(1, day_of[1])
    shop.take(1)
    shop.put(3, day_of[3])
    shop.take(3)
    shop.check()


def test_a_day_that_cannot_be_read_again_is_refused_by_name(log: Callable[..., Log]) -> None:
    shop = log()
    shop.put(1, ("1", "01 10:00:00", 1))
    shop.take(1)
    (shop.raw / "2026-02-01" / "log.json").unlink()
    shop.put(2, ("1", "01 10:00:00", 2), ("y", "02 11:00:00", 1))
    with pytest.raises(SourceError, match="2026-02-01 cannot be read again") as caught:
        shop.take(2)
    assert "events of 2026-02-02" in caught.value.what
    assert list(read_days(shop.folder)) == [date(2026, 2, 1)]


def test_without_keys_no_other_day_is_looked_at(
    log: Callable[..., Log], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.stored_events", lambda *_: pytest.fail("events were read"))
    shop = log(exact=True)
    for day in (1, 2):
        shop.put(day, ("1", f"0{day} 10:00:00", 1))
        assert shop.take(day)["events"] == 1
