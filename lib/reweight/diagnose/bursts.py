"""Bursts and bots: groups that do too much in an hour, or that choose too often to be chance.

A burst: the busiest hour of a group has more than exp(median + 10 MAD) events, of the logarithms
over groups. Too often: k of n where others choose with rate q; by Chernoff's bound
    P(K >= k) <= exp(-n KL(k / n, q)),  KL(a, q) = a log(a / q) + (1 - a) log((1 - a) / (1 - q))
(Hoeffding 1963), times the number of groups (Bonferroni), and beyond a material ratio of odds.
"""

import math
from collections.abc import Mapping
from functools import reduce
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.distribution import Distribution, distribution, quantile
from reweight.diagnose.findings import Finding, Measure, Values

NAME = "bursts and bots"
# Share of the events that such groups may have.
MATERIAL_SHARE = 0.01
MADS, LEAST_BURST = 10, 10.0
# Users differ by nature: only odds three times those of all are more than that.
ODDS, TAIL = 3.0, 1e-3


def bursts_and_bots(
    events: DataFrame, group: str | None, rates: Mapping[str, tuple[str, str]]
) -> Finding:
    """The share of the events that comes from groups which are no usual users.

    Args:
        events: of the log, with ``event_time``.
        group: expression of the group.
        rates: name -> (condition that is counted, condition that it is counted among).
    """
    if group is None:
        return Finding(NAME, "Every sample is a group of its own.", needs="sampling.group")
    groups = _groups(events, group, rates).persist(StorageLevel.DISK_ONLY)
    try:
        return _judged(groups, list(rates))
    finally:
        groups.unpersist()


def burst_limit(groups: DataFrame) -> tuple[float, Distribution]:
    """Events in the busiest hour beyond which a group bursts, and the distribution over groups.

    Args:
        groups: a row each, with ``peak``.
    """
    spread = distribution(groups, {"peak": F.col("peak")})["peak"]
    median = math.log(quantile(spread, 0.5))
    apart = F.abs(F.log("peak") - median)
    mad = quantile(distribution(groups, {"apart": apart})["apart"], 0.5)
    # Where most groups do the same the MAD is 0, and twice as much is no burst.
    return math.exp(median + max(MADS * mad, math.log(LEAST_BURST))), spread


def tail_bound(hits: Column, of: Column, rate: float) -> Column:
    """Log of Chernoff's bound on P(K >= hits), K ~ Binomial(of, rate); 0 where hits are few."""
    rate = min(max(rate, 1e-9), 1 - 1e-9)
    # An event can be counted without the one that it is counted among.
    own = F.least(hits / of, F.lit(1.0))
    # 0 log 0 is 0.
    left = F.when(own > 0, own * F.log(own / rate)).otherwise(0.0)
    right = F.when(own < 1, (1 - own) * F.log((1 - own) / (1 - rate))).otherwise(0.0)
    return F.when((of > 0) & (own > rate), -of * (left + right)).otherwise(0.0)


def _groups(events: DataFrame, group: str, rates: Mapping[str, tuple[str, str]]) -> DataFrame:
    """A row per group: its events, those of its busiest hour, hits and chances of each rate."""
    hour = F.floor(F.unix_seconds("event_time") / 3600)
    sums = {}
    for name, (hits, among) in rates.items():
        for side, condition in (("hits", hits), ("of", among)):
            sums[f"{side}.{name}"] = F.count(F.when(F.expr(condition), 1))
    named = events.withColumns({"_group": F.expr(group).cast("string"), "_hour": hour})
    hourly = (
        named.where("_group IS NOT NULL")
        .groupBy("_group", "_hour")
        .agg(F.count("*").alias("events"), *[s.alias(name) for name, s in sums.items()])
    )
    return hourly.groupBy("_group").agg(
        F.sum("events").alias("events"),
        F.max("events").alias("peak"),
        *[F.sum(f"`{name}`").alias(name) for name in sums],
    )


def _judged(groups: DataFrame, rates: list[str]) -> Finding:
    totals: Any = groups.agg(
        F.count("*").alias("groups"),
        *[
            F.sum(f"`{side}.{name}`").alias(f"{side}.{name}")
            for name in rates
            for side in ("hits", "of")
        ],
    ).first()
    limit, spread = burst_limit(groups)
    base = {n: totals[f"hits.{n}"] / totals[f"of.{n}"] for n in rates if totals[f"of.{n}"]}
    bursting = F.col("peak") > limit
    often = {n: _too_often(n, q, totals["groups"] * len(base)) for n, q in base.items()}
    either = reduce(Column.__or__, often.values(), bursting)
    found: Any = groups.agg(
        F.sum("events").alias("all"),
        F.sum(F.when(either, F.col("events")).otherwise(0)).alias("either"),
        F.sum(F.when(bursting, F.col("events")).otherwise(0)).alias("bursting"),
        *[
            F.sum(F.when(o, F.col("events")).otherwise(0)).alias(f"often.{n}")
            for n, o in often.items()
        ],
    ).first()
    part = found["either"] / found["all"]
    measures = (
        Measure("share of events from such groups", part),
        Measure(
            f"share from groups with over {limit:.0f} events in an hour",
            found["bursting"] / found["all"],
        ),
        *[
            Measure(
                f"share from groups with an improbable {n} (all: {q:.3f})",
                found[f"often.{n}"] / found["all"],
            )
            for n, q in base.items()
        ],
    )
    text = f"{part:.1%} of the events come from groups that burst or choose improbably often."
    return Finding(
        NAME, text, 0.0 if part > MATERIAL_SHARE else 1.0, measures, _points(spread, limit)
    )


def _too_often(name: str, rate: float, tests: int) -> Column:
    hits, of = (F.col(f"`{side}.{name}`") for side in ("hits", "of"))
    # Odds above ODDS times those of all, as a rate.
    high = ODDS * rate / (1 - rate + ODDS * rate)
    improbable = tail_bound(hits, of, rate) < math.log(TAIL / max(1, tests))
    return (of > 0) & (hits / of > high) & improbable


def _points(spread: Distribution, limit: float) -> Values:
    """Share of the groups by the power of two of their busiest hour."""
    found: dict[int, float] = {}
    before = 0.0
    for value, below in spread:
        power = int(math.log2(value))
        found[power] = found.get(power, 0.0) + below - before
        before = below
    return {"peaks": [[2.0**power, part] for power, part in found.items()], "limit": limit}
