"""Values that a conversion makes null; a time of a day without a date is one of them."""

from datetime import datetime

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.conversions import count_lost, dated, lost_values

NA = "1 value such as 'n/a'"
TEN = datetime(2024, 3, 1, 10)


@pytest.mark.parametrize(
    "sql",
    ["try_to_timestamp(ts, 'HH:mm')", "CAST(ts AS date)", "timestamp_seconds(ts)", "'::timestamp'"],
)
def test_what_reads_no_times_without_a_date_stays_as_it_is(sql: str) -> None:
    assert dated(sql) == sql


def test_a_time_of_a_day_is_no_time(spark: SparkSession) -> None:
    texts = ["10:11:12", "T09:00", " 9:5", "2024-03-01 10:00:00", "2024-03-01T10:00:00Z", None]
    rows = spark.createDataFrame([(text, TEN) for text in texts], "ts string, t timestamp")
    for sql in (
        "try_to_timestamp(ts)",
        "ts::timestamp",
        "timestamp(ts)",
        "to_utc_timestamp(coalesce(try_cast(ts AS timestamp), ts::string::timestamp), 'UTC')",
    ):
        if "::" in sql and spark.version < "4":
            continue  # Spark 3.5 has no such casts.
        values = [row[0] for row in rows.select(F.expr(dated(sql))).collect()]
        assert values == [None, None, None, TEN, TEN, None], sql
    # A time that is one already is not written as text.
    typed = rows.select(F.expr(dated("CAST(t AS timestamp)")).alias("t"))
    assert typed.distinct().collect() == [(TEN,)]


def test_casts_are_counted_however_they_are_written(spark: SparkSession) -> None:
    raw = "id int, price string, ts string"
    rows = spark.createDataFrame([(1, "n/a", "10:11:12"), (2, "2", "2024-03-01")], raw)
    columns = {
        "cast": "try_cast(price AS double)",
        "colons": "1 + price::double",
        "function": "double(price) * 2",
        "with_digits": "decimal(price)",
        "of_type": "CAST(id AS decimal(10, 2))",
        "date": "date(price)",
        "time": "timestamp(ts)",
        "part": "hour(try_to_timestamp(ts))",
        "text": "price",
        "other": "nullif(price, 'n/a')",
    }
    if spark.version < "4":
        columns["colons"] = "1 + double(price)"
    lost = count_lost(
        rows.select("*", F.lit(False).alias("_malformed")).select(
            lost_values(columns).alias("_lost")
        )
    )
    assert lost == dict.fromkeys(["cast", "colons", "function", "with_digits"], NA) | {
        "date": "2 values such as '2'",
        "time": "1 value such as '10:11:12'",
        "part": "1 value such as '10:11:12'",
    }
