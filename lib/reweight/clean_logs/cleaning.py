"""Raw logs -> typed events and rejected rows.

The config defines the mapping: a Spark SQL expression per column, and rules. Every raw row ends up
in exactly one place: it is an event, or it is in ``rejected`` with all reasons.
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.conversions import dated, lost_values
from reweight.clean_logs.section import Cleaning, Source
from reweight.clean_logs.sources import Read, read, version
from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions

# Besides the event columns, each row carries its origin and whether it is malformed.
_ORIGIN = ("_source", "_source_file", "_raw", "_malformed")


def read_sources(spark: SparkSession, cleaning: Cleaning) -> dict[str, Read]:
    """The raw rows of each source: the log's own columns and the origin of each row.

    Raises:
        SourceError: files are missing, or settings do not fit them.
    """
    return {n: read(spark, n, f"sources.{n}", s) for n, s in cleaning.sources.items()}


def versions(spark: SparkSession, cleaning: Cleaning) -> dict[str, str | None]:
    """Versions of the logs: key in the section -> version; None where it is not known.

    Raises:
        SourceError: files are missing.
    """
    sources: dict[str, Source] = {f"sources.{n}": s for n, s in cleaning.sources.items()}
    sources |= {f"lookups.{n}.source": lookup.source for n, lookup in cleaning.lookups.items()}
    return {key: version(spark, key, source) for key, source in sources.items()}


def count_rows(sources: Mapping[str, Read]) -> tuple[dict[str, int], dict[str, int]]:
    """Number of raw rows of each source, counted in the files themselves.

    Returns:
        The rows of the log, and the rows that ``where`` leaves out, by source.

    Raises:
        SourceError: a file does not begin with the header that the others have.
    """
    named = [
        read.rows.select(
            F.lit(name).alias("name"),
            (F.col("_source_file") if read.headed else F.lit("")).alias("file"),
            "_left_out",
        )
        for name, read in sources.items()
    ]
    why = F.col("_left_out")
    by_file = (
        reduce(DataFrame.union, named)
        .groupBy("name", "file")
        .agg(
            F.count(F.when(why.isNull(), 1)).alias("rows"),
            F.count(F.when(why == "where", 1)).alias("left_out"),
            F.count(F.when(why == "header", 1)).alias("headers"),
        )
    )
    # Small: one row per source.
    counts = (
        by_file.groupBy("name")
        .agg(
            F.sum("rows").alias("rows"),
            F.sum("left_out").alias("left_out"),
            F.max("headers").alias("headers"),
            F.min(F.when(F.col("headers") == 0, F.col("file"))).alias("other"),
        )
        .collect()
    )
    for row in counts:
        if row["headers"] and row["other"] is not None:
            raise SourceError(
                f"the header of {row['other']} does not conform to the other files",
                expected=f"the same first line in all files of cleaning.sources.{row['name']}",
                got="another first line",
                fix="make a source of the files with another header, or correct the file",
            )
    by_name = {row["name"]: row for row in counts}
    return (
        {name: by_name[name]["rows"] if name in by_name else 0 for name in sources},
        {name: by_name[name]["left_out"] if name in by_name else 0 for name in sources},
    )


def mapped(sources: Mapping[str, Read], cleaning: Cleaning) -> DataFrame:
    """All sources, mapped to the event columns; no row is rejected yet.

    Returns:
        ``_source``, ``_source_file``, ``_raw`` (the row as text), ``_malformed``, the event
        columns, and ``_lost`` (values of which a conversion made null). A column that a source does
        not give is null in its rows.

    Raises:
        SourceError: expressions do not fit the columns, or their types differ between sources.
    """
    frames = {name: _mapped(read.rows, cleaning, name) for name, read in sources.items()}
    types = {column: _type(frames, cleaning, column) for column in cleaning.event_columns}
    return reduce(DataFrame.union, [_completed(frame, types) for frame in frames.values()])


def events(rows: DataFrame) -> DataFrame:
    """The rows without a reason to reject them: the event columns."""
    return rows.where(F.size("_reasons") == 0).drop(*_ORIGIN, "_lost", "_reasons")


def rejected(rows: DataFrame, day: Column | None = None) -> DataFrame:
    """The rows with a reason to reject them: origin, reasons, raw text.

    Args:
        rows: all rows, with their reasons.
        day: the day that delivered each of them, if days were delivered.
    """
    return rows.where(F.size("_reasons") > 0).select(
        F.col("_source").alias("source"),
        F.col("_source_file").alias("source_file"),
        F.col("_reasons").alias("reasons"),
        F.col("_raw").alias("raw"),
        F.lit(day).cast("date").alias("day"),
    )


def _mapped(rows: DataFrame, cleaning: Cleaning, name: str) -> DataFrame:
    rows = rows.where(F.col("_left_out").isNull())
    columns, source_columns = cleaning.columns_of(name), cleaning.sources[name].columns
    keys = {
        c: f"sources.{name}.columns.{c}" if c in source_columns else f"columns.{c}" for c in columns
    }
    check_expressions(
        rows,
        {keys[c]: sql for c, sql in columns.items()},
        of=f"the source '{name}'",
        fix="correct the expressions listed above; what this source alone has, or has by another "
        f"name, belongs to cleaning.sources.{name}.columns",
    )
    events = [F.expr(dated(sql)).alias(column) for column, sql in columns.items()]
    lost = lost_values(columns).alias("_lost")
    mapped = rows.select(*_ORIGIN, *events, lost)
    if not cleaning.times:
        return mapped
    kind = mapped.schema["event_time"].dataType.simpleString()
    if kind == "timestamp_ntz":
        return mapped.withColumn("event_time", F.col("event_time").cast("timestamp"))
    if kind != "timestamp":
        raise SourceError(
            f"`event_time` of the source '{name}' is not a time",
            expected="an expression of type timestamp, such as try_to_timestamp(ts)",
            got=f"{columns['event_time']}, of type {kind}",
            fix=f"correct cleaning.{keys['event_time']}",
        )
    return mapped


def _type(frames: Mapping[str, DataFrame], cleaning: Cleaning, column: str) -> str:
    """The type of an event column, which has to be the same in all sources that give it."""
    types = {name: dict(frame.dtypes).get(column, "void") for name, frame in frames.items()}
    typed = {name: kind for name, kind in types.items() if kind != "void"}
    if not typed:
        name = next(name for name in frames if column in frames[name].columns)
        sql = cleaning.columns_of(name)[column]
        raise SourceError(
            f"the event column '{column}' has no type",
            expected="an expression with a type, in one source at least",
            got=f"{column}: {sql}",
            fix=f"give it a type, such as `{column}: CAST({sql} AS string)`",
        )
    (first, kind), *others = typed.items()
    for name, other_kind in others:
        if other_kind != kind:
            # Spark would silently widen them, such as bigint to double, and ids would lose digits.
            raise SourceError(
                f"the sources '{first}' and '{name}' differ in the types of event columns",
                expected="one type for each column",
                got=f"{column}: {kind} and {other_kind}",
                fix="cast in the columns of cleaning or of the source, for example "
                "try_cast(x AS bigint)",
            )
    return kind


def _completed(rows: DataFrame, types: Mapping[str, str]) -> DataFrame:
    """The event columns in one order; null where the source does not give one."""
    have = {c for c, kind in rows.dtypes if kind != "void"}
    columns = [
        F.col(c) if c in have else F.lit(None).cast(kind).alias(c) for c, kind in types.items()
    ]
    return rows.select(*_ORIGIN, *columns, "_lost")
