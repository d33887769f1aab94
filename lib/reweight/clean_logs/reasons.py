"""The reasons to reject rows: rules and duplicates, with their counts."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.clean_logs import times
from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.times import Group, Span
from reweight.core.errors import SourceError
from reweight.core.expressions import check_expressions
from reweight.core.persisted import persisted


def with_reasons(rows: DataFrame, cleaning: Cleaning) -> DataFrame:
    """Adds ``_reasons`` array<string>: everything that is wrong with a row on its own.

    Raises:
        SourceError: a rule does not fit the columns.
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
        _when(times.outside(cleaning), times.REASON),
        *[_when(F.expr(condition), name) for name, condition in cleaning.reject.items()],
    ]
    # Decoders put this character in the place of bytes that they cannot decode.
    undecodable = _when(F.col("_raw").contains("\ufffd"), "undecodable")
    # The fields of a malformed line mean nothing, so no rule is applied to them.
    all_reasons = F.when(F.col("_malformed"), F.array(F.lit("malformed"), undecodable)).otherwise(
        F.array(undecodable, *reasons)
    )
    return rows.withColumn("_reasons", F.array_compact(all_reasons))


def with_duplicates(rows: DataFrame, cleaning: Cleaning, span: Span = times.EVERY_DAY) -> DataFrame:
    """Adds the reasons ``duplicate`` (all raw fields equal) and ``duplicate_key``.

    Equal rows of two sources are different events, unless ``duplicates.across_sources`` says
    otherwise.

    One shuffle and one sort serve both: rows are partitioned by the hash of the key, or of the raw
    row where there is no key, so that neither null keys nor malformed lines pile up in one task.

    Args:
        rows: all rows, with their other reasons.
        cleaning: the section.
        span: the days of the log; rows outside them are at fault.
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
    # A constant in front seeds the hash of the next column, which gives an independent hash.
    raw_hash = [F.xxhash64("_raw").alias("_h1"), F.xxhash64(F.lit(1), "_raw").alias("_h2")]
    rows = rows.select("*", *raw_hash, keyed.alias("_keyed"))
    rows = rows.withColumn("_key", F.coalesce(key, F.col("_h1"))).repartition("_key")
    faulty = (F.size("_reasons") > 0) | times.beyond(span)
    # Equal rows follow one another. Of the rows of a key, the first one stays.
    in_order = Window.partitionBy("_key", "_keyed", *[_of_keyed(F.col(k)) for k in rule.keys])
    in_order = in_order.orderBy(
        _of_keyed(faulty),
        _of_keyed(F.expr(cleaning.prefer)).asc_nulls_last(),
        *("_h1", "_h2", "_source"),
        faulty,
        "_source_file",
    )
    equal = ["_h1", "_h2", *["_source"][: not rule.across_sources]]
    same = [F.lag(c).over(in_order).eqNullSafe(F.col(c)) for c in equal]
    is_copy = reduce(Column.__and__, same, F.lit(rule.exact))
    rows = rows.select("*", is_copy.alias("_copy"), F.row_number().over(in_order).alias("_turn"))
    duplicates = F.array_compact(
        F.array(
            _when(F.col("_copy"), "duplicate"),
            _when(~F.col("_copy") & F.col("_keyed") & (F.col("_turn") > 1), "duplicate_key"),
        )
    )
    return rows.withColumn("_reasons", F.concat("_reasons", duplicates)).drop(
        "_h1", "_h2", "_keyed", "_key", "_copy", "_turn"
    )


def without_duplicates(rows: DataFrame) -> DataFrame:
    """Takes back the reasons that ``with_duplicates`` added."""
    others = F.filter("_reasons", lambda reason: ~reason.isin("duplicate", "duplicate_key"))
    return rows.withColumn("_reasons", others)


@contextmanager
def within_log(
    rows: DataFrame, groups: Sequence[Group], cleaning: Cleaning
) -> Iterator[tuple[DataFrame, list[Group], Span]]:
    """Rejects the rows outside the days of the log.

    A row with a wrong clock may have been kept instead of a right one with its key: then duplicates
    are looked for again, among the rows within the log.

    Args:
        rows: all rows, with their reasons, computed once.
        groups: their counts.
        cleaning: the section.

    Yields:
        All rows, their counts, and the days of the log.
    """
    span = times.log_span(groups, cleaning)
    inside = times.within(groups, span)
    # A row with another reason besides would be rejected anyway.
    if inside == [*groups] or all(g.reasons != ("duplicate_key",) for g in groups):
        yield rows.transform(times.with_span, span), inside, span
        return
    again = rows.transform(without_duplicates).transform(with_duplicates, cleaning, span)
    with persisted(again) as again:
        inside = times.within(count_groups(again, cleaning), span)
        yield again.transform(times.with_span, span), inside, span


def _of_keyed(value: Column) -> Column:
    return F.when(F.col("_keyed"), value)


def count_groups(rows: DataFrame, cleaning: Cleaning) -> list[Group]:
    """The rows by source, reasons and day, counted in one pass."""
    micros = F.unix_micros("event_time") if cleaning.times else F.lit(None).cast("bigint")
    # Small: a row per source, set of reasons and, for events, day.
    counted = (
        rows.groupBy("_source", "_reasons", times.day(cleaning).alias("day"))
        .agg(
            F.count("*").alias("rows"),
            F.count(micros).alias("timed"),
            F.sum(F.size("_lost")).alias("lost"),
            F.min(micros).alias("first"),
            F.max(micros).alias("last"),
        )
        .collect()
    )
    return [Group(row[0], tuple(row[1]), *row[2:]) for row in counted]


def count_reasons(groups: Sequence[Group]) -> tuple[int, int, dict[str, int]]:
    """Number of rows, of rejected rows and of rows per reason."""
    reasons: Counter[str] = Counter()
    for group in groups:
        reasons.update(dict.fromkeys(group.reasons, group.rows))
    bad = sum(group.rows for group in groups if group.reasons)
    return sum(group.rows for group in groups), bad, dict(sorted(reasons.items()))


def count_duplicates(groups: Sequence[Group]) -> dict[str, int]:
    """Number of duplicates per source; empty if there is only one source or no duplicate."""
    duplicates: Counter[str] = Counter()
    for group in groups:
        duplicates[group.source] += group.rows * bool(
            {"duplicate", "duplicate_key"} & {*group.reasons}
        )
    return dict(sorted(duplicates.items())) if len(duplicates) > 1 and duplicates.total() else {}


def check_counts(
    raw: Mapping[str, int],
    total: int,
    bad: int,
    reasons: Mapping[str, int],
    limit: float,
    meant: Callable[[], str | None] = lambda: None,
) -> None:
    """Checks that the rows add up and that not too many were rejected.

    Args:
        raw: source -> number of raw rows.
        total: number of cleaned rows, events and rejected ones.
        bad: number of rejected rows.
        reasons: reason -> number of rows.
        limit: largest share of rows that may be rejected.
        meant: gives the expression that reads the times, for a log in which they are missing.

    Raises:
        SourceError: a source has no rows, rows were lost or doubled, or more than ``limit`` were
            rejected.
    """
    if empty := [name for name, rows in raw.items() if rows == 0]:
        raise SourceError(
            f"the sources {empty} have no rows",
            expected="at least one line of data in each",
            got="0 rows",
            fix="check `path` and `where` of cleaning.sources.*, or remove the source",
        )
    if (rows := sum(raw.values())) != total:
        raise SourceError(
            "raw rows and cleaned rows do not add up",
            expected=f"{rows} rows: events + rejected",
            got=f"{total}",
            fix="if a file changed while it was read, run again on files that no longer change; "
            "use `explode` of the source, not cleaning.columns, to make several rows of one",
        )
    if bad / rows > limit:
        untimed = reasons.get("missing:event_time", 0) > bad / 2
        time = f"write `event_time: {sql}`, or " if untimed and (sql := meant()) else ""
        raise SourceError(
            f"{bad / rows:.1%} of the raw rows were rejected",
            expected=f"at most {limit:.1%} (cleaning.max_rejected)",
            got=", ".join(f"{k}: {v}" for k, v in reasons.items()),
            fix=f"{time}correct the mapping or the rules; if the log really is this invalid, raise "
            "cleaning.max_rejected",
        )


def _check_rules(rows: DataFrame, cleaning: Cleaning) -> None:
    # Each in the form in which it is used, so that its type is checked too.
    rules = {f"reject.{k}": f"CASE WHEN {v} THEN 1 END" for k, v in cleaning.reject.items()}
    rules |= {f"required.{c}": c for c in cleaning.required}
    rules |= {f"allowed.{c}": f"CAST({c} AS string)" for c in cleaning.allowed}
    rules |= {f"ranges.{c}": f"CAST({c} AS double)" for c in cleaning.ranges}
    rules |= {f"duplicates.keys.{c}": f"xxhash64({c})" for c in cleaning.duplicates.keys}
    rules |= {"duplicates.prefer": f"array_min(array({cleaning.prefer}))"}
    check_expressions(rows, rules)


def _required(cleaning: Cleaning) -> list[str]:
    return list(dict.fromkeys([*["event_time"][: cleaning.times], *cleaning.required]))


def _when(condition: Column, reason: str) -> Column:
    return F.when(condition, F.lit(reason))


def _outside(column: str, low: float | None, high: float | None) -> Column:
    value = F.col(column).cast("double")
    below = value < low if low is not None else F.lit(False)
    above = value > high if high is not None else F.lit(False)
    not_numeric = F.col(column).isNotNull() & value.isNull()
    return below | above | not_numeric | F.isnan(value) | (F.abs(value) == float("inf"))
