"""Raw logs -> typed events and rejected rows.

The mapping is the config's: a Spark SQL expression per column, and rules. Every raw row ends in
exactly one of two places: it is an event, or it is in ``rejected`` with all reasons against it.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import reduce

from pydantic import Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from reweight.errors import SourceError
from reweight.expressions import check_expressions
from reweight.section import Name, Section, Sql
from reweight.sources import Source, read, version


class Lookup(Section):
    """A small table of facts about a key, joined to the events (items, shops, campaigns).

    Attributes:
        source: where the table is.
        keys: event column -> expression over the table that it equals.
        columns: new event columns, expressions over the table.
    """

    source: Source
    keys: dict[Name, Sql] = Field(min_length=1)  # `on` would be YAML's word for true
    columns: dict[Name, Sql] = Field(min_length=1)


class Duplicates(Section):
    """What counts as the same row twice.

    Attributes:
        exact: a row with all raw fields equal to another's is a duplicate of it.
        keys: event columns that identify an event; rows where one is null are never duplicates.
        prefer: of rows with equal keys the one without other faults wins, then the smallest value
            of this expression (null is the last), then the smallest hash of the raw row.
    """

    exact: bool = True
    keys: tuple[Name, ...] = ()
    prefer: Sql = "event_time"


class Cleaning(Section):
    """The section ``cleaning``.

    Attributes:
        sources: name -> raw files; all are mapped by the same ``columns``. Expressions may also
            use ``source`` (the name) and ``source_file``, unless the log has columns so named.
        lookups: name -> small table joined to the events.
        columns: event column -> expression over the raw columns; ``event_time`` must be there.
            A time without a zone is read as UTC.
        required: columns that may not be null (``event_time`` never may).
        allowed: column -> the only values that it may have.
        ranges: column -> [lowest, highest], null for open. What is no finite number is outside of
            every range.
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

    @field_validator("not_before", "not_after")
    @classmethod
    def _is_time(cls, time: str | None) -> str | None:
        # Of the forms that Python reads, as 20260101, Spark reads some as null: no limit at all.
        return None if time is None else datetime.fromisoformat(time).isoformat(" ")

    @model_validator(mode="after")
    def _names_are_free(self) -> "Cleaning":
        names = [*self.columns, *[c for one in self.lookups.values() for c in one.columns]]
        lower = [name.lower() for name in names]
        if twice := sorted({name for name in lower if lower.count(name) > 1}):
            raise ValueError(f"event columns {twice} are defined twice (Spark ignores case)")
        if taken := sorted(n for n in lower if n.startswith("_") or n == "run_id"):
            raise ValueError(f"event columns {taken}: `run_id` and names with `_` are taken")
        return self


# Beside the event columns, each row carries where it came from and what is wrong with it.
_ORIGIN = ("_source", "_source_file", "_raw", "_malformed")


def read_sources(spark: SparkSession, cleaning: Cleaning) -> dict[str, DataFrame]:
    """The raw rows of each source: the log's own columns and where each row came from.

    Raises:
        SourceError: missing files, or settings that do not fit them.
    """
    return {n: read(spark, n, f"sources.{n}", s) for n, s in cleaning.sources.items()}


def versions(spark: SparkSession, cleaning: Cleaning) -> dict[str, str | None]:
    """What changes when a log does: place in the section -> version; None where there is none.

    Raises:
        SourceError: missing files.
    """
    places = {f"sources.{n}": source for n, source in cleaning.sources.items()}
    places |= {f"lookups.{n}.source": lookup.source for n, lookup in cleaning.lookups.items()}
    return {place: version(spark, place, source) for place, source in places.items()}


def count_rows(sources: Mapping[str, DataFrame]) -> dict[str, int]:
    """Number of raw rows of each source, counted on the files themselves."""
    named = [rows.select(F.lit(name).alias("name")) for name, rows in sources.items()]
    # Small by nature: one row per source.
    found = reduce(DataFrame.union, named).groupBy("name").count().collect()
    return dict.fromkeys(sources, 0) | {row["name"]: row["count"] for row in found}


def mapped(sources: Mapping[str, DataFrame], cleaning: Cleaning) -> DataFrame:
    """All sources, mapped to the event columns; nothing is rejected yet.

    Returns:
        ``_source``, ``_source_file``, ``_raw`` (the row as text), ``_malformed`` and the event
        columns.

    Raises:
        SourceError: expressions that do not fit the columns, or give other types for another
            source.
    """
    frames = {name: _mapped(rows, cleaning, name) for name, rows in sources.items()}
    first, types = next((name, dict(frame.dtypes)) for name, frame in frames.items())
    for name, frame in frames.items():
        if differ := [f"{c}: {types[c]} and {t}" for c, t in frame.dtypes if t != types[c]]:
            # Spark would widen them in silence: a bigint to a double, and ids lose digits.
            raise SourceError(
                f"the sources '{first}' and '{name}' differ in the types of event columns",
                expected="one type for each column",
                came="; ".join(differ),
                do="cast in cleaning.columns, as try_cast(x AS bigint)",
            )
    return reduce(DataFrame.unionByName, frames.values())


def with_lookups(rows: DataFrame, spark: SparkSession, cleaning: Cleaning) -> DataFrame:
    """Joins the small tables of facts to the events.

    Raises:
        SourceError: a lookup has a broken line, keys of another type than the events', or a key
            twice (the join would multiply events).
    """
    for name, lookup in cleaning.lookups.items():
        place = f"lookups.{name}"
        table = read(spark, name, f"{place}.source", lookup.source)
        wanted = {f"{place}.keys.{k}": v for k, v in lookup.keys.items()}
        wanted |= {f"{place}.columns.{k}": v for k, v in lookup.columns.items()}
        check_expressions(table, wanted)
        check_expressions(rows, {f"{place}.keys.{k}": k for k in lookup.keys})
        keys = [F.expr(sql).alias(f"_on_{column}") for column, sql in lookup.keys.items()]
        facts = [F.expr(sql).alias(column) for column, sql in lookup.columns.items()]
        table = table.select("_source_file", "_malformed", *keys, *facts)
        _check_lookup(rows, table, name, list(lookup.keys))
        same = reduce(Column.__and__, [F.col(c) == F.col(f"_on_{c}") for c in lookup.keys])
        facts_only = table.drop("_source_file", "_malformed")
        rows = rows.join(F.broadcast(facts_only), on=same, how="left")
        rows = rows.drop(*[f"_on_{c}" for c in lookup.keys])
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
    # Decoders put this sign where bytes fit no character.
    undecodable = _when(F.col("_raw").contains("\ufffd"), "undecodable")
    # The fields of a line that did not parse say nothing, so nothing more is said of them.
    wrong = F.when(F.col("_malformed"), F.array(F.lit("malformed"), undecodable)).otherwise(
        F.array(undecodable, *reasons)
    )
    return rows.withColumn("_reasons", F.array_compact(wrong))


def with_duplicates(rows: DataFrame, cleaning: Cleaning) -> DataFrame:
    """Adds the reasons ``duplicate`` (all raw fields equal) and ``duplicate_key``.

    One shuffle serves both: rows go by the hash of the key, or of the raw row where there is no
    key, so that neither null keys nor broken lines gather in one task.
    """
    rule = cleaning.duplicates
    if not rule.exact and not rule.keys:
        return rows
    keyed = reduce(
        Column.__and__,
        [F.col(k).isNotNull() for k in rule.keys],
        ~F.col("_malformed") & F.lit(bool(rule.keys)),
    )
    key = F.when(keyed, F.xxhash64(*rule.keys)) if rule.keys else F.lit(None).cast("long")
    # A later column's hash starts from the earlier's: only a number in front makes another hash.
    raw_hash = [F.xxhash64("_raw").alias("_h1"), F.xxhash64(F.lit(1), "_raw").alias("_h2")]
    rows = rows.select("*", *raw_hash, keyed.alias("_keyed"))
    rows = rows.withColumn("_key", F.coalesce(key, F.col("_h1"))).repartition("_key")
    identity = ["_keyed", *rule.keys] if rule.keys else ["_keyed"]
    faulty = F.size("_reasons") > 0
    same_row = Window.partitionBy("_key", "_h1", "_h2").orderBy(faulty, "_source_file", "_source")
    same_key = Window.partitionBy("_key", *identity).orderBy(
        faulty, F.expr(rule.prefer).asc_nulls_last(), "_h1", "_h2", "_copy"
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


def check_counts(
    raw: Mapping[str, int], total: int, bad: int, reasons: Mapping[str, int], limit: float
) -> None:
    """Demands that rows add up and that not too many were rejected.

    Raises:
        SourceError: a source without rows, rows lost or doubled, or more rejected than ``limit``.
    """
    if empty := [name for name, rows in raw.items() if rows == 0]:
        raise SourceError(
            f"the sources {empty} hold no row",
            expected="at least one line of data in each",
            came="0 rows",
            do="check `cleaning.sources.*.path`, or take the source out",
        )
    if (rows := sum(raw.values())) != total:
        raise SourceError(
            "raw rows and cleaned rows do not add up",
            expected=f"{rows} rows: events + rejected",
            came=f"{total}",
            do="if a file changed while it was read, run again on files that rest; an expression "
            "of cleaning.columns may make one row of one row (explode is the source's)",
        )
    if bad / rows > limit:
        raise SourceError(
            f"{bad / rows:.1%} of the raw rows were rejected",
            expected=f"at most {limit:.1%} (cleaning.max_rejected)",
            came=", ".join(f"{k}: {v}" for k, v in reasons.items()),
            do="mend the mapping or the rules; raise cleaning.max_rejected if the log is like that",
        )


def _mapped(rows: DataFrame, cleaning: Cleaning, name: str) -> DataFrame:
    check_expressions(rows, {f"columns.{c}": sql for c, sql in cleaning.columns.items()})
    events = [F.expr(sql).alias(column) for column, sql in cleaning.columns.items()]
    mapped = rows.select(*_ORIGIN, *events)
    kind = mapped.schema["event_time"].dataType.simpleString()
    if kind == "timestamp_ntz":
        return mapped.withColumn("event_time", F.col("event_time").cast("timestamp"))
    if kind != "timestamp":
        raise SourceError(
            f"`event_time` of the source '{name}' is no time",
            expected="an expression of type timestamp, as try_to_timestamp(ts)",
            came=f"{cleaning.columns['event_time']}, of type {kind}",
            do="mend cleaning.columns.event_time",
        )
    return mapped


def _check_lookup(rows: DataFrame, table: DataFrame, name: str, on: list[str]) -> None:
    types = [(c, rows.schema[c].dataType, table.schema[f"_on_{c}"].dataType) for c in on]
    if differ := [f"{c}: {a.simpleString()} and {b.simpleString()}" for c, a, b in types if a != b]:
        raise SourceError(
            f"the keys of the lookup '{name}' are of another type than the events'",
            expected="equal types, so that equal keys are equal",
            came="; ".join(differ),
            do=f"cast in cleaning.lookups.{name}.keys, as try_cast(x AS bigint)",
        )
    keys = [f"_on_{c}" for c in on]
    broken = F.min(F.when(F.col("_malformed"), F.col("_source_file"))).alias("broken")
    whole = reduce(Column.__and__, [F.col(k).isNotNull() for k in keys])
    found = table.groupBy(*keys).agg(F.count("*").alias("rows"), broken)
    wrong = found.where(F.col("broken").isNotNull() | (whole & (F.col("rows") > 1))).first()
    if wrong is None:
        return
    if wrong["broken"] is not None:
        raise SourceError(
            f"the lookup '{name}' has a line that does not parse",
            expected="facts without fault: they go into many events",
            came=f"one in {wrong['broken']}",
            do="mend the file",
        )
    raise SourceError(
        f"the lookup '{name}' has a key twice",
        expected=f"one row per {on}",
        came=f"{wrong['rows']} rows for {[wrong[k] for k in keys]}",
        do="make its rows unique, or add the column that tells them apart to `keys`",
    )


def _check_rules(rows: DataFrame, cleaning: Cleaning) -> None:
    # Each as it will be used, so that its type is checked too.
    rules = {f"reject.{k}": f"CASE WHEN {v} THEN 1 END" for k, v in cleaning.reject.items()}
    rules |= {f"required.{c}": c for c in cleaning.required}
    rules |= {f"allowed.{c}": f"CAST({c} AS string)" for c in cleaning.allowed}
    rules |= {f"ranges.{c}": f"CAST({c} AS double)" for c in cleaning.ranges}
    rules |= {f"duplicates.keys.{c}": f"xxhash64({c})" for c in cleaning.duplicates.keys}
    rules |= {"duplicates.prefer": f"array_min(array({cleaning.duplicates.prefer}))"}
    check_expressions(rows, rules)


def _required(cleaning: Cleaning) -> list[str]:
    return list(dict.fromkeys(["event_time", *cleaning.required]))


def _when(condition: Column, reason: str) -> Column:
    return F.when(condition, F.lit(reason))


def _outside(column: str, low: float | None, high: float | None) -> Column:
    value = F.col(column).cast("double")
    below = value < low if low is not None else F.lit(False)
    above = value > high if high is not None else F.lit(False)
    no_number = F.col(column).isNotNull() & value.isNull()
    return below | above | no_number | F.isnan(value) | (F.abs(value) == float("inf"))


def _outside_time(cleaning: Cleaning) -> Column:
    time, outside = F.col("event_time"), F.lit(False)
    if cleaning.not_before is not None:
        outside = outside | (time < F.lit(cleaning.not_before).cast("timestamp"))
    if cleaning.not_after is not None:
        outside = outside | (time > F.lit(cleaning.not_after).cast("timestamp"))
    return outside
