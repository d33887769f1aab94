"""Lookups: small tables of facts about a key, joined to the events."""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.conversions import converts, count_lost, dated, lost_values
from reweight.clean_logs.line_numbers import with_line_number
from reweight.clean_logs.section import Cleaning, Lookup
from reweight.clean_logs.sources import read
from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions, is_deterministic


def with_lookups(rows: DataFrame, spark: SparkSession, cleaning: Cleaning) -> DataFrame:
    """Joins the lookups to the events.

    Raises:
        SourceError: a lookup has a malformed line, keys that differ in type from those of the
            events, or duplicate keys (the join would multiply events).
    """
    for name, lookup in cleaning.lookups.items():
        key, table, expressions = f"lookups.{name}", _rows(spark, name, lookup), _read(name, lookup)
        check_expressions(table, expressions, of=f"the lookup '{name}'")
        _check_numbering(spark.createDataFrame([], table.schema), name, expressions)
        check_expressions(rows, {f"{key}.keys.{k}": k for k in lookup.keys})
        keys = [F.expr(dated(sql)).alias(f"_on_{column}") for column, sql in lookup.keys.items()]
        facts = [F.expr(dated(sql)).alias(column) for column, sql in lookup.columns.items()]
        table = table.select("_source_file", "_malformed", *keys, *facts)
        _check_lookup(rows, table, name, list(lookup.keys))
        same_keys = reduce(Column.__and__, [F.col(c) == F.col(f"_on_{c}") for c in lookup.keys])
        facts_only = table.drop("_source_file", "_malformed")
        rows = rows.join(F.broadcast(facts_only), on=same_keys, how="left")
        rows = rows.drop(*[f"_on_{c}" for c in lookup.keys])
    return rows


def lost_facts(spark: SparkSession, cleaning: Cleaning) -> dict[str, str]:
    """Key in the section -> how many values of a lookup a conversion makes null, with an example.

    Each lookup is read once for that, if it has a conversion.
    """
    lost = [
        _rows(spark, name, lookup).select(lost_values(expressions).alias("_lost"))
        for name, lookup in cleaning.lookups.items()
        if (expressions := {k: v for k, v in _read(name, lookup).items() if converts(v)})
    ]
    return count_lost(reduce(DataFrame.union, lost)) if lost else {}


def _rows(spark: SparkSession, name: str, lookup: Lookup) -> DataFrame:
    table = read(spark, name, f"lookups.{name}.source", lookup.source).rows
    table = with_line_number(table, spark, name, lookup)
    return table.where(F.col("_left_out").isNull())


def _read(name: str, lookup: Lookup) -> dict[str, str]:
    """Key in the section -> expression over the rows of the lookup."""
    expressions = {f"lookups.{name}.keys.{k}": v for k, v in lookup.keys.items()}
    return expressions | {f"lookups.{name}.columns.{k}": v for k, v in lookup.columns.items()}


def _check_numbering(empty: DataFrame, name: str, expressions: Mapping[str, str]) -> None:
    """Refuses expressions whose values change each time that Spark reads the lookup."""
    for key, sql in expressions.items():
        if not is_deterministic(empty, sql):
            raise SourceError(
                f"an expression of the lookup '{name}' is not the same each time it is computed",
                expected="keys and columns made of the columns of the lookup alone",
                got=f"cleaning.{key}: {sql}",
                fix=f"to join by the number of a line, write cleaning.lookups.{name}.line_number: "
                "line, and use the column `line` in the key",
            )


def _check_lookup(rows: DataFrame, table: DataFrame, name: str, on: list[str]) -> None:
    types = [(c, rows.schema[c].dataType, table.schema[f"_on_{c}"].dataType) for c in on]
    if differ := [f"{c}: {a.simpleString()} and {b.simpleString()}" for c, a, b in types if a != b]:
        raise SourceError(
            f"the keys of the lookup '{name}' differ in type from those of the events",
            expected="equal types, so that equal keys are equal",
            got="; ".join(differ),
            fix=f"cast in cleaning.lookups.{name}.keys, for example try_cast(x AS bigint)",
        )
    keys = [f"_on_{c}" for c in on]
    broken = F.min(F.when(F.col("_malformed"), F.col("_source_file"))).alias("broken")
    has_keys = reduce(Column.__and__, [F.col(k).isNotNull() for k in keys])
    by_key = table.groupBy(*keys).agg(F.count("*").alias("rows"), broken)
    faulty = by_key.where(F.col("broken").isNotNull() | (has_keys & (F.col("rows") > 1))).first()
    if faulty is None:
        return
    if faulty["broken"] is not None:
        raise SourceError(
            f"the lookup '{name}' has a line that does not parse",
            expected="valid lines only, since each of them can affect many events",
            got=f"a malformed line in {faulty['broken']}",
            fix="correct the file",
        )
    raise SourceError(
        f"the lookup '{name}' has duplicate keys",
        expected=f"one row per {on}",
        got=f"{faulty['rows']} rows for {[faulty[k] for k in keys]}",
        fix="make its rows unique, or add the column that distinguishes them to `keys`",
    )
