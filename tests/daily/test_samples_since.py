"""What decides about the samples of a day: events before it, and ids of earlier samples."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.labels import with_label
from reweight.build_samples.sampling import Sampling
from reweight.clean_logs.section import Cleaning
from reweight.core.errors import SampleError
from reweight.core.store_places import open_store
from reweight.core.tables import EVENTS, SAMPLES
from reweight.daily.days import micros, since
from reweight.daily.samples import check_new, events_since

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
    store, of_run = open_store(spark, str(tmp_path), "days"), log.where(of_days)
    found = {}
    for attribute in ("first", "last", None):
        rules = sampling(attribute)
        given = (store, of_run, CLEANING, rules, micros(FIRST), FIRST, "reference")
        events, day = events_since(*given)
        assert day == FIRST
        found[attribute] = labels(events, rules)
        assert found[attribute] == labels(log, rules)
    assert found == {"first": {2: 0, 4: 1}, "last": {2: 1, 4: 1}, None: {2: 1, 4: 1}}
    # Once a day is more than a window after the first one, the other run is not read.
    later = micros(date(2026, 1, 7))
    rules = sampling("first")
    events, day = events_since(store, of_run, CLEANING, rules, later, FIRST, "no such run")
    assert (day, events.count()) == (FIRST, 4)


@pytest.fixture
def samples(spark: SparkSession) -> Callable[..., DataFrame]:
    """Samples of the 5th with these ids."""
    columns = SAMPLES.columns()
    assert columns is not None
    values = {
        "event_time": F.lit("2026-01-05 10:00:00"),
        "sample_id": F.col("id"),
        "group_id": F.lit("a"),
        "mature": F.lit(True),
        "split": F.lit("test"),
        "target": F.lit(False),
        "features": F.array(),
        "ids": F.array(),
    }
    chosen = [
        values.get(field.name, F.lit(None)).cast(field.dataType).alias(field.name)
        for field in columns.fields[1:]
    ]
    return lambda *ids: spark.createDataFrame([(n,) for n in ids], "id bigint").select(*chosen)


def test_an_id_of_an_earlier_sample_is_refused(
    spark: SparkSession, tmp_path: Path, samples: Callable[..., DataFrame]
) -> None:
    store = open_store(spark, str(tmp_path), "days")
    opened, rules = micros(date(2026, 1, 6)), sampling(None)
    check_new(store, samples(2), rules, opened)  # there is no table yet
    store.write(SAMPLES, samples(1, 2, 3))
    open_store(spark, str(tmp_path), "other").write(SAMPLES, samples(4))
    check_new(store, samples(4, 5), rules, opened)
    # What is made again replaces its own rows.
    check_new(store, samples(2), rules, micros(FIRST))
    with pytest.raises(SampleError, match="sample_id is not unique") as caught:
        check_new(store, samples(2, 3, 4), rules, opened)
    assert caught.value.got == "those of 2 samples before 2026-01-06 once more"
    with_time = rules.model_copy(update={"key": ("id", "event_time")})
    check_new(store, samples(2), with_time, opened)
