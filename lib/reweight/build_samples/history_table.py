"""Histories of days: counts of events by key and day, from which later days go on.

A feature of a history is a sum over whole grains before a sample. For a day, its own events and
those of open days give the newest grains; of all earlier days the table ``history`` has the sums:

    count before the day = total over the days before L + sum over the grains from L to the day

where L, a day, is as far back as the longest bounded window reaches. So a day reads one row for
each key and day, however many events it stands for, and rows by grain only within the windows.
"""

import math
from datetime import date, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.history import History, happened
from reweight.core.asked_days import EPOCH
from reweight.core.hashing import key_hash

_DAY = 86_400
_OF_DAY = "date_from_unix_date(CAST(floor(unix_seconds(event_time) / 86400) AS int))"


def lookback(history: History, day: date) -> date:
    """The day L from which on rows by grain are read for the samples of a day.

    It begins with a grain, so that no grain is partly in a total.
    """
    longest = max((w for w in history.windows if w != "all"), default=0)
    step = math.lcm(history.grain, _DAY)
    begins = (day - EPOCH).days * _DAY - longest
    return EPOCH + timedelta(seconds=begins // step * step)


def history_rows(
    events: DataFrame, name: str, history: History, since: date | None = None
) -> DataFrame:
    """Rows of the table ``history``.

    Args:
        events: the events of whole days.
        name: name of the history.
        history: the history.
        since: all days before this one are counted as the day before it, in totals alone.
    """
    day: Column = F.expr(_OF_DAY)
    if since is not None:
        day = F.greatest(day, F.lit(since - timedelta(1)))
    keyed = happened(events, history, day.alias("day"), key_hash(*history.keys).alias("key"))
    total = F.lit(None).cast("bigint")
    # Grains that fit into days are only needed within bounded windows.
    by_grain = set(history.windows) != {"all"} or _DAY % history.grain
    grains = F.array(total, F.col("_grain")) if by_grain else F.array(total)
    rows = keyed.withColumn("grain", F.explode(grains))
    if since is not None:
        rows = rows.where(F.col("grain").isNull() | (F.col("day") >= F.lit(since)))
    latest = F.array(*[F.max(f"_is_{n}") for n in history.recency])
    return (
        rows.groupBy("day", "key", "grain")
        .agg(
            F.array(*[F.count(f"_is_{n}") for n in history.counts]).alias("counts"),
            latest.cast("array<bigint>").alias("latest"),
        )
        .select("day", F.lit(name).alias("history"), "key", "grain", "counts", "latest")
    )


def earlier_rows(table: DataFrame, name: str, history: History, day: date) -> DataFrame:
    """What ``known_before`` needs of the days before a day: ``_key``, ``_grain`` and counts.

    Args:
        table: rows of the table ``history``.
        name: name of the history.
        history: the history.
        day: the first day whose events are at hand themselves.
    """
    since = lookback(history, day)
    before = (since - EPOCH).days * _DAY // history.grain - 1
    of_days, by_grain = F.col("day"), F.col("grain").isNotNull()
    total = ~by_grain & (of_days < F.lit(since))
    recent = by_grain & (of_days >= F.lit(since)) & (of_days < F.lit(day))
    rows = table.where((F.col("history") == name) & (of_days < F.lit(day)) & (total | recent))
    return rows.select(
        F.col("key").alias("_key"),
        F.coalesce("grain", F.lit(before)).cast("bigint").alias("_grain"),
        *[F.get("counts", F.lit(i)).alias(f"_had_{n}") for i, n in enumerate(history.counts)],
        *[F.get("latest", F.lit(i)).alias(f"_seen_{n}") for i, n in enumerate(history.recency)],
    )
