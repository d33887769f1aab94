"""Events that belong together: one row each, and when it may count for later samples."""

from datetime import UTC, datetime, timedelta

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.collapse import Collapse, collapsed, event_columns, known_at
from reweight.core.errors import SourceError

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
    untimed = collapsed(frame.drop("event_time"), Collapse(keys=("id",), columns={"n": "count(*)"}))
    assert {(row["id"], row["n"]) for row in untimed.collect()} == {(1, 2), (2, 1)}
