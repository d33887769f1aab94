"""Columns of samples as numbers: nothing is invented for what is not known."""

import math

from pyspark.sql import SparkSession

from reweight.core.columns import number


def test_segments_count_from_1_and_others_are_0(spark: SparkSession) -> None:
    rows = spark.createDataFrame([("b",), ("a",), (None,), ("new",)], "segment string")
    for segments, wanted in ((("a", "b"), [2, 1, 0, 0]), ((), [0, 0, 0, 0])):
        found = rows.select(number("segment", segments).alias("n")).collect()
        assert [row["n"] for row in found] == wanted


def test_a_number_that_is_not_known_stays_unknown(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(2.5, True), (None, False)], "value double, mature boolean")
    found = rows.select(number("value", ()).alias("v"), number("mature", ()).alias("m")).toPandas()
    assert found["v"][0] == 2.5
    assert math.isnan(found["v"][1])
    assert found["m"].tolist() == [1.0, 0.0]
