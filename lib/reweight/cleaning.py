"""Raw logs -> typed events and rejected rows.

The mapping is the config's: a Spark SQL expression per column, and rules. Every raw row ends in
exactly one of two places: it is an event, or it is in ``rejected`` with all reasons against it.
"""

from functools import reduce
from typing import Literal

from pydantic import Field, field_validator
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from reweight.errors import SourceError
from reweight.expressions import check_expressions
from reweight.section import Name, Section, Sql


class Source(Section):
    """Raw files of one form.

    Attributes:
        path: file, folder or glob.
        format: ``csv`` (with a header), ``json`` (one document a line), ``parquet`` or ``delta``.
        schema_: DDL of a JSON document (required for JSON: guessing costs a pass and guesses ids
            wrong). CSV columns are read as text; the expressions of ``cleaning.columns`` type them.
        explode: array expression; each element becomes a row, as the column ``element``.
        options: options of Spark's CSV reader, as ``sep`` or ``encoding``.
    """

    path: str
    format: Literal["csv", "json", "parquet", "delta"]
    schema_: str | None = Field(default=None, alias="schema")
    explode: Sql | None = None
    options: dict[str, str] = {}


class Lookup(Section):
    """A small table of facts about a key, joined to the events (items, shops, campaigns).

    Attributes:
        source: where the table is.
        on: event column -> expression over the table that it equals.
        columns: new event columns, expressions over the table.
    """

    source: Source
    on: dict[Name, Sql] = Field(min_length=1)
    columns: dict[Name, Sql] = Field(min_length=1)


class Duplicates(Section):
    """What counts as the same row twice.

    Attributes:
        exact: a row with all raw fields equal to another's is a duplicate of it.
        keys: event columns that identify an event; rows where one is null are never duplicates.
        prefer: of rows with equal keys the one without other faults wins, then the smallest value
            of this expression, then the smallest hash of the raw row.
    """

    exact: bool = True
    keys: tuple[Name, ...] = ()
    prefer: Sql = "event_time"


class Cleaning(Section):
    """The section ``cleaning``.

    Attributes:
        sources: name -> raw files; all are mapped by the same ``columns``. Expressions may also
            use ``source`` (the name) and ``source_file``.
        lookups: name -> small table joined to the events.
        columns: event column -> expression over the raw columns; ``event_time`` must be there.
            A time without a zone is read as UTC.
        required: columns that may not be null (``event_time`` never may).
        allowed: column -> the only values that it may have.
        ranges: column -> [lowest, highest], null for open; NaN is outside of every range.
        not_before: earliest ``event_time``, inclusive.
        not_after: latest ``event_time``, inclusive.
        reject: reason -> condition over the event columns that makes a row unusable.
        duplicates: what counts as the same row twice.
        max_rejected: share of raw rows that may be rejected before the job fails.
    """

    sources: dict[Name, Source] = Field(min_length=1)
    lookups: dict[Name, Lookup] = {}
    columns: dict[Name, Sql]
    required: tuple[Name, ...] = ()
    allowed: dict[Name, tuple[str, ...]] = {}
    ranges: dict[Name, tuple[float | None, float | None]] = {}
    not_before: str | None = None
    not_after: str | None = None
    reject: dict[Name, Sql] = {}
    duplicates: Duplicates = Duplicates()
    max_rejected: float = Field(default=0.5, ge=0, le=1)

    @field_validator("columns")
    @classmethod
    def _has_time(cls, columns: dict[str, str]) -> dict[str, str]:
        if "event_time" not in columns:
            raise ValueError("expected a column `event_time`: every event has a time")
        return columns


# Beside the event columns, each row carries where it came from and what is wrong with it.
_ORIGIN = ("_source", "_source_file", "_raw", "_malformed")


def read_raw(spark: SparkSession, cleaning: Cleaning) -> DataFrame:
    """All sources, mapped to the event columns; nothing is rejected yet.

    Returns:
        ``_source``, ``_source_file``, ``_raw`` (the row as text), ``_malformed`` and the event
        columns.

    Raises:
        SourceError: missing files, no rows, or expressions that do not fit the columns.
    """
    mapped = [
        _mapped(_read(spark, name, source), cleaning, name)
        for name, source in cleaning.sources.items()
    ]
    return reduce(DataFrame.unionByName, mapped)


def with_lookups(rows: DataFrame, spark: SparkSession, cleaning: Cleaning) -> DataFrame:
    """Joins the small tables of facts to the events.

    Raises:
        SourceError: a lookup has a key twice; the join would multiply events.
    """
    for name, lookup in cleaning.lookups.items():
        table = _read(spark, name, lookup.source)
        wanted = {f"lookups.{name}.on.{k}": v for k, v in lookup.on.items()}
        wanted |= {f"lookups.{name}.columns.{k}": v for k, v in lookup.columns.items()}
        check_expressions(table, wanted)
        keys = [F.expr(sql).alias(f"_on_{column}") for column, sql in lookup.on.items()]
        facts = table.select(*keys, *[F.expr(s).alias(c) for c, s in lookup.columns.items()])
        key_names = [f"_on_{column}" for column in lookup.on]
        twice = facts.groupBy(*key_names).count().where("count > 1").first()
        if twice is not None:
            raise SourceError(
                f"the lookup '{name}' has a key twice",
                expected=f"one row per {list(lookup.on)}",
                came=f"{twice['count']} rows for {[twice[k] for k in key_names]}",
                do="make its rows unique, or add the column that tells them apart to `on`",
            )
        same = reduce(Column.__and__, [F.col(c) == F.col(f"_on_{c}") for c in lookup.on])
        rows = rows.join(F.broadcast(facts), on=same, how="left").drop(*key_names)
    return rows


def with_reasons(rows: DataFrame, cleaning: Cleaning) -> DataFrame:
    """Adds ``_reasons``: everything that is wrong with a row by itself, array<string>.

    Raises:
        SourceError: a rule names a column that is not there.
    """
    _check_rules(rows, cleaning)
    reasons = [
        *[_when(F.col(c).isNull(), f"missing:{c}") for c in _required(cleaning)],
        *[
            _when(~F.col(c).cast("string").isin(*values), f"not_allowed:{c}")
            for c, values in cleaning.allowed.items()
        ],
        *[
            _when(_outside(c, *limits), f"out_of_range:{c}")
            for c, limits in cleaning.ranges.items()
        ],
        _when(_outside_time(cleaning), "out_of_range:event_time"),
        *[_when(F.expr(condition), name) for name, condition in cleaning.reject.items()],
    ]
    # The fields of a line that did not parse say nothing, so nothing more is said of them.
    wrong = F.when(F.col("_malformed"), F.array(F.lit("malformed"))).otherwise(
        F.array_compact(F.array(*reasons))
    )
    return rows.withColumn("_reasons", wrong)


def with_duplicates(rows: DataFrame, cleaning: Cleaning) -> DataFrame:
    """Adds the reasons ``duplicate`` (all raw fields equal) and ``duplicate_key``.

    One shuffle serves both: rows go by the hash of the key, or of the raw row where there is no
    key, so that neither null keys nor broken lines gather in one task.
    """
    rule = cleaning.duplicates
    if not rule.exact and not rule.keys:
        return rows
    check_expressions(rows, {"duplicates.prefer": rule.prefer})
    keyed = reduce(
        Column.__and__, [F.col(k).isNotNull() for k in rule.keys], F.lit(bool(rule.keys))
    )
    key = F.when(keyed, F.xxhash64(*rule.keys)) if rule.keys else F.lit(None).cast("long")
    raw_hash = [F.xxhash64("_raw").alias("_h1"), F.xxhash64("_raw", F.lit(1)).alias("_h2")]
    rows = rows.select("*", *raw_hash, keyed.alias("_keyed"))
    rows = rows.withColumn("_key", F.coalesce(key, F.col("_h1"))).repartition("_key")
    identity = ["_keyed", *rule.keys] if rule.keys else ["_keyed"]
    same_row = Window.partitionBy("_key", "_h1", "_h2").orderBy("_source_file")
    same_key = Window.partitionBy("_key", *identity).orderBy(
        F.size("_reasons") > 0, F.expr(rule.prefer), "_h1", "_h2", "_copy"
    )
    rows = rows.withColumn("_copy", F.row_number().over(same_row) if rule.exact else F.lit(1))
    rows = rows.withColumn("_turn", F.when(F.col("_keyed"), F.row_number().over(same_key)))
    found = F.array_compact(
        F.array(
            _when(F.col("_copy") > 1, "duplicate"),
            _when((F.col("_copy") == 1) & (F.col("_turn") > 1), "duplicate_key"),
        )
    )
    return rows.withColumn("_reasons", F.concat("_reasons", found)).drop(
        "_h1", "_h2", "_keyed", "_key", "_copy", "_turn"
    )


def events(rows: DataFrame) -> DataFrame:
    """The rows against which there is no reason: the event columns."""
    return rows.where(F.size("_reasons") == 0).drop(*_ORIGIN, "_reasons")


def rejected(rows: DataFrame) -> DataFrame:
    """The rows against which there is a reason: origin, reasons, raw text."""
    return rows.where(F.size("_reasons") > 0).select(
        F.col("_source").alias("source"),
        F.col("_source_file").alias("source_file"),
        F.col("_reasons").alias("reasons"),
        F.col("_raw").alias("raw"),
    )


def count_reasons(rows: DataFrame) -> tuple[int, int, dict[str, int]]:
    """Number of rows, of rejected rows, and of rows per reason, in one pass."""
    # Small by nature: one row per distinct set of reasons.
    sets = rows.groupBy("_reasons").count().collect()
    total = sum(row["count"] for row in sets)
    bad = sum(row["count"] for row in sets if row["_reasons"])
    reasons: dict[str, int] = {}
    for row in sets:
        for reason in row["_reasons"]:
            reasons[reason] = reasons.get(reason, 0) + row["count"]
    return total, bad, dict(sorted(reasons.items()))


def check_counts(raw: int, total: int, bad: int, reasons: dict[str, int], limit: float) -> None:
    """Demands that rows add up and that not too many were rejected.

    Raises:
        SourceError: no rows at all, rows lost or doubled, or more rejected than ``limit``.
    """
    if raw == 0:
        raise SourceError(
            "the sources hold no row",
            expected="at least one line of data",
            came="0 rows",
            do="check `cleaning.sources.*.path`",
        )
    if raw != total:
        raise SourceError(
            "raw rows and cleaned rows do not add up",
            expected=f"{raw} rows: events + rejected",
            came=f"{total}",
            do="files may have changed while they were read; run again on files that rest",
        )
    if bad > limit * raw:
        raise SourceError(
            f"{bad / raw:.1%} of the raw rows were rejected",
            expected=f"at most {limit:.1%} (cleaning.max_rejected)",
            came=", ".join(f"{k}: {v}" for k, v in reasons.items()),
            do="mend the mapping or the rules; raise cleaning.max_rejected if the log is like that",
        )


def _read(spark: SparkSession, name: str, source: Source) -> DataFrame:
    try:
        rows = {"csv": _read_csv, "json": _read_json}.get(source.format, _read_table)(spark, source)
        rows = rows.withColumn("source", F.lit(name))
        if source.explode is None:
            return rows
        check_expressions(rows, {f"sources.{name}.explode": source.explode})
        # An element is the row that is kept or rejected: its text, with the fields around it.
        array = F.expr(source.explode)
        around = [c for c in rows.columns if not c.startswith("_") and c != "source_file"]
        rows = rows.withColumn("element", F.explode_outer(array))
        rest = [c for c in around if rows.schema[c].dataType.typeName() != "array"]
        text = F.to_json(F.struct(*rest, "element"))
        return rows.withColumn("_raw", F.when(F.col("_malformed"), F.col("_raw")).otherwise(text))
    except AnalysisException as error:
        raise SourceError(
            f"the source '{name}' cannot be read",
            expected=f"{source.format} files at {source.path}",
            came=str(error).splitlines()[0][:300],
            do="check path, format and schema of the source",
        ) from error


def _read_csv(spark: SparkSession, source: Source) -> DataFrame:
    options = {"header": "true", **source.options}
    names = spark.read.options(**options).csv(source.path).columns
    schema = StructType([StructField(c, StringType()) for c in [*names, "_text"]])
    # A header without a name for a column (an index) fails Spark's comparison of headers.
    unnamed = any(c.startswith("_c") for c in names)
    rows = (
        spark.read.schema(schema)
        .options(**options, columnNameOfCorruptRecord="_text", columnPruning="false")
        .option("enforceSchema", str(unnamed).lower())
        .csv(source.path)
    )
    fields = F.to_json(F.struct(*[F.col(f"`{c}`") for c in names]))
    return rows.select(
        "*",
        F.col("_text").isNotNull().alias("_malformed"),
        F.coalesce("_text", fields).alias("_raw"),
        F.col("_metadata.file_path").alias("source_file"),
    ).drop("_text")


def _read_json(spark: SparkSession, source: Source) -> DataFrame:
    if source.schema_ is None:
        raise SourceError(
            f"the JSON source {source.path} has no schema",
            expected="`schema`: the DDL of one document, as 'id bigint, name string'",
            came="none",
            do="add it to the source; fields that no column uses may be left out",
        )
    lines = spark.read.text(source.path).select(
        F.col("value").alias("_raw"), F.col("_metadata.file_path").alias("source_file")
    )
    parsed = F.from_json(
        "_raw",
        source.schema_ + ", _text string",
        {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": "_text"},
    )
    rows = lines.where(F.trim("_raw") != "").select("*", parsed.alias("_fields"))
    # A line of another shape (`[1]`, `null`) parses to nothing at all.
    malformed = F.col("_fields").isNull() | F.col("_fields._text").isNotNull()
    return rows.select("_raw", "source_file", malformed.alias("_malformed"), "_fields.*").drop(
        "_text"
    )


def _read_table(spark: SparkSession, source: Source) -> DataFrame:
    rows = spark.read.format(source.format).load(source.path)
    return rows.select(
        "*",
        F.lit(False).alias("_malformed"),
        F.to_json(F.struct("*")).alias("_raw"),
        F.col("_metadata.file_path").alias("source_file"),
    )


def _mapped(rows: DataFrame, cleaning: Cleaning, name: str) -> DataFrame:
    check_expressions(rows, {f"columns.{c}": sql for c, sql in cleaning.columns.items()})
    mapped = rows.select(
        F.col("source").alias("_source"),
        F.col("source_file").alias("_source_file"),
        "_raw",
        "_malformed",
        *[F.expr(sql).alias(column) for column, sql in cleaning.columns.items()],
    )
    kind = mapped.schema["event_time"].dataType.simpleString()
    if kind != "timestamp":
        raise SourceError(
            f"`event_time` of the source '{name}' is no time",
            expected="an expression of type timestamp, as try_to_timestamp(ts)",
            came=f"{cleaning.columns['event_time']}, of type {kind}",
            do="mend cleaning.columns.event_time",
        )
    return mapped


def _check_rules(rows: DataFrame, cleaning: Cleaning) -> None:
    rules = {f"reject.{k}": v for k, v in cleaning.reject.items()}
    for rule in ("required", "allowed", "ranges"):
        rules |= {f"{rule}.{c}": c for c in getattr(cleaning, rule)}
    check_expressions(rows, rules | {f"duplicates.keys.{c}": c for c in cleaning.duplicates.keys})


def _required(cleaning: Cleaning) -> list[str]:
    return list(dict.fromkeys(["event_time", *cleaning.required]))


def _when(condition: Column, reason: str) -> Column:
    return F.when(condition, F.lit(reason))


def _outside(column: str, low: float | None, high: float | None) -> Column:
    value = F.col(column).cast("double")
    below = value < low if low is not None else F.lit(False)
    above = value > high if high is not None else F.lit(False)
    return below | above | F.isnan(value)


def _outside_time(cleaning: Cleaning) -> Column:
    time, outside = F.col("event_time"), F.lit(False)
    if cleaning.not_before is not None:
        outside = outside | (time < F.lit(cleaning.not_before).cast("timestamp"))
    if cleaning.not_after is not None:
        outside = outside | (time > F.lit(cleaning.not_after).cast("timestamp"))
    return outside
