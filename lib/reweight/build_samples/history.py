"""History features: point-in-time aggregates of the events before a sample."""

from functools import reduce
from typing import Literal

from pydantic import Field, model_validator
from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from reweight.build_samples.collapse import known_at
from reweight.core.hashing import key_hash
from reweight.core.section import Name, Names, Seconds, Section, Sql, in_units


class History(Section):
    """Aggregates of the events before a sample that share its keys.

    Attributes:
        keys: columns in which events and sample are equal (user; item; user and item; category).
        counts: name -> condition on the events to count; the feature is log(1 + count).
        rates: name -> [count, count]: the first divided by the second; missing where the second is
            0.
        recency: counts for which the age of the latest event is a feature, as log(1 + days).
        windows: how far back to look; ``all`` for everything before.
        grain: step of time; a sample uses only whole steps that ended before its own began.
    """

    keys: Names = Field(min_length=1)
    counts: dict[Name, Sql] = Field(min_length=1)
    rates: dict[Name, tuple[Name, Name]] = {}
    recency: tuple[Name, ...] = ()
    windows: tuple[Seconds | Literal["all"], ...] = ("all",)
    grain: Seconds = 86400

    @model_validator(mode="after")
    def _known_counts(self) -> "History":
        named = {*self.recency, *[n for pair in self.rates.values() for n in pair]}
        if unknown := sorted(named - set(self.counts)):
            raise ValueError(f"expected names of counts, {sorted(self.counts)}; got {unknown}")
        if partial := [
            in_units(w) for w in self.windows if w != "all" and (w < self.grain or w % self.grain)
        ]:
            grain = in_units(self.grain)
            raise ValueError(f"expected windows of whole grains ({grain}); got {partial}")
        return self


def known_before(
    samples: DataFrame,
    events: DataFrame,
    name: str,
    history: History,
    earlier: DataFrame | None = None,
) -> DataFrame:
    """The features of earlier events, one row for each key and grain of the samples.

    Args:
        samples: the samples.
        events: the events that count.
        name: name of the history.
        history: the history.
        earlier: counts of events that are not among ``events``, of ``history_table.earlier_rows``.
    """
    past = _past(samples, events, history, earlier)
    keyed = Window.partitionBy(*history.keys).orderBy("_grain")
    columns: dict[str, Column] = {}
    before = keyed.rangeBetween(Window.unboundedPreceding, -1)
    for window in history.windows:
        # The sum before the window is subtracted from the sum before the sample: both frames grow
        # row by row, whereas a sliding frame would be summed again for every row.
        expired = None
        if window != "all":
            older = -(window // history.grain) - 1
            expired = keyed.rangeBetween(Window.unboundedPreceding, older)
        columns |= _windowed(name, history, short(window), before, expired)
    now = F.col("_grain") * history.grain
    for count in history.recency:
        age = now - F.max(f"_last_{count}").over(before)
        columns[f"_n_{name}_{count}_age"] = F.log1p(age / 86400)
    return past.withColumns(columns).where("_has_sample").select(*history.keys, "_grain", *columns)


def with_history(samples: DataFrame, known: DataFrame, history: History) -> DataFrame:
    """Adds the features of a history to the samples that share its keys."""
    keys = [*history.keys, "_grain"]
    joined = samples.withColumn("_grain", _grain(history)).join(known, on=keys, how="left")
    return joined.drop("_grain")


def happened(events: DataFrame, history: History, *more: Column) -> DataFrame:
    """The events that have the keys: the keys, ``_grain``, and when each was what is counted.

    Args:
        events: the events.
        history: the history.
        more: further columns.
    """
    time = known_at(events)
    seconds = F.unix_seconds(time)
    counted = {f"_is_{n}": F.expr(sql) for n, sql in history.counts.items()}
    return events.where(_keyed(history)).select(
        *history.keys,
        _grain(history, time).alias("_grain"),
        *[F.when(c, seconds).alias(n) for n, c in counted.items()],
        *more,
    )


def _past(
    samples: DataFrame, events: DataFrame, history: History, earlier: DataFrame | None
) -> DataFrame:
    """One row for each key and grain with events or samples: counts and latest times."""
    sample_keys = samples.where(_keyed(history)).select(
        *history.keys, _grain(history).alias("_grain"), F.lit(True).alias("_sample")
    )
    rows = happened(events, history, F.lit(False).alias("_sample"))
    rows = rows.unionByName(sample_keys, allowMissingColumns=True)
    counts = {n: F.count(f"_is_{n}") for n in history.counts}
    latest = {n: F.max(f"_is_{n}") for n in history.recency}
    if earlier is not None:
        # Only those of keys that samples have.
        hashed_keys = samples.where(_keyed(history)).select(
            *history.keys, key_hash(*history.keys).alias("_key")
        )
        earlier_counts = earlier.join(hashed_keys.distinct(), on="_key", how="inner").drop("_key")
        rows = rows.unionByName(earlier_counts, allowMissingColumns=True)
        counts = {n: c + F.coalesce(F.sum(f"_had_{n}"), F.lit(0)) for n, c in counts.items()}
        latest = {n: F.greatest(last, F.max(f"_seen_{n}")) for n, last in latest.items()}
    return rows.groupBy(*history.keys, "_grain").agg(
        *[count.alias(f"_count_{n}") for n, count in counts.items()],
        *[last.alias(f"_last_{n}") for n, last in latest.items()],
        F.max("_sample").alias("_has_sample"),
    )


def _keyed(history: History) -> Column:
    return reduce(Column.__and__, [F.col(k).isNotNull() for k in history.keys])


def _windowed(
    name: str, history: History, short: str, before: WindowSpec, expired: WindowSpec | None
) -> dict[str, Column]:
    def total(count: str, over: WindowSpec) -> Column:
        return F.coalesce(F.sum(f"_count_{count}").over(over), F.lit(0))

    sums = {
        n: total(n, before) - total(n, expired) if expired else total(n, before)
        for n in history.counts
    }
    counts = {f"_n_{name}_{n}_{short}": F.log1p(sums[n]) for n in history.counts}
    rates = {
        f"_n_{name}_{rate}_{short}": F.when(
            sums[denominator] > 0, sums[numerator] / sums[denominator]
        )
        for rate, (numerator, denominator) in history.rates.items()
    }
    return counts | rates


def _grain(history: History, time: Column | str = "event_time") -> Column:
    return F.floor(F.unix_seconds(time) / history.grain).cast("long")


def short(window: int | str) -> str:
    """A window as part of a name, such as ``7d``."""
    if isinstance(window, str):
        return window
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return next(f"{window // size}{u}" for u, size in units.items() if window % size == 0)
