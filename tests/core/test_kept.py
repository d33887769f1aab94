"""Columns that are kept as JSON come back as they were."""

from pyspark.sql import SparkSession

from reweight.core.kept import kept_json, with_kept


def test_kept_columns_come_back_as_they_were(spark: SparkSession) -> None:
    columns = {
        "time": "TIMESTAMP '2026-03-01 10:00:00.123456+02:00'",
        "local": "TIMESTAMP_NTZ '2026-03-01 10:00:00.000007'",
        "times": "map('a', array(TIMESTAMP '2026-03-01 10:00:00'))",
        "day": "DATE '2026-03-01'",
        "price": "CAST(1.5 AS decimal(9, 2))",
        "none": "CAST(NULL AS timestamp)",
    }
    given = spark.range(1).selectExpr(*[f"{sql} AS {name}" for name, sql in columns.items()])
    samples = spark.range(1).select(kept_json(columns).alias("kept"))
    kept = with_kept(samples, dict(given.dtypes)).select(*columns)
    assert kept.collect() == given.collect()
    # Texts of earlier versions have milliseconds.
    text = """'{"time": "2026-03-01T08:00:00.123Z"}' AS kept"""
    row = spark.range(1).selectExpr(text).transform(with_kept, {"time": "timestamp"}).first()
    assert row is not None
    assert row["time"].microsecond == 123_000
