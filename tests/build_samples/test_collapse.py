"""Events that belong together: one row each, and when it may count for later samples."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.collapse import LONE, Collapse, collapsed, event_columns, known_at
from reweight.build_samples.sampling import Label, Sampling, with_identity
from reweight.core.errors import SourceError
from reweight.core.hashing import key_hash

START = datetime(2026, 3, 1, tzinfo=UTC)
BEGIN = int(START.timestamp())
COLUMNS = "id long, user string, item string, event_time timestamp"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_lines_of_one_thing_are_made_one_event(spark: SparkSession) -> None:
    lines = [(1, "a", "x", at(5)), (1, "a", "y", at(2)), (2, "b", "x", at(9))]
    frame = spark.createDataFrame(lines, COLUMNS)
    collapse = Collapse(
        keys=("id",),
        columns={"event_time": "min(event_time)", "lines": "count(*)", "user": "first(user)"},
    )
    found = collapsed(frame, collapse)
    assert event_columns(found) == ["id", *collapse.columns]
    times = [F.unix_seconds(t).alias(n) for n, t in (("t", "event_time"), ("k", known_at(found)))]
    rows = {tuple(row) for row in found.select("id", "lines", "user", *times).collect()}
    assert rows == {(1, 2, "a", BEGIN + 2, BEGIN + 5), (2, 1, "b", BEGIN + 9, BEGIN + 9)}
    assert collapsed(frame, None) is frame
    assert str(known_at(frame)) == str(F.col("event_time"))
    wrong = Collapse(keys=("nobody",), columns={"event_time": "min(event_time)"})
    with pytest.raises(SourceError, match=r"collapse\.keys\.nobody"):
        collapsed(frame, wrong)
    with pytest.raises(ValidationError, match="at least 1 item"):
        Collapse(keys=("id",), columns={})
    no_aggregate = Collapse(keys=("id",), columns={"event_time": "min(event_time)", "of": "item"})
    with pytest.raises(SourceError, match=r"1 error(.|\n)*collapse\.columns\.of: item\n"):
        collapsed(frame, no_aggregate)
    facts = frame.withColumn("facts", F.create_map("user", "id"))
    with pytest.raises(SourceError, match=r"collapse\.keys\.facts: facts\n"):
        collapsed(facts, Collapse(keys=("facts",), columns=wrong.columns))
    untimed = collapsed(frame.drop("event_time"), Collapse(keys=("id",), columns={"n": "count(*)"}))
    assert {(row["id"], row["n"]) for row in untimed.collect()} == {(1, 2), (2, 1)}


def test_events_with_a_null_key_belong_to_no_other(spark: SparkSession) -> None:
    rows = [
        *[(1, "a", "x", at(0)), (1, "a", "y", at(1))],
        *[(1, None, "x", at(2)), (1, None, "x", at(3)), (1, None, None, at(3))],
        # They are equal but for the place of a null.
        *[(None, "a", "b", at(5)), (None, "b", None, at(5)), (None, None, "b", at(5))],
        *[(None, None, "b", at(7))] * 2,
    ]
    frame = spark.createDataFrame(rows, COLUMNS).withColumn("more", F.create_map(F.lit("of"), "id"))
    columns = {"event_time": "min(event_time)", "n": "count(*)", "item": "max(item)"}
    collapse = Collapse(keys=("id", "user"), columns=columns)
    sampling = Sampling(collapse=collapse, key=("id",), label=Label(value="true"))

    def samples(partitions: int) -> set[tuple[object, ...]]:
        merged = collapsed(frame.repartition(partitions, "event_time", "item"), collapse)
        ids = with_identity(merged, sampling).withColumn("natural", key_hash("id"))
        second = F.unix_seconds("event_time") - BEGIN
        names = ("id", "user", "n", "item", "sample_id", "natural", LONE)
        return {(second_, *rest) for second_, *rest in ids.select(second, *names).collect()}

    found = samples(1)
    assert {row[:5] for row in found} == {
        (0, 1, "a", 2, "y"),
        *[(2, 1, None, 1, "x"), (3, 1, None, 1, "x"), (3, 1, None, 1, None)],
        *[(5, None, "a", 1, "b"), (5, None, "b", 1, None), (5, None, None, 1, "b")],
        (7, None, None, 2, "b"),
    }
    # Events that agree in the natural key are different samples all the same.
    assert len({row[5] for row in found}) == len(found) == 8
    # All that were merged by their keys have the ids of their natural key.
    assert {row[0] for row in found if row[5] == row[6]} == {0}
    assert {row[0] for row in found if row[7] is None} == {0}
    assert samples(3) == found
