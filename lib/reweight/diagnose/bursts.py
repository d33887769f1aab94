"""Bursts and bots: groups with too many acts in an hour, or with improbably high rates.

A group bursts if its busiest hour has more than exp(median + 10 MAD) acts, with the median and the
MAD of the logarithms over groups with more than one: visitors who leave at once show nothing of how
fast acts follow each other, and are often more than half of all. Events of one instant are one act,
such as the 25 items of a list that was shown, unless they repeat each other: with n events, t
different times and c different contents in a second, there are max(t, 1 + n - c) acts. A group's
rate k / n is improbable, given the overall rate q, if Chernoff's bound
    P(K >= k) <= exp(-n KL(k / n, q)),  KL(a, q) = a log(a / q) + (1 - a) log((1 - a) / (1 - q))
(Hoeffding 1963), times the number of groups and rates (Bonferroni), is small; the odds must also
exceed a material ratio.
"""

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.distribution import Distribution, distribution, quantile
from reweight.core.persisted import persisted
from reweight.diagnose.findings import Finding, Measure, Values

NAME = "bursts and bots"
# Such groups are material above this share of the events.
MATERIAL_SHARE = 0.01
MADS, LEAST_BURST = 10, 10.0
# If fewer groups have more than one act in an hour, these may be the bots themselves.
_LEAST_SEVERAL = 0.05
# Users differ anyway: only odds above three times the overall odds count.
ODDS, TAIL = 3.0, 1e-3


def bursts_and_bots(
    events: DataFrame,
    group: str | None,
    rates: Mapping[str, tuple[str, str]],
    contents: Sequence[str] = (),
) -> Finding:
    """The share of events from groups that do not behave like ordinary users.

    Args:
        events: events of the log, with ``event_time``.
        group: SQL expression of the group; None if every sample is its own group.
        rates: name -> SQL conditions of (the events counted, the events they are a share of).
        contents: columns in which an event equals another one that it repeats; if empty, each event
            is an act.
    """
    if group is None:
        return Finding(NAME, "Every sample is its own group.", needs="sampling.group")
    with persisted(_groups(events, group, rates, contents)) as groups:
        return _finding(groups, list(rates), bool(contents))


def burst_limit(groups: DataFrame) -> tuple[float, Distribution]:
    """The limit on the acts in a group's busiest hour, and their distribution over groups.

    Args:
        groups: one row per group, with ``peak``.
    """
    spread = distribution(groups, {"peak": F.col("peak")})["peak"]
    single = max((share for value, share in spread if value <= 1), default=0.0)
    if single > 1 - _LEAST_SEVERAL:
        single = 0.0
    median = math.log(quantile(spread, (1 + single) / 2))
    apart = F.abs(F.log("peak") - median)
    several = groups.where("peak > 1") if single else groups
    mad = quantile(distribution(several, {"apart": apart})["apart"], 0.5)
    # If most groups are alike the MAD is 0, but twice the median is no burst.
    return math.exp(median + max(MADS * mad, math.log(LEAST_BURST))), spread


def tail_bound(hits: Column, of: Column, rate: float) -> Column:
    """Log of Chernoff's bound on P(K >= hits), K ~ Binomial(of, rate); 0 if hits / of <= rate."""
    rate = min(max(rate, 1e-9), 1 - 1e-9)
    # A counted event may lack the event it is a share of.
    observed = F.least(hits / of, F.lit(1.0))
    # 0 log 0 is 0.
    left = F.when(observed > 0, observed * F.log(observed / rate)).otherwise(0.0)
    right = F.when(observed < 1, (1 - observed) * F.log((1 - observed) / (1 - rate))).otherwise(0.0)
    return F.when((of > 0) & (observed > rate), -of * (left + right)).otherwise(0.0)


def _groups(
    events: DataFrame,
    group: str,
    rates: Mapping[str, tuple[str, str]],
    contents: Sequence[str],
) -> DataFrame:
    """One row per group: its events, its busiest hour, and ``hits`` and ``of`` of each rate."""
    sums = {}
    for name, (hits, among) in rates.items():
        for side, condition in (("hits", hits), ("of", among)):
            sums[f"{side}.{name}"] = F.count(F.when(F.expr(condition), 1))
    second = F.unix_seconds("event_time")
    named = events.withColumns({"_group": F.expr(group).cast("string"), "_second": second})
    named = named.where("_group IS NOT NULL")
    n = F.count("*")
    repeats, times = F.lit(0), n
    if contents:
        # A hash skips nulls, so their places are hashed too.
        content = F.xxhash64(*contents, F.array(*[F.col(c).isNull() for c in contents]))
        repeats = n - F.count_distinct(content)
        times = F.count_distinct(F.unix_micros("event_time"))
    seconds = named.groupBy("_group", "_second").agg(
        n.alias("events"),
        repeats.alias("repeats"),
        F.greatest(times, 1 + repeats).alias("acts"),
        F.count(F.when(F.col("_second") % 60 != 0, 1)).alias("to_the_second"),
        *[s.alias(name) for name, s in sums.items()],
    )
    summed = ("events", "repeats", "to_the_second", *sums)
    hourly = seconds.groupBy("_group", F.floor(F.col("_second") / 3600)).agg(
        F.sum("acts").alias("acts"), *[F.sum(f"`{name}`").alias(name) for name in summed]
    )
    return hourly.groupBy("_group").agg(
        F.max("acts").alias("peak"), *[F.sum(f"`{name}`").alias(name) for name in summed]
    )


def _finding(groups: DataFrame, rates: list[str], has_contents: bool) -> Finding:
    totals: Any = groups.agg(
        F.count("*").alias("groups"),
        *[
            F.sum(f"`{side}.{name}`").alias(f"{side}.{name}")
            for name in rates
            for side in ("hits", "of")
        ],
    ).first()
    limit, spread = burst_limit(groups)
    overall = {n: totals[f"hits.{n}"] / totals[f"of.{n}"] for n in rates if totals[f"of.{n}"]}
    bursting = F.col("peak") > limit
    often = {n: _too_often(n, q, totals["groups"] * len(overall)) for n, q in overall.items()}
    either = reduce(Column.__or__, often.values(), bursting)
    sums: Any = groups.agg(
        F.sum("events").alias("all"),
        F.sum(F.when(either, F.col("events")).otherwise(0)).alias("either"),
        F.sum(F.when(bursting, F.col("events")).otherwise(0)).alias("bursting"),
        F.sum("repeats").alias("repeats"),
        F.sum("to_the_second").alias("to_the_second"),
        *[
            F.sum(F.when(o, F.col("events")).otherwise(0)).alias(f"often.{n}")
            for n, o in often.items()
        ],
    ).first()
    share = sums["either"] / sums["all"]
    measures: tuple[Measure, ...] = (
        Measure("share of events from these groups", share),
        Measure(
            f"share from groups with over {limit:.0f} acts in an hour",
            sums["bursting"] / sums["all"],
        ),
        *[
            Measure(
                f"share from groups with an improbable {n} (overall {q:.3f})",
                sums[f"often.{n}"] / sums["all"],
            )
            for n, q in overall.items()
        ],
    )
    text = f"{share:.1%} of the events come from groups with bursts or improbable rates."
    repeated = 0.0
    # Times that are all whole minutes do not tell what happened in the same second.
    if has_contents and sums["to_the_second"]:
        repeated = sums["repeats"] / sums["all"]
        repeats = Measure("share of events that repeat another of the same second", repeated)
        # What makes the finding visible comes first.
        alone = share <= MATERIAL_SHARE < repeated
        measures = (repeats, *measures) if alone else (*measures, repeats)
        text += f" {repeated:.1%} repeat another event of the same group in the same second."
    p = 0.0 if max(share, repeated) > MATERIAL_SHARE else 1.0
    return Finding(NAME, text, p, measures, _points(spread, limit))


def _too_often(name: str, rate: float, tests: int) -> Column:
    hits, of = (F.col(f"`{side}.{name}`") for side in ("hits", "of"))
    # ODDS times the overall odds, as a rate.
    high = ODDS * rate / (1 - rate + ODDS * rate)
    improbable = tail_bound(hits, of, rate) < math.log(TAIL / max(1, tests))
    return (of > 0) & (hits / of > high) & improbable


def _points(spread: Distribution, limit: float) -> Values:
    """Share of the groups by their busiest hour, in powers of two."""
    shares: dict[int, float] = {}
    before = 0.0
    for value, below in spread:
        power = int(math.log2(value))
        shares[power] = shares.get(power, 0.0) + below - before
        before = below
    return {"peaks": [[2.0**power, part] for power, part in shares.items()], "limit": limit}
