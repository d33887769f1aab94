"""Facts without a key, a line per item: the number of the line is the key.

Spark reads a file in blocks, in no order, so a row is numbered by the block that it is in and by
its place there: the numbers do not depend on how the file was cut. Readers pass over some lines,
blank ones for example, which would shift all numbers after them. So lines and rows are compared
first.
"""

from typing import Any

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from reweight.clean_logs.files import find
from reweight.clean_logs.section import Lookup, Source
from reweight.core.errors import SourceError

_FILE, _BLOCK, _PLACE = "_numbered_file", "_numbered_block", "_numbered_place"


def with_line_number(table: DataFrame, spark: SparkSession, name: str, lookup: Lookup) -> DataFrame:
    """Adds the number of each row in its file, bigint, in the column ``lookup.line_number``.

    Args:
        table: the rows of the lookup, as they were read.
        spark: the session.
        name: name of the lookup.
        lookup: the lookup; if it has no ``line_number``, nothing is added.

    Raises:
        SourceError: the file has a column of this name, there are several files, or lines and rows
            do not agree.
    """
    column = lookup.line_number
    if column is None:
        return table
    if taken := [c for c in table.columns if c.lower() == column.lower()]:
        raise SourceError(
            f"the lookup '{name}' has a column of the name that the line number gets",
            expected=f"no column `{column}` in {lookup.source.place}",
            got=str(taken),
            fix=f"write another name as cleaning.lookups.{name}.line_number, such as "
            f"{column}_number",
        )
    # A line of column names is a line, but has no number.
    header = F.coalesce(F.col("_left_out") == "header", F.lit(False))
    numbered = _numbered(table.where(~header), column)
    _check(table, _lines(spark, lookup.source), name, lookup.source)
    # Spark refuses to read a CSV file if no column is needed. Every row has a text.
    return numbered.withColumn(column, F.when(F.col("_raw").isNotNull(), F.col(column)))


def _numbered(rows: DataFrame, column: str) -> DataFrame:
    """The rows with their numbers. A lookup is small, so one task may sort a file."""
    placed = rows.withColumns(
        {
            _FILE: F.input_file_name(),
            _BLOCK: F.expr("input_file_block_start()"),
            # Within a block, rows are read in their order.
            _PLACE: F.monotonically_increasing_id(),
        }
    )
    order = Window.partitionBy(_FILE).orderBy(_BLOCK, _PLACE)
    numbered = placed.withColumn(column, F.row_number().over(order).cast("bigint"))
    return numbered.drop(_FILE, _BLOCK, _PLACE)


def _lines(spark: SparkSession, source: Source) -> Any:
    """Number of files, of lines with text, and of the last of these, blank lines included."""
    files = find(spark, source.place, source.compression)
    reader = spark.read.options(**source.options, **files.options)
    text = _numbered(reader.text(files.read), "_line")
    written = F.trim("value") != ""
    counts = text.select("value", "_line", "_metadata.file_path").agg(
        F.count_distinct("file_path").alias("files"),
        F.count(F.when(written, 1)).alias("written"),
        F.coalesce(F.max(F.when(written, F.col("_line"))), F.lit(0)).alias("last"),
    )
    return counts.first()


def _check(rows: DataFrame, lines: Any, name: str, source: Source) -> None:
    if lines["files"] > 1:
        raise SourceError(
            f"the lines of the lookup '{name}' have no order",
            expected="one file, whose lines are counted",
            got=f"{lines['files']} files at {source.place}",
            fix="make one file of them, or write the number into the files as a column",
        )
    if lines["written"] != lines["last"]:
        got = f"{lines['last'] - lines['written']} blank lines in {source.place}"
    elif (count := rows.count()) != lines["written"]:
        got = f"{count} rows of {lines['written']} lines"
    else:
        return
    raise SourceError(
        f"the rows of the lookup '{name}' do not have the numbers of their lines",
        expected="a row for each line: no blank line, no comment, no line break within a field",
        got=got,
        fix="fill these lines, or write the number into the file as a column, and remove "
        f"cleaning.lookups.{name}.line_number",
    )
