"""Raw logs -> typed events and rejected rows.

The config defines the mapping: a Spark SQL expression per column, and rules. Every raw row ends up
in exactly one place: it is an event, or it is in ``rejected`` with all reasons.
"""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.conversions import lost_values
from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.sources import read, version
from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions

# Besides the event columns, each row carries its origin and whether it is malformed.
_ORIGIN = ("_source", "_source_file", "_raw", "_malformed")


def read_sources(spark: SparkSession, cleaning: Cleaning) -> dict[str, DataFrame]:
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
    sources = {f"sources.{n}": source for n, source in cleaning.sources.items()}
    sources |= {f"lookups.{n}.source": lookup.source for n, lookup in cleaning.lookups.items()}
    return {key: version(spark, key, source) for key, source in sources.items()}


def count_rows(sources: Mapping[str, DataFrame]) -> dict[str, int]:
    """Number of raw rows of each source, counted in the files themselves."""
    named = [rows.select(F.lit(name).alias("name")) for name, rows in sources.items()]
    # Small: one row per source.
    counts = reduce(DataFrame.union, named).groupBy("name").count().collect()
    return dict.fromkeys(sources, 0) | {row["name"]: row["count"] for row in counts}


def mapped(sources: Mapping[str, DataFrame], cleaning: Cleaning) -> DataFrame:
    """All sources, mapped to the event columns; no row is rejected yet.

    Returns:
        ``_source``, ``_source_file``, ``_raw`` (the row as text), ``_malformed``, the event
        columns, and ``_lost`` (values of which a conversion made null).

    Raises:
        SourceError: expressions do not fit the columns, or their types differ between sources.
    """
    frames = {name: _mapped(rows, cleaning, name) for name, rows in sources.items()}
    first, types = next((name, dict(frame.dtypes)) for name, frame in frames.items())
    for name, frame in frames.items():
        if differ := [f"{c}: {types[c]} and {t}" for c, t in frame.dtypes if t != types[c]]:
            # Spark would silently widen them, such as bigint to double, and ids would lose digits.
            raise SourceError(
                f"the sources '{first}' and '{name}' differ in the types of event columns",
                expected="one type for each column",
                got="; ".join(differ),
                fix="cast in cleaning.columns, for example try_cast(x AS bigint)",
            )
    return reduce(DataFrame.unionByName, frames.values())


def events(rows: DataFrame) -> DataFrame:
    """The rows without a reason to reject them: the event columns."""
    return rows.where(F.size("_reasons") == 0).drop(*_ORIGIN, "_lost", "_reasons")


def rejected(rows: DataFrame) -> DataFrame:
    """The rows with a reason to reject them: origin, reasons, raw text."""
    return rows.where(F.size("_reasons") > 0).select(
        F.col("_source").alias("source"),
        F.col("_source_file").alias("source_file"),
        F.col("_reasons").alias("reasons"),
        F.col("_raw").alias("raw"),
    )


def _mapped(rows: DataFrame, cleaning: Cleaning, name: str) -> DataFrame:
    check_expressions(rows, {f"columns.{c}": sql for c, sql in cleaning.columns.items()})
    events = [F.expr(sql).alias(column) for column, sql in cleaning.columns.items()]
    lost = lost_values(rows, cleaning.columns).alias("_lost")
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
            got=f"{cleaning.columns['event_time']}, of type {kind}",
            fix="correct cleaning.columns.event_time",
        )
    return mapped
