"""Whether the times of a log are read in their own unit.

A number that is read in the wrong unit is a time too: microseconds as milliseconds are far after
2100, and seconds as milliseconds are in January 1970, as zeros are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.sources import Read
from reweight.clean_logs.times import AFTER, BEFORE, FEW, Group, misread, shown
from reweight.core.epoch import either, has_fractions, is_large, time_expression
from reweight.core.errors import SourceError
from reweight.core.sql_calls import words

# So many values are looked at to find the unit, of those that are read well and of the others.
_LOOKED_AT = 50
_STRAY = 5


def check_times(groups: Sequence[Group], cleaning: Cleaning, sources: Mapping[str, Read]) -> None:
    """Checks that the times of each source are read in their own unit.

    Args:
        groups: all rows.
        cleaning: the section.
        sources: the raw rows of each source; read only to explain a refusal.

    Raises:
        SourceError: too many times are implausible.
    """
    days: Counter[int] = Counter()
    for g in groups:
        days[-1 if g.reasons or g.day is None else g.day] += g.rows
    early = misread(days) if cleaning.not_before is None else set[int]()
    for name in cleaning.sources:
        _check_source(name, [g for g in groups if g.source == name], early, cleaning, sources)


def _check_source(
    name: str,
    groups: Sequence[Group],
    early: set[int],
    cleaning: Cleaning,
    sources: Mapping[str, Read],
) -> None:
    of_source = f" of the source '{name}'" if len(cleaning.sources) > 1 else ""
    sql = cleaning.columns_of(name)["event_time"] if cleaning.times else ""
    events = [g for g in groups if not g.reasons]
    outside = [g for g in groups if g.day in (BEFORE, AFTER)]
    in_1970 = [g for g in events if g.day in early]
    timed, wrong = sum(g.timed for g in groups), sum(g.rows for g in (*outside, *in_1970))
    # A wrong clock or two in a small source are not the unit of the source.
    if wrong > max(FEW * timed, min(_STRAY, timed / 2) if of_source else 0):
        where = "in January 1970, unlike the others" if in_1970 else "not in the years 1970 to 2100"
        raise SourceError(
            f"{wrong:,} of {timed:,} times{of_source} are {where}",
            expected="times of the log, at most 10 % of them implausible",
            got=f"{sql}, which gives {shown([*outside, *in_1970])}",
            fix=_correction(cleaning, sources, name)
            + ("; to reject these rows, set cleaning.not_before: '1971-01-01'" if in_1970 else "")
            + "; if these times are meant, set cleaning.not_before and cleaning.not_after",
        )
    if cleaning.not_before is None and _in_another_unit(events):
        raise SourceError(
            f"all times{of_source} are within a few days of January 1970",
            expected="times of the log; those of our days are in January 1970 if seconds are read "
            "as milliseconds, or milliseconds as microseconds",
            got=f"{sql}, which gives {shown(events)}",
            fix=f"{_correction(cleaning, sources, name)}; if these times are meant, set "
            "cleaning.not_before and cleaning.not_after, such as not_before: '1970-01-01'",
        )


def suggestion(cleaning: Cleaning, sources: Mapping[str, Read]) -> str | None:
    """The expression that reads the raw numbers as times; None if they are no numbers."""
    for name, read in sources.items():
        sql = cleaning.columns_of(name)["event_time"]
        for word in words(sql):
            try:
                well, wrong = (_values(read.rows, sql, word, well) for well in (True, False))
            except PySparkException:
                continue  # A function or a type.
            if meant := reading_all(word, sql, well, wrong):
                return meant
    return None


def _values(rows: DataFrame, sql: str, word: str, well: bool) -> list[str]:
    """Values of a column, of rows whose time is plausible or of the others."""
    year = F.year(F.expr(sql))
    plausible = F.coalesce((year > 1970) & (year < 2100), F.lit(False))
    value = F.expr(word).cast("string").alias("value")
    chosen = rows.where(~F.col("_malformed") & (plausible == well)).select(value)
    # Bounded: a few rows.
    return [row["value"] for row in chosen.where("value IS NOT NULL").limit(_LOOKED_AT).collect()]


def reading_all(word: str, sql: str, well: Sequence[str], wrong: Sequence[str]) -> str | None:
    """The expression that reads all values; None if none is known.

    Args:
        word: the raw column.
        sql: the expression of the config.
        well: values that it reads as plausible times.
        wrong: other values.
    """
    large = [v for v in wrong if is_large(v)]
    # Small numbers are times in a log that has no others.
    fractions = has_fractions(v for v in (*well, *wrong) if time_expression(word, v))
    seen = large or ([] if well else wrong)
    units = Counter(time_expression(word, v, fractions) for v in seen)
    few = units.total() / 10
    meant = [e for e, n in units.most_common() if e and e != sql and n >= few]
    if not meant or not well:
        return either(word, meant) if meant else None
    usual, _ = Counter(time_expression(word, v, fractions) for v in well).most_common(1)[0]
    return either(word, [*meant, usual]) if usual else f"coalesce({sql}, {either(word, meant)})"


def _correction(cleaning: Cleaning, sources: Mapping[str, Read], name: str) -> str:
    meant = suggestion(cleaning, {name: sources[name]} if name in sources else {})
    if meant is None:
        return "correct cleaning.columns.event_time"
    where = f" in cleaning.sources.{name}.columns" if len(cleaning.sources) > 1 else ""
    return f"write `event_time: {meant}`{where}"


def _in_another_unit(events: Sequence[Group]) -> bool:
    first = min((g.first for g in events if g.first is not None), default=0) / 10**6
    last = max((g.last for g in events if g.last is not None), default=0) / 10**6
    # 2000 and 2038 in seconds since 1970, a thousand and a million times too small.
    return any(first * k >= 946_684_800 and last * k < 2_145_916_800 for k in (10**3, 10**6))
