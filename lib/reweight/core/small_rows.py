"""Rows that are made on the driver, such as metrics and decisions, as a frame for their table."""

from collections.abc import Iterable, Mapping
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import StructField, StructType

from reweight.core.tables import Table


def frame_of(spark: SparkSession, table: Table, rows: Iterable[Mapping[str, Any]]) -> DataFrame:
    """The rows with the columns and types of a table; the table checks which may be null.

    Args:
        spark: the session.
        table: a table with a declared schema.
        rows: column -> value, few by nature; a column that a row lacks is null.
    """
    schema = table.columns()
    assert schema is not None
    fields = [StructField(f.name, f.dataType) for f in schema.fields[1:]]
    records = [tuple(row.get(field.name) for field in fields) for row in rows]
    return spark.createDataFrame(records, StructType(fields))
