"""The SQL of a schema."""

from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from reweight.core import tables
from reweight.core.ddl import creation, ddl
from reweight.core.tables import Table


def test_spark_reads_the_schema_that_was_written(spark: SparkSession) -> None:
    text = (
        "run_id string not null, `a ``b` array<float>, s struct<x: int not null, `y z`: map<string,"
        " bigint>>, d decimal(10,2), t timestamp, n timestamp_ntz, b binary, f boolean, e date"
    )
    schemas = [spark.createDataFrame([], text).schema]
    of_tables = [t for t in vars(tables).values() if isinstance(t, Table)]
    schemas += [columns for table in of_tables if (columns := table.columns())]
    for schema in schemas:
        assert _read(spark, ddl(schema)) == schema


def _read(spark: SparkSession, text: str) -> StructType:
    return spark.createDataFrame([], text).schema


def test_a_table_is_made_with_its_constraints() -> None:
    columns = StructType([StructField("run_id", StringType(), nullable=False)])
    made = creation("`a`.`b`", columns, {"delta.constraints.known": "run_id <> 'x'"})
    assert made == (
        "CREATE TABLE IF NOT EXISTS `a`.`b` (`run_id` STRING NOT NULL) USING delta "
        "PARTITIONED BY (run_id) TBLPROPERTIES "
        r"('delta.constraints.known' = 'run_id <> \'x\'')"
    )
    assert creation("`b`", columns, {}).endswith("PARTITIONED BY (run_id)")
