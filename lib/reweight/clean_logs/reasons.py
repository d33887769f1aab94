"""TODO docstring."""

from collections.abc import Mapping
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.clean_logs.section import Cleaning
from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions


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
            got="0 rows",
            fix="check `cleaning.sources.*.path`, or take the source out",
        )
    if (rows := sum(raw.values())) != total:
        raise SourceError(
            "raw rows and cleaned rows do not add up",
            expected=f"{rows} rows: events + rejected",
            got=f"{total}",
            fix="if a file changed while it was read, run again on files that rest; an expression "
            "of cleaning.columns may make one row of one row (explode is the source's)",
        )
    if bad / rows > limit:
        raise SourceError(
            f"{bad / rows:.1%} of the raw rows were rejected",
            expected=f"at most {limit:.1%} (cleaning.max_rejected)",
            got=", ".join(f"{k}: {v}" for k, v in reasons.items()),
            fix="mend the mapping or the rules; raise cleaning.max_rejected if the log is like that",
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
