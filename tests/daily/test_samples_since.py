"""What decides about the samples of a day: events before it, too."""

from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.labels import with_label
from reweight.build_samples.sampling import Sampling
from reweight.clean_logs.section import Cleaning
from reweight.core.store_places import open_store
from reweight.core.tables import EVENTS
from reweight.daily.days import micros, since
from reweight.daily.samples import events_since

FIRST = date(2026, 1, 5)
CLEANING = Cleaning.model_validate(
    {
        "sources": {"log": {"path": "raw", "format": "parquet"}},
        "columns": {name: name for name in ("event_time", "id", "kind", "user")},
    }
)
LOG = [
    ("2026-01-02 12:00:00", 0, "show", "b"),
    # The purchase of the 5th is of the sample of the 4th, which is in the other run.
    ("2026-01-04 23:00:00", 1, "show", "a"),
    ("2026-01-05 01:00:00", 2, "show", "a"),
    ("2026-01-05 02:00:00", 3, "buy", "a"),
    ("2026-01-05 03:00:00", 4, "show", "b"),
    ("2026-01-05 04:00:00", 5, "buy", "b"),
]


def sampling(attribute: str | None) -> Sampling:
    label = {"where": "kind = 'buy'", "keys": ["user"], "window": "2 days", "attribute": attribute}
    return Sampling.model_validate({"anchor": "kind = 'show'", "key": ["id"], "label": label})


def labels(events: DataFrame, rules: Sampling) -> dict[int, float]:
    """Id -> label, of the samples of the days."""
    end = F.lit("2026-01-09").cast("timestamp")
    rows = with_label(events, rules, end).where(since(micros(FIRST))).collect()
    return {row["id"]: row["label"] for row in rows}


def test_labels_of_the_first_days_are_those_of_one_run(spark: SparkSession, tmp_path: Path) -> None:
    log = spark.createDataFrame(LOG, "event_time string, id bigint, kind string, user string")
    log = log.withColumn("event_time", F.col("event_time").cast("timestamp"))
    of_days = since(micros(FIRST))
    # What the other run has of the days themselves is there once.
    open_store(spark, str(tmp_path), "reference").write(EVENTS, log)
    store = open_store(spark, str(tmp_path), "days")
    store.write(EVENTS, log.where(of_days))
    found = {}
    for attribute in ("first", "last", None):
        rules = sampling(attribute)
        given = (store, CLEANING, rules, micros(FIRST), FIRST, "reference")
        events, day = events_since(*given)
        assert day == FIRST
        found[attribute] = labels(events, rules)
        assert found[attribute] == labels(log, rules)
    assert found == {"first": {2: 0, 4: 1}, "last": {2: 1, 4: 1}, None: {2: 1, 4: 1}}
    # Once a day is more than a window after the first one, the other run is not read.
    later = micros(date(2026, 1, 7))
    events, day = events_since(store, CLEANING, sampling("first"), later, FIRST, "no such run")
    assert (day, events.count()) == (FIRST, 4)
