"""Parquet, Delta and tables of a catalog -> rows, with the types that they have."""

import logging
from collections.abc import Mapping
from functools import reduce
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.files import WHOLE, Files
from reweight.clean_logs.raw import as_text, check_folders, check_free
from reweight.clean_logs.section import Source
from reweight.clean_logs.text import text_lines
from reweight.core.errors import SourceError
from reweight.core.section import quoted
from reweight.core.session_kind import analysed

_LOG = logging.getLogger(__name__)

# Types of which a later one holds every value of an earlier one.
_WIDER = (("tinyint", "smallint", "int", "bigint"), ("float", "double"))

_NANOSECONDS = "spark.sql.legacy.parquet.nanosAsLong"


def read_table(spark: SparkSession, source: Source, key: str, files: Files | None) -> DataFrame:
    """The rows of Parquet files, of a Delta table, or of a table or view.

    Raises:
        SourceError: Parquet files differ in the type of a column, have a type that Spark lacks, or
            are in folders that are columns of the files too.
    """
    if files is not None:
        rows = _read_parquet(spark, source, key, files)
    elif source.table:
        # The name of a table: views and tables with row filters have no files to name.
        rows = spark.read.table(source.place)
        rows = rows.select("*", F.lit(source.table).alias("_source_file"))
    else:
        rows = spark.read.format(source.kind).load(source.place)
        rows = rows.select("*", Files([source.place]).source_file(rows).alias("_source_file"))
    log_columns = rows.columns[:-1]
    check_free(key, log_columns)
    return rows.select(
        "*",
        F.lit(False).alias("_malformed"),
        as_text(log_columns).alias("_raw"),
        F.lit(None).cast("string").alias("_left_out"),
    )


def _read_parquet(spark: SparkSession, source: Source, key: str, files: Files) -> DataFrame:
    reader = spark.read.options(**WHOLE, **files.options)
    try:
        _check_folders(spark, source, key, files, merge="true")
        # Otherwise the schema is that of one file, and columns that it lacks vanish silently.
        rows = analysed(reader.option("mergeSchema", "true").parquet(*files.read))
    except (PySparkException, Py4JError) as error:
        if "TIMESTAMP(NANOS" in str(error):
            raise SourceError(
                f"cleaning.{key} has times in nanoseconds, which Spark has no type for",
                expected="Parquet with times in micro- or milliseconds",
                got=str(error).splitlines()[0][:200],
                fix=f"add `spark: {{{_NANOSECONDS}: 'true'}}` to the config, or set it in the "
                "session of a notebook or spark-submit; then the column is a bigint, and its time "
                "timestamp_micros(ts div 1000)",
            ) from error
        if "CANNOT_MERGE" not in str(error) and "Failed merging schema" not in str(error):
            raise
        _check_folders(spark, source, key, files, merge="false")
        return _merged(spark, key, files)
    return rows.select("*", files.source_file(rows).alias("_source_file"))


def _check_folders(spark: SparkSession, source: Source, key: str, files: Files, merge: str) -> None:
    """Refuses folders that are columns of the files too; reads footers, if there are folders."""
    if not any("=" in file for file in files.under):
        return
    folders = {*text_lines(spark, files, {}).columns} - {"_raw", "_source_file"}
    if folders:
        # So read, files have only the columns that are in them.
        options = files.options | {"recursiveFileLookup": "true", "mergeSchema": merge}
        columns = spark.read.options(**WHOLE, **options).parquet(*files.read).columns
        check_folders(key, source.place, "parquet", folders, columns)


def _merged(spark: SparkSession, key: str, files: Files) -> DataFrame:
    """Files that differ in the types of columns, where each value fits one type.

    A column without values fits any type: a file whose values are all missing has some type too.
    """
    all_files = spark.read.options(**WHOLE, **files.options).parquet(*files.read)
    names = [unquote(name) for name in all_files.inputFiles()]
    _LOG.info("cleaning.%s: comparing the columns of %d Parquet files", key, len(names))
    options = WHOLE | files.options | {"__globPaths__": "false"}
    if "__globPaths__" in files.options:
        options = {"basePath": files.read[0]} | options
    by_schema: dict[str, list[str]] = {}
    for name in names:
        schema = spark.read.options(**options).parquet(name).schema.json()
        by_schema.setdefault(schema, []).append(name)
    parts = {
        group[0]: spark.read.options(**options).parquet(*group) for group in by_schema.values()
    }
    types = _common_types(key, parts)
    if folders := sorted(set(all_files.columns) - set(types)):
        raise SourceError(
            f"the files of cleaning.{key} differ in their schemas",
            expected="one schema, where the path is a pattern and folders are columns",
            got=f"several, and the folders {folders}",
            fix="let `path` be a folder; its files may differ",
        )
    return reduce(
        lambda left, right: left.unionByName(right, allowMissingColumns=True),
        [_typed(rows, types, files) for rows in parts.values()],
    )


def _common_types(key: str, parts: Mapping[str, DataFrame]) -> dict[str, str]:
    """Column -> the type that holds its values in all parts."""
    columns = dict.fromkeys(c for rows in parts.values() for c in rows.columns)
    return {column: _common_type(key, column, parts) for column in columns}


def _common_type(key: str, column: str, parts: Mapping[str, DataFrame]) -> str:
    having = {file: rows for file, rows in parts.items() if column in rows.columns}
    types = {file: dict(rows.dtypes)[column] for file, rows in having.items()}
    if len(set(types.values())) > 1:
        name = quoted(column)
        full = [f for f, rows in having.items() if rows.where(F.col(name).isNotNull()).take(1)]
        types = {f: types[f] for f in full} or types
    distinct = set(types.values())
    for wider in _WIDER:
        if distinct <= set(wider):
            return max(distinct, key=wider.index)
    if len(distinct) > 1:
        raise SourceError(
            f"the files of cleaning.{key} differ in the type of the column '{column}'",
            expected="one type, or types of which one holds every value of the other",
            got="; ".join(f"{kind} in {file}" for file, kind in types.items()),
            fix="write the files again with one type; or make a source of each kind, and cast the "
            "column in the `columns` of each",
        )
    return distinct.pop()


def _typed(rows: DataFrame, types: Mapping[str, str], files: Files) -> DataFrame:
    return rows.select(
        *[F.col(quoted(c)).cast(types[c]).alias(c) for c in rows.columns],
        files.source_file(rows).alias("_source_file"),
    )
