"""Raw files of any format -> rows that carry their origin.

No line is lost silently: a line that does not parse is kept as it is, and a file that cannot be
read to its end is an error.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.csv_lines import read_csv
from reweight.clean_logs.files import Files, check_text, find
from reweight.clean_logs.json_documents import read_json
from reweight.clean_logs.raw import ADDED, as_text
from reweight.clean_logs.section import Source
from reweight.clean_logs.tables import read_table
from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions, in_short
from reweight.core.failing_rows import failing_rows_named
from reweight.core.section import quoted

_LOG = logging.getLogger(__name__)

# So many files are named in a line of the log.
_NAMED = 5

# What is read as files that are listed here; Delta and catalogs know the files of their tables.
_OF_FILES = ("csv", "json", "parquet")


class Read(NamedTuple):
    """A source that is being read.

    Attributes:
        rows: its rows.
        headed: whether its files may begin with a line of column names.
        passed_over: the files under its path that are not read.
    """

    rows: DataFrame
    headed: bool
    passed_over: list[str]


# Marks of errors that bad input causes. Spark 4 gives them an error class in brackets, Spark 3.5
# often only the Java exception that ended the task. Errors without such a mark (memory, disk) are
# not caused by the log.
_FAULT = re.compile(
    r"\[(?!INTERNAL_ERROR)[A-Z_]{4,}[\w.]*\]|while reading file|underlying files"
    r"|Lost task .*: java\.(lang\.(Runtime|IllegalArgument)|io\.EOF|util\.zip\.\w+)Exception: "
)


@contextmanager
def readable(
    what: str = "the logs",
    expected: str = "complete files that do not change, and expressions that fit every row",
) -> Iterator[None]:
    """Turns Spark's errors about bad input into a named error.

    Raises:
        SourceError: an expression, an option or a file is at fault; Spark's message names it.
    """
    try:
        with failing_rows_named():
            yield
    except (PySparkException, Py4JError) as error:
        if not isinstance(error, PySparkException) and not _FAULT.search(str(error)):
            raise
        raise SourceError(
            f"{what} cannot be read",
            expected=expected,
            got=_cause(error),
            fix="correct what the message names: in the config a path, format, schema, option or "
            "expression; on disk a file that is truncated, missing or of another structure (fetch "
            "it again: files are never read in part)",
        ) from error


def read(spark: SparkSession, name: str, key: str, source: Source) -> Read:
    """The rows of a source.

    Args:
        spark: the session.
        name: name of the source, for the column ``_source``.
        key: key of the source in ``cleaning``, for messages.
        source: raw files, or a table.

    Returns:
        The log's own columns, ``_raw`` (the row as text), ``_malformed``, ``_source_file``,
        ``_left_out``, ``_source``; and ``source``, ``source_file`` for expressions.

    Raises:
        SourceError: files are missing, or settings do not fit them.
    """
    description = "a table or view" if source.table else f"{source.format} files at"
    with readable(f"cleaning.{key}", f"{description} {source.place}"):
        files = find(spark, source.place, source.compression) if source.kind in _OF_FILES else None
        rows = _rows(spark, source, key, files)
        passed_over = files.passed_over(rows) if files else []
        log_columns = [c for c in rows.columns if c not in ADDED]
        rows = rows.withColumn("_source", F.lit(name))
        if source.explode is not None:
            check_expressions(rows, {f"{key}.explode": source.explode})
            rows = _exploded(rows, source.explode, log_columns)
        origin = {"source": F.col("_source"), "source_file": F.col("_source_file")}
        taken_names = {c.lower() for c in log_columns}
        rows = rows.select("*", *[c.alias(n) for n, c in origin.items() if n not in taken_names])
        if source.where is not None:
            check_expressions(rows, {f"{key}.where": f"CASE WHEN {source.where} THEN 1 END"})
            rows = _selected(rows, source.where)
    if passed_over:
        _LOG.warning(
            "cleaning.%s: %d file(s) below the path are not read (hidden names, other folders, or "
            "options): %s",
            key,
            len(passed_over),
            ", ".join(passed_over[:_NAMED]),
        )
    return Read(rows, source.kind == "csv", passed_over)


def _rows(spark: SparkSession, source: Source, key: str, files: Files | None) -> DataFrame:
    if files is None or source.format == "parquet":
        return read_table(spark, source, key, files)
    check_text(spark, files, key)
    reader = {"csv": read_csv, "json": read_json}[source.kind]
    return reader(spark, source, key, files)


def _selected(rows: DataFrame, where: str) -> DataFrame:
    """Marks the rows that the condition leaves out; a line that does not parse has no fields."""
    out = ~F.coalesce(F.expr(where), F.lit(False)) & ~F.col("_malformed")
    return rows.withColumn("_left_out", F.coalesce("_left_out", F.when(out, "where")))


def version(spark: SparkSession, key: str, source: Source) -> str | None:
    """A text that changes whenever the source does; reads no rows.

    Args:
        spark: the session.
        key: key of the source in ``cleaning``, for messages.
        source: raw files, or a table.

    Returns:
        Number, total size and a hash of the files (path, length and time of each), or the newest
        commit of a Delta table; None for a view or another kind of table.

    Raises:
        SourceError: files are missing.
    """
    if source.kind in ("delta", "table"):
        return _commit(spark, source)
    with readable(f"cleaning.{key}", f"{source.format} files at {source.place}"):
        # This format lists files by Spark's own rules, and opens them only when their content is
        # selected.
        listing = find(spark, source.place, source.compression)
        reader = spark.read.options(**source.options, **listing.options)
        files = reader.format("binaryFile").load(listing.read)
        file = F.xxhash64("path", "length", "modificationTime")
        totals = files.agg(F.count("*"), F.coalesce(F.sum("length"), F.lit(0)), F.bit_xor(file))
        count, size, hashed = totals.first()  # type: ignore[misc]
    return f"{count} files, {size} bytes, {(hashed or 0) & (2**64 - 1):016x}"


def _commit(spark: SparkSession, source: Source) -> str | None:
    try:
        if source.table:
            # The Python class of open-source Delta does not accept three-part names.
            history = spark.sql(f"DESCRIBE HISTORY {source.place} LIMIT 1")
        else:
            place = f"delta.{quoted(source.place)}"
            history = spark.sql(f"DESCRIBE HISTORY {place} LIMIT 1")
        newest = history.select("version", F.col("timestamp").cast("string")).first()
    except (PySparkException, Py4JError):
        return None
    # With the time, because a table that is dropped and created again reuses version numbers.
    return f"{newest[0]} of {newest[1]}" if newest else None


def _exploded(rows: DataFrame, explode: str, log_columns: list[str]) -> DataFrame:
    """Makes a row of each element; its raw text also has the fields around the array."""
    if taken := [c for c in log_columns if c.lower() == "element" and not re.search(c, explode)]:
        raise SourceError(
            "an exploded source has a column of the name that its elements get",
            expected="no column `element` beside the array",
            got=str(taken),
            fix="rename the column in the files, or in the view that is read",
        )
    rows = rows.withColumn("element", F.explode_outer(F.expr(explode)))
    arrays = {f.name for f in rows.schema if f.dataType.typeName() == "array"}
    used = arrays & set(re.findall(r"\w+", explode))
    text = as_text([c for c in log_columns if c not in used] + ["element"])
    return rows.withColumn("_raw", F.when(F.col("_malformed"), F.col("_raw")).otherwise(text))


def _cause(error: Exception) -> str:
    # Users need no stack; the cause that names the file and the last cause are enough.
    if isinstance(error, PySparkException):
        return in_short(error)
    lines = [line for line in str(error).splitlines() if not line.startswith("\t")]
    causes = [" ".join(c.split()) for c in "\n".join(lines).split("Caused by: ")]
    named = next((c for c in causes if re.search(r"file:? \w+:/", c)), causes[0])
    named = re.sub(r"^(An error occurred while calling \S+ : )?(\S+Exception: )?", "", named)
    return "; ".join(dict.fromkeys([named[:1000], causes[-1][:500]]))
