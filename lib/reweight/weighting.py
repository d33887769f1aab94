"""Importance -> weight: one policy for all methods.

    s -> map (identity, rank, 1 - s) -> s^t -> w = s^t / mean
      -> (1 - m) + m w -> min(w, cap) -> w f(segment) -> w / mean

with f < 1 for segments that would have more than their share of the total weight, else 1.

All means and quantiles are over the training split, so the weights of that split have mean 1; the
same numbers, stored with the model, weigh the rows of a later day.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.columns import soft_label
from reweight.distribution import distribution, quantile
from reweight.errors import WeightError
from reweight.section import Section
from reweight.segment_caps import factors


class Weighting(Section):
    """The section ``weighting``: the weight policy.

    Attributes:
        map: ``auto`` is ``rank`` for methods whose importance can be negative, ``flip`` (1 - s) for
            those whose high importance means suspicious, else ``identity``; ``rank`` replaces s by
            its rank in the training split, in (0, 1), counted from the other end for suspicious
            methods.
        temper: exponent t; below 1 flattens, 0 makes weights uniform.
        mix: share m of the method's weight; the rest is uniform.
        clip_quantile: weights above this quantile are cut to it.
        clip_ratio: weights above this multiple of the mean are cut to it.
        segment_cap: largest share of the total weight that a segment may have; rows of no segment
            are not cut, nor is what all methods are compared to.
        ess_warn: share of effective samples below which a warning is printed.
        ess_refuse: share below which the weights are refused.
    """

    map: Literal["auto", "identity", "rank", "flip"] = "auto"
    temper: float = Field(default=1.0, ge=0)
    mix: float = Field(default=1.0, ge=0, le=1)
    clip_quantile: float | None = Field(default=None, gt=0, lt=1)
    clip_ratio: float | None = Field(default=None, gt=0)
    segment_cap: float | None = Field(default=None, ge=0.01, le=1)
    ess_warn: float = Field(default=0.5, ge=0, le=1)
    ess_refuse: float = Field(default=0.1, ge=0, le=1)

    def identity(self) -> dict[str, Any]:
        """What of the section the weights depend on."""
        return self.model_dump(exclude={"ess_warn", "ess_refuse"})


class PolicyStats(Section):
    """What the policy learnt from the training split for one method.

    Attributes:
        map: the map that ``auto`` stood for.
        falling: whether high importance means suspicious, so that the highest rank is the lowest.
        ranks: (value, share of rows at or below) along the training split, for ``rank``.
        mean: of s^t.
        cap: highest weight before the last scaling; None for no clipping.
        factors: segment -> by what its weights are multiplied, of those that have too much.
        scale: of the last step.
        raw_sum: sum of importance over the training split.
        ess_share: effective sample size as a share of the training rows.
    """

    map: Literal["identity", "rank", "flip"]
    falling: bool = False
    ranks: tuple[tuple[float, float], ...] = ()
    mean: float = 1.0
    cap: float | None = None
    factors: dict[str, float] = {}
    scale: float = 1.0
    raw_sum: float = 0.0
    ess_share: float = 1.0


def fit_policy(
    train: DataFrame,
    policy: Weighting,
    polarity: Mapping[str, str],
    signed: Collection[str] = (),
    baselines: Collection[str] = (),
) -> dict[str, PolicyStats]:
    """Learns the numbers of the policy from the training rows, for all methods side by side.

    Args:
        train: training rows with a column of importance per method, and ``segment`` where segments
            have a cap.
        policy: the section.
        polarity: method name -> polarity.
        signed: methods whose importance can be negative.
        baselines: methods whose segments have no cap, so that others are compared to no weights.

    Raises:
        WeightError: importance that is not finite, weights that are negative or all zero, or an
            effective sample size below the limit.
    """
    stats = {
        m: PolicyStats(map=_map(policy, p, m in signed), falling=p == "suspicious")
        for m, p in polarity.items()
    }
    raw = sums = _sums(train, {m: F.col(m) for m in stats})
    for method, own in raw.items():
        _check_finite(method, own)
    if "rank" in {s.map for s in stats.values()}:
        ranks = distribution(train, {m: F.col(m) for m in stats})
        stats = {m: s.model_copy(update={"ranks": ranks[m]}) for m, s in stats.items()}
    if policy.temper != 1 or {s.map for s in stats.values()} != {"identity"}:
        sums = _sums(train, {m: _tempered(F.col(m), policy, s) for m, s in stats.items()})
    for method, own in sums.items():
        _check_mass(method, own)
        update = {"mean": own.total / own.rows, "raw_sum": raw[method].total}
        stats[method] = stats[method].model_copy(update=update)
    stats = _with_caps(train, policy, stats)
    if any(s.cap is not None for s in stats.values()):
        sums = _sums(train, {m: weight(F.col(m), policy, s) for m, s in stats.items()})
    else:
        sums = {m: _mixed(own, policy, stats[m].mean) for m, own in sums.items()}
    if policy.segment_cap is not None:
        others = {m: s for m, s in stats.items() if m not in baselines}
        found = _factors(train, policy, others, sums)
        stats |= {m: s.model_copy(update={"factors": found[m]}) for m, s in others.items()}
        if any(found.values()):
            sums = _sums(train, {m: weight(F.col(m), policy, s) for m, s in stats.items()})
    for method, own in sums.items():
        share = own.total**2 / (own.rows * own.squares)
        _check_ess(method, share, policy)
        update = {"scale": own.rows / own.total, "ess_share": share}
        stats[method] = stats[method].model_copy(update=update)
    return stats


def weight(
    importance: Column, policy: Weighting, stats: PolicyStats, segment: Column | None = None
) -> Column:
    """The weight of a row: the formula of the module.

    Args:
        importance: of the row.
        policy: the section.
        stats: what it learnt.
        segment: of the row, read where segments have a cap; the column ``segment`` by default.
    """
    mixed = (1 - policy.mix) + policy.mix * _tempered(importance, policy, stats) / stats.mean
    capped = F.least(mixed, F.lit(stats.cap)) if stats.cap is not None else mixed
    if stats.factors:
        # Small by nature: fewer than 1 / segment_cap segments can have too much.
        pairs = [F.lit(part) for pair in stats.factors.items() for part in pair]
        own = F.col("segment") if segment is None else segment
        capped *= F.coalesce(F.create_map(*pairs)[own], F.lit(1.0))
    return capped * stats.scale


def weights_in_memory(
    method: str,
    importance: NDArray[np.float64],
    policy: Weighting,
    polarity: str,
    *,
    signed: bool = False,
    segments: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """The weights of training rows that lie in memory: the same formula, float64 [N].

    Args:
        method: its name, for errors.
        importance: of all training rows, float64 [N].
        policy: the section.
        polarity: of the method.
        signed: whether importance can be negative.
        segments: of the rows, [N]; None for none.

    Raises:
        WeightError: as ``fit_policy``.
    """
    _check_finite(method, _sums_of(importance))
    mapped = importance
    if (kind := _map(policy, polarity, signed)) == "rank":
        below = np.searchsorted(np.sort(importance), importance, side="right") / len(importance)
        mapped = 1 - below if polarity == "suspicious" else below
    elif kind == "flip":
        mapped = 1 - importance
    tempered = mapped**policy.temper
    _check_mass(method, _sums_of(tempered))
    weights: NDArray[np.float64] = (1 - policy.mix) + policy.mix * tempered / tempered.mean()
    cap = policy.clip_ratio
    if policy.clip_quantile is not None:
        limit = float(np.quantile(weights, policy.clip_quantile, method="inverted_cdf"))
        cap = min(_positive(method, limit, policy), cap or limit)
    weights = np.minimum(weights, np.inf if cap is None else cap)
    if policy.segment_cap is not None and segments is not None:
        # Rows of no segment are in none of the groups.
        totals = pd.Series(weights).groupby(segments).sum().to_dict()
        own = factors(method, totals, float(weights.sum()), policy.segment_cap)
        weights = weights * pd.Series(segments).map(own).fillna(1.0).to_numpy(np.float64)
    sums = _sums_of(weights)
    _check_ess(method, sums.total**2 / (sums.rows * sums.squares), policy)
    return np.asarray(weights / weights.mean())


def wide_weights(weights: DataFrame, methods: Sequence[str], soft: Sequence[str] = ()) -> DataFrame:
    """Rows of the table ``weights`` as one row per ``sample_id`` with a column per method.

    Args:
        weights: the rows.
        methods: whose weights are wanted.
        soft: those whose labels are wanted too, in columns named by ``columns.soft_label``.
    """

    def own(method: str, column: str) -> Column:
        # Faster than a pivot, whose aggregate keeps arrays: there is one value of each to take.
        return F.max(F.when(F.col("method") == method, F.col(column)))

    columns = [own(m, "weight").alias(m) for m in methods]
    columns += [own(m, "label").alias(soft_label(m)) for m in soft]
    return weights.groupBy("sample_id").agg(*columns)


def _map(policy: Weighting, polarity: str, signed: bool) -> Literal["identity", "rank", "flip"]:
    if policy.map != "auto":
        return policy.map
    if signed:
        return "rank"
    return "flip" if polarity == "suspicious" else "identity"


def _tempered(importance: Column, policy: Weighting, stats: PolicyStats) -> Column:
    if stats.map == "flip":
        mapped = 1 - importance
    elif stats.map == "rank":
        rank = _rank(importance, stats.ranks)
        mapped = 1 - rank if stats.falling else rank
    else:
        mapped = importance.cast("double")
    return mapped if policy.temper == 1 else F.pow(mapped, F.lit(policy.temper))


def _rank(importance: Column, ranks: tuple[tuple[float, float], ...]) -> Column:
    """Share of training rows at or below; the first known value that is not smaller decides."""
    values = F.array(*[F.lit(v) for v, _ in ranks])
    shares = F.array(*[F.lit(s) for _, s in ranks])
    below = F.size(F.filter(values, lambda v: v < importance.cast("double")))
    return F.element_at(shares, F.least(below + 1, F.lit(len(ranks))))


def _with_caps(
    train: DataFrame, policy: Weighting, stats: dict[str, PolicyStats]
) -> dict[str, PolicyStats]:
    caps = dict.fromkeys(stats, policy.clip_ratio)
    if policy.clip_quantile is not None:
        spread = distribution(train, {m: weight(F.col(m), policy, s) for m, s in stats.items()})
        for method, points in spread.items():
            limit = _positive(method, quantile(points, policy.clip_quantile), policy)
            caps[method] = min(limit, caps[method] or limit)
    return {m: s.model_copy(update={"cap": caps[m]}) for m, s in stats.items()}


def _factors(
    train: DataFrame,
    policy: Weighting,
    stats: Mapping[str, PolicyStats],
    sums: Mapping[str, "_Sums"],
) -> dict[str, dict[str, float]]:
    """By method, what the weights of segments are multiplied by."""
    cap = policy.segment_cap
    assert cap is not None
    totals = [F.sum(weight(F.col(m), policy, s)).alias(m) for m, s in stats.items()]
    groups = train.where("segment is not null").groupBy("segment").agg(*totals).persist()
    # Small by nature: no more can have the share `cap` than 1 / cap.
    most = math.ceil(1 / cap) + 1
    try:
        largest = [
            groups.orderBy(F.desc(m), "segment").limit(most).select("segment", F.col(m).alias("w"))
            for m in stats
        ]
        found = {
            m: {r["segment"]: r["w"] for r in rows.collect()}
            for m, rows in zip(stats, largest, strict=True)
        }
    finally:
        groups.unpersist()
    if not any(found.values()):
        raise WeightError(
            "weighting.segment_cap has no segments to cap",
            expected="training rows of some segment",
            came="null in all of them",
            do="set sampling.segment to an expression of few values, or segment_cap to null",
        )
    return {m: factors(m, found[m], sums[m].total, cap) for m in stats}


def _positive(method: str, limit: float, policy: Weighting) -> float:
    if limit <= 0:
        raise WeightError(
            f"weighting.clip_quantile leaves '{method}' no weights",
            expected="a positive weight at that quantile",
            came=f"{limit:.4g} at {policy.clip_quantile}: most importance is 0",
            do="raise weighting.clip_quantile, or use weighting.clip_ratio instead",
        )
    return limit


@dataclass(frozen=True)
class _Sums:
    """Of a column over the training rows: ``bad`` counts what is null or not finite."""

    rows: int
    total: float
    squares: float
    low: float
    bad: int


def _sums(rows: DataFrame, values: Mapping[str, Column]) -> dict[str, _Sums]:
    """Sums of several columns in one pass."""
    numbers = {n: v.cast("double") for n, v in values.items()}
    found: Any = rows.agg(
        F.count("*").alias("rows"),
        *[F.sum(v).alias(f"{n}.total") for n, v in numbers.items()],
        *[F.sum(v * v).alias(f"{n}.squares") for n, v in numbers.items()],
        *[F.min(v).alias(f"{n}.low") for n, v in numbers.items()],
        *[
            F.count_if(v.isNull() | F.isnan(v) | (F.abs(v) == float("inf"))).alias(f"{n}.bad")
            for n, v in numbers.items()
        ],
    ).first()
    names = ("total", "squares", "low", "bad")
    return {n: _Sums(found["rows"], *[found[f"{n}.{k}"] for k in names]) for n in values}


def _sums_of(values: NDArray[np.float64]) -> _Sums:
    finite = np.isfinite(values)
    total, squares = float(values.sum()), float((values**2).sum())
    return _Sums(len(values), total, squares, float(values.min()), int((~finite).sum()))


def _mixed(sums: _Sums, policy: Weighting, mean: float) -> _Sums:
    """The sums of a + b s, which need no pass of their own."""
    a, b = 1 - policy.mix, policy.mix / mean
    total = a * sums.rows + b * sums.total
    squares = a * a * sums.rows + 2 * a * b * sums.total + b * b * sums.squares
    return _Sums(sums.rows, total, squares, a + b * sums.low, sums.bad)


def _check_finite(method: str, sums: _Sums) -> None:
    if sums.bad:
        raise WeightError(
            f"the importance of '{method}' is not finite",
            expected="a finite number for every training row",
            came=f"{sums.bad} rows with null, NaN or infinity",
            do="lower the learning rate or scale the features; see the loss curve",
        )


def _check_mass(method: str, sums: _Sums) -> None:
    if sums.low < 0 or not sums.total > 0:
        raise WeightError(
            f"the importance of '{method}' makes no weights",
            expected="values >= 0 that are not all 0",
            came=f"smallest {sums.low:.4g}, sum {sums.total:.4g} over the training split",
            do="set weighting.map to rank, which takes values of any sign",
        )


def _check_ess(method: str, share: float, policy: Weighting) -> None:
    advice = "raise it with weighting.mix below 1, weighting.temper below 1 or weighting.clip_ratio"
    if share < policy.ess_refuse:
        raise WeightError(
            f"the weights of '{method}' leave too few effective samples",
            expected=f"ESS of at least {policy.ess_refuse:.0%} of the training rows "
            "(weighting.ess_refuse)",
            came=f"{share:.1%}",
            do=advice + ", or lower weighting.ess_refuse if that is meant",
        )
    if share < policy.ess_warn:
        print(f"  warning: '{method}' has an ESS of {share:.1%} of the rows; {advice}", flush=True)
