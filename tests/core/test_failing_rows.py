"""Expressions that fail on a row are named with the row, whatever they raise."""

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions
from reweight.core.failing_rows import failing_rows_named

FAILING = {
    "timestamp_seconds(n)": ("n = '9223372036854775807'", "long overflow"),
    "max(timestamp_seconds(n))": ("n = '9223372036854775807'", "long overflow"),
    "from_utc_timestamp(timestamp '2026-01-01', name)": ("name = 'no zone'", "no zone"),
    "element_at(array(1), length(name) - 7)": ("name = 'no zone'", "INVALID_INDEX_OF_ZERO"),
    "regexp_extract(name, '(z)', 2)": ("name = 'no zone'", "but got 2"),
    "date_format(timestamp '2026-01-01', if(n > 1, 'QQQQQQ', 'Q'))": ("n = '922", "pattern"),
    "raise_error(`a b`)": ("a b = '5'", "5"),
}


def test_the_expression_and_the_row_are_named(spark: SparkSession) -> None:
    rows = [(1, "UTC", "5"), (2**63 - 1, "no zone", "5")]
    frame = spark.createDataFrame(rows, "n long, name string, `a b` string")
    fine = {"fine": "length(name)", "column": "n"}
    for sql, (row, cause) in FAILING.items():
        with pytest.raises(SourceError) as error, failing_rows_named():
            check_expressions(frame, fine)
            check_expressions(frame, {"wrong": sql})
            frame.select(F.to_json(F.struct(F.expr(sql)))).collect()
        assert error.value.what == "the expression wrong fails on a row"
        assert error.value.got.startswith(f"{sql} for ")
        assert row in error.value.got
        assert cause in error.value.got
        assert "\tat " not in str(error.value)


def test_other_failures_are_raised_as_they_are(spark: SparkSession) -> None:
    frame = spark.createDataFrame([(1,)], "n long")
    with pytest.raises(Py4JJavaError, match="overflow"), failing_rows_named():
        # The frame itself fails, so no expression over it is at fault.
        failing = frame.select(F.expr("timestamp_seconds(n + 9223372036854775806)").alias("t"))
        check_expressions(failing, {"innocent": "hour(t)"})
        failing.collect()
    with pytest.raises(ZeroDivisionError), failing_rows_named():
        check_expressions(frame, {"innocent": "n"})
        raise ZeroDivisionError
