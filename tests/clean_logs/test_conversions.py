"""Values that a conversion makes null are counted; a time of a day without a date is one of them."""

from datetime import datetime

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.conversions import dated

TEN = datetime(2024, 3, 1, 10)


@pytest.mark.parametrize(
    "sql",
    ["try_to_timestamp(ts, 'HH:mm')", "CAST(ts AS date)", "timestamp_seconds(ts)", "'::timestamp'"],
)
def test_what_reads_no_times_without_a_date_stays_as_it_is(sql: str) -> None:
    assert dated(sql) == sql


def test_a_time_of_a_day_is_no_time(spark: SparkSession) -> None:
    texts = ["10:11:12", "T09:00", " 9:5", "2024-03-01 10:00:00", "2024-03-01T10:00Z", None]
    rows = spark.createDataFrame([(text, TEN) for text in texts], "ts string, t timestamp")
    for sql in (
        "try_to_timestamp(ts)",
        "ts::timestamp",
        "timestamp(ts)",
        "to_utc_timestamp(coalesce(try_cast(ts AS timestamp), ts::string::timestamp), 'UTC')",
    ):
        values = [row[0] for row in rows.select(F.expr(dated(sql))).collect()]
        assert values == [None, None, None, TEN, TEN, None], sql
    # A time that is one already is not written as text.
    typed = rows.select(F.expr(dated("CAST(t AS timestamp)")).alias("t"))
    assert typed.distinct().collect() == [(TEN,)]
