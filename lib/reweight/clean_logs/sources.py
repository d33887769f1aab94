"""Raw files of any format -> rows that carry their origin.

No line is lost silently: a line that does not parse is kept as it is, and a file that cannot be
read to its end is an error.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from delta.tables import DeltaTable
from py4j.protocol import Py4JError
from pydantic import Field, model_validator
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions, in_short
from reweight.core.failing_rows import failing_rows_named
from reweight.core.section import Place, Section, Sql, TableName, Text, quoted

# A file that cannot be read to its end is an error; its first part alone is never used.
_WHOLE = {"ignoreCorruptFiles": "false", "ignoreMissingFiles": "false"}
_RESERVED_OPTIONS = {"mode", "columnnameofcorruptrecord", "columnpruning", "enforceschema"} | {
    option.lower() for option in _WHOLE
}

# Options of Spark's CSV reader that change what is read as text; any other would be ignored.
_CSV_OPTIONS = {
    "sep", "delimiter", "encoding", "charset", "quote", "escape", "chartoescapequoteescaping",
    "comment", "header", "ignoreleadingwhitespace", "ignoretrailingwhitespace", "nullvalue",
    "emptyvalue", "multiline", "linesep", "maxcolumns", "maxcharspercolumn",
    "unescapedquotehandling", "recursivefilelookup", "pathglobfilter", "modifiedbefore",
    "modifiedafter", "locale",
}  # fmt: skip

# Columns that a reader adds to those of the log.
_ADDED = ("_raw", "_malformed", "_source_file", "_source")


class Source(Section):
    """Raw files of one format, or a table of a catalog.

    Attributes:
        path: file, folder or glob.
        format: ``csv`` (with a header), ``json`` (one document a line), ``parquet`` or ``delta``.
        table: instead of ``path`` and ``format``, the name of a table or view, such as
            ``main.shop.events``.
        schema_: DDL of a JSON document (required for JSON: inferring it costs a pass over the data
            and gets ids wrong). CSV columns are read as text; the expressions of
            ``cleaning.columns`` convert them.
        explode: array expression; each element becomes a row, in the column ``element``.
        options: options of Spark's CSV reader, such as ``sep`` or ``encoding``.
    """

    path: Place | None = Field(default=None, min_length=1)
    format: Literal["csv", "json", "parquet", "delta"] | None = None
    table: TableName | None = None
    schema_: str | None = Field(default=None, alias="schema")
    explode: Sql | None = None
    options: dict[str, Text] = {}

    @model_validator(mode="after")
    def _is_somewhere(self) -> "Source":
        if self.table is None and (self.path is None or self.format is None):
            raise ValueError("expected `path` and `format` of files, or the name of a `table`")
        if self.table is not None and (self.path, self.format, self.schema_) != (None, None, None):
            raise ValueError(
                "expected a `table` without path, format and schema, which it defines itself"
            )
        return self

    @model_validator(mode="after")
    def _options_lose_nothing(self) -> "Source":
        if self.schema_ is not None and self.format in ("csv", "parquet", "delta"):
            raise ValueError(
                f"`schema` has no effect on {self.format} files; convert in cleaning.columns, for "
                "example try_cast(x AS bigint)"
            )
        if self.options and self.format != "csv":
            raise ValueError(f"`options` are only for csv; got a {self.kind} source")
        if taken := sorted(o for o in self.options if o.lower() in _RESERVED_OPTIONS):
            raise ValueError(
                f"the options {taken} are reserved: they are set so that no line is lost"
            )
        if unknown := sorted(o for o in self.options if o.lower() not in _CSV_OPTIONS):
            raise ValueError(
                f"the options {unknown} have no effect, since columns are read as text; expected "
                f"some of {sorted(_CSV_OPTIONS)}"
            )
        if blank := [o for o in ("sep", "delimiter") if self.options.get(o, "x").strip(" ") == ""]:
            raise ValueError(
                f"the option {blank[0]} is empty: a bare | begins a block of text in YAML, so "
                f"write {blank[0]}: '|'"
            )
        return self

    @property
    def kind(self) -> str:
        """The format of the files, or ``table``; for messages."""
        return self.format or "table"

    @property
    def place(self) -> str:
        """The path of the files, or the quoted name of the table."""
        return self.path or quoted(*(self.table or "").split("."))


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


def read(spark: SparkSession, name: str, key: str, source: Source) -> DataFrame:
    """The rows of a source.

    Args:
        spark: the session.
        name: name of the source, for the column ``_source``.
        key: key of the source in ``cleaning``, for messages.
        source: raw files, or a table.

    Returns:
        The log's own columns, ``_raw`` (the row as text), ``_malformed``, ``_source_file``,
        ``_source``; and ``source``, ``source_file`` for expressions.

    Raises:
        SourceError: files are missing, or settings do not fit them.
    """
    what = "a table or view" if source.table else f"{source.format} files at"
    with readable(f"cleaning.{key}", f"{what} {source.place}"):
        rows = {"csv": _read_csv, "json": _read_json}.get(source.kind, _read_table)(spark, source)
        log_columns = [c for c in rows.columns if c not in _ADDED]
        names = [c.lower() for c in (*rows.columns, "_source")]
        if taken := [c for c in _ADDED if names.count(c) > 1]:
            raise SourceError(
                f"cleaning.{key} has columns with reserved names",
                expected=f"any names except {list(_ADDED)}",
                got=str(taken),
                fix="rename these columns in the files",
            )
        rows = rows.withColumn("_source", F.lit(name))
        if source.explode is not None:
            check_expressions(rows, {f"{key}.explode": source.explode})
            rows = _exploded(rows, source.explode, log_columns)
        origin = {"source": F.col("_source"), "source_file": F.col("_source_file")}
        taken_names = {c.lower() for c in log_columns}
        return rows.select("*", *[c.alias(n) for n, c in origin.items() if n not in taken_names])


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
        files = spark.read.format("binaryFile").options(**source.options).load(source.place)
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
            history = DeltaTable.forPath(spark, source.place).history(1)
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
    text = _text([c for c in log_columns if c not in used] + ["element"])
    return rows.withColumn("_raw", F.when(F.col("_malformed"), F.col("_raw")).otherwise(text))


def _text(columns: list[str]) -> Column:
    """Fields as JSON; unlike Spark's default, times are not cut to milliseconds."""
    form = "yyyy-MM-dd'T'HH:mm:ss.SSSSSS"
    return F.to_json(
        F.struct(*[F.col(f"`{c.replace('`', '``')}`") for c in columns]),
        {"timestampFormat": form + "XXX", "timestampNTZFormat": form},
    )


def _read_csv(spark: SparkSession, source: Source) -> DataFrame:
    options = {"header": "true", **source.options, **_WHOLE}
    headed = options["header"].lower() == "true"
    first = spark.read.options(**(options | {"header": "false"})).csv(source.place).first()
    header = list(first or []) if headed else [None] * len(first or [])
    names = [name or f"_c{index}" for index, name in enumerate(header)]
    if not names or re.search("[\ufffd\0]", "".join(names)):
        raise SourceError(
            f"the header of {source.place} cannot be read",
            expected=f"a line of column names in {options.get('encoding', 'UTF-8')}",
            got=f"{names}" if names else "an empty file",
            fix="convert the files to UTF-8, or set the source's option `encoding` (for UTF-16, "
            "also `multiLine: 'true'`)",
        )
    # Spark compares the header of every file with the schema; an unnamed column (an index) is "".
    # A schema cannot contain two of them.
    compared = headed and header.count(None) < 2
    fields = [name or "" for name in header] if compared else names
    schema = StructType([StructField(c, StringType()) for c in [*fields, "_text"]])
    rows = (
        spark.read.schema(schema)
        .options(**options, columnNameOfCorruptRecord="_text", columnPruning="false")
        .option("enforceSchema", str(not compared).lower())
        .csv(source.place)
        .select("*", "_metadata.file_path")
        .toDF(*names, "_text", "_source_file")
    )
    return rows.select(
        "*",
        F.col("_text").isNotNull().alias("_malformed"),
        F.coalesce("_text", _text(names)).alias("_raw"),
    ).drop("_text")


def _read_json(spark: SparkSession, source: Source) -> DataFrame:
    if source.schema_ is None:
        raise SourceError(
            f"the JSON source {source.place} has no schema",
            expected="`schema`: the DDL of one document, such as 'id bigint, name string'",
            got="none",
            fix="add `schema` to the source; fields that no column uses can be left out",
        )
    # The replacement keeps valid text as it is, and makes valid text of bytes that are not UTF-8.
    raw = F.regexp_replace("value", "\ufffd", "\ufffd")
    lines = spark.read.options(**_WHOLE).text(source.place)
    lines = lines.select(raw.alias("_raw"), F.col("_metadata.file_path").alias("_source_file"))
    parsed = F.from_json(
        "_raw",
        source.schema_ + ", _text string",
        {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_text"},
    )
    rows = lines.where(F.trim("_raw") != "").select("*", parsed.alias("_fields"))
    # A line of another shape (`[1]`, `null`) parses to null.
    malformed = F.col("_fields").isNull() | F.col("_fields._text").isNotNull()
    return rows.select("_raw", "_source_file", malformed.alias("_malformed"), "_fields.*").drop(
        "_text"
    )


def _read_table(spark: SparkSession, source: Source) -> DataFrame:
    reader = spark.read
    if source.format == "parquet":
        # Otherwise the schema is that of one file, and columns that it lacks vanish silently.
        reader = reader.options(**_WHOLE, mergeSchema="true")
    rows = (
        reader.table(source.place)
        if source.table
        else reader.format(source.kind).load(source.place)
    )
    # The name of a table: views and tables with row filters have no files to name.
    origin = F.lit(source.table) if source.table else F.col("_metadata.file_path")
    return rows.select(
        "*",
        F.lit(False).alias("_malformed"),
        _text(rows.columns).alias("_raw"),
        origin.alias("_source_file"),
    )


def _cause(error: Exception) -> str:
    # Users need no stack; the cause that names the file and the last cause are enough.
    if isinstance(error, PySparkException):
        return in_short(error)
    lines = [line for line in str(error).splitlines() if not line.startswith("\t")]
    causes = [" ".join(c.split()) for c in "\n".join(lines).split("Caused by: ")]
    named = next((c for c in causes if re.search(r"file:? \w+:/", c)), causes[0])
    named = re.sub(r"^(An error occurred while calling \S+ : )?(\S+Exception: )?", "", named)
    return "; ".join(dict.fromkeys([named[:1000], causes[-1][:500]]))
