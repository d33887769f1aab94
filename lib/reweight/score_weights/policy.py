"""Importance -> weight: one policy for all methods.

    s -> map (identity, rank, 1 - s) -> s^t -> w = s^t / mean
      -> (1 - m) + m w -> min(w, cap) -> w f(segment) -> w / mean

with f < 1 for segments that would exceed their share of the total weight, else 1.

All means and quantiles are over the training split, so the weights of that split have mean 1. Where
negatives were sampled, w is then multiplied by the design weight c = 1 / rate of the row: a known
factor, which no policy may flatten or clip. Means and shares count a row c times, so the sum of c w
is that of c, the number of rows before the sampling: a ranker is regularised as on the whole log.
Quantiles and ranks are those of the rows that are there.

The same statistics, stored with the model, give the weights of the rows of a later day.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

from pydantic import Field
from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.arithmetic import ARRAYS, COLUMNS, Arithmetic, Array, Value
from reweight.core.baselines import BASELINE
from reweight.core.distribution import Distribution, quantile
from reweight.core.errors import WeightError
from reweight.core.left_out import Refusals
from reweight.core.section import Section
from reweight.score_weights.policy_checks import check_ess, check_finite, check_limit, check_mass
from reweight.score_weights.segment_caps import factors
from reweight.score_weights.training_rows import CountedRows, Sums, TrainingRows

Kept = TypeVar("Kept")
# A network gives a row alone and in a batch values that differ by about this much, relatively.
_SLACK = 1e-6


class Weighting(Section):
    """The section ``weighting``: the weight policy.

    Attributes:
        map: ``auto`` is ``rank`` for methods whose importance can be negative, ``flip`` (1 - s) for
            methods whose high importance means suspicious, else ``identity``; ``rank`` replaces s
            by its rank in the training split, in (0, 1), reversed for suspicious methods.
        temper: exponent t; below 1 flattens the weights, 0 makes them uniform.
        mix: share m of the method's weight; the rest is uniform.
        clip_quantile: weights above this quantile are clipped to it.
        clip_ratio: weights above this multiple of the mean are clipped to it.
        segment_cap: largest share of the total weight that a segment may have; rows without a
            segment and the baseline are not capped.
        ess_warn: ESS, as a share of the rows, below which a warning is logged.
        ess_refuse: ESS, as a share of the rows, below which the weights are refused.
    """

    map: Literal["auto", "identity", "rank", "flip"] = "auto"
    temper: float = Field(default=1.0, ge=0)
    mix: float = Field(default=1.0, ge=0, le=1)
    clip_quantile: float | None = Field(default=None, gt=0, lt=1)
    clip_ratio: float | None = Field(default=None, gt=0)
    segment_cap: float | None = Field(default=None, ge=0.01, le=1)
    ess_warn: float = Field(default=0.5, ge=0, le=1)
    ess_refuse: float = Field(default=0.1, ge=0, le=1)

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of samples that the policy reads besides importance."""
        return ("segment",) if self.segment_cap is not None else ()

    def identity(self) -> dict[str, Any]:
        """The settings that the weights depend on."""
        return self.model_dump(exclude={"ess_warn", "ess_refuse"})

    def check_known(self, method: "WeighedMethod", known: Array) -> None:
        """Refuses weights that follow from counts, before anything is trained.

        Args:
            method: the method.
            known: each importance and the number of training rows that have it, float64 [K, 2].

        Raises:
            WeightError: as ``fit_policy``.
        """
        if self.segment_cap is None:
            rows = CountedRows({method.name: known[:, 0]}, known[:, 1])
            fit_policy(rows, self.model_copy(update={"ess_warn": 0.0}), [method])


class PolicyStats(Section):
    """What the policy learnt from the training split for one method.

    Attributes:
        map: the map that is applied, which resolves ``auto``.
        falling: whether high importance means suspicious, so that ranks are reversed.
        ranks: (a value and ``_SLACK``, share of the training rows at or below it), for ``rank``.
        mean: mean of s^t.
        cap: highest weight before the last scaling; None without clipping.
        factors: segment -> factor of its weights, for segments above the cap.
        scale: factor of the last step, which makes the mean 1.
        raw_sum: sum of importance over the training split.
        rows: number of rows of that split; 0 in files of earlier versions.
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
    rows: float = 0.0
    ess_share: float = 1.0


class WeighedMethod(Protocol):
    """What the policy needs to know of a method."""

    @property
    def name(self) -> str:
        """Name of its column of importance."""

    @property
    def polarity(self) -> str:
        """Whether high importance means valuable, hard, or suspicious."""

    @property
    def signed(self) -> bool:
        """Whether importance can be negative."""


def fit_policy(
    rows: TrainingRows[Value],
    policy: Weighting,
    methods: Sequence[WeighedMethod],
    refusals: Refusals | None = None,
) -> dict[str, PolicyStats]:
    """Learns the statistics of the policy from the training rows, for all methods together.

    The baseline has no segment cap, so that the other methods are compared to equal weights.

    Args:
        rows: training rows, in a frame or in memory.
        policy: the section ``weighting``.
        methods: the methods whose importance the rows have.
        refusals: receives the methods whose weights are refused; by default they are errors.

    Returns:
        Method name -> its statistics.

    Raises:
        WeightError: importance that is not finite, weights that are negative or all 0, or an ESS
            below ``ess_refuse``.
    """
    refusals = refusals or Refusals()
    importance = {m.name: rows.importance(m.name) for m in methods}
    stats = {
        m.name: PolicyStats(map=_map(policy, m), falling=m.polarity == "suspicious")
        for m in methods
    }
    raw = sums = rows.sums(importance)
    for method, method_sums in raw.items():
        with refusals.about(method):
            check_finite(method, method_sums)
    stats = _kept(stats, refusals)
    importance = _kept(importance, refusals)
    sums = _kept(sums, refusals)
    if "rank" in {s.map for s in stats.values()}:
        ranks = rows.distributions(importance)
        stats = {m: s.model_copy(update={"ranks": _reached(ranks[m])}) for m, s in stats.items()}
    if policy.temper != 1 or {s.map for s in stats.values()} != {"identity"}:
        sums = rows.sums(
            {m: _tempered(rows.arithmetic, importance[m], policy, s) for m, s in stats.items()}
        )
    for method, method_sums in sums.items():
        with refusals.about(method):
            check_mass(method, method_sums)
    stats, sums = _kept(stats, refusals), _kept(sums, refusals)
    for method, method_sums in sums.items():
        update = {"mean": method_sums.total / method_sums.rows, "rows": method_sums.rows}
        stats[method] = stats[method].model_copy(update=update | {"raw_sum": raw[method].total})

    def weights(named: Mapping[str, PolicyStats]) -> dict[str, Value]:
        parts = (rows.arithmetic, policy)
        return {m: weight_by(*parts, importance[m], s, rows.segment()) for m, s in named.items()}

    stats = _kept(_with_caps(rows, policy, stats, weights, refusals), refusals)
    sums = _kept(sums, refusals)
    if rows.thinned or any(s.cap is not None for s in stats.values()):
        sums = rows.sums(weights(stats))
    else:
        sums = {m: _mixed(method_sums, policy, stats[m].mean) for m, method_sums in sums.items()}
    others = {m: s for m, s in stats.items() if m != BASELINE}
    if policy.segment_cap is not None and others:
        cuts = _factors(rows, policy.segment_cap, weights(others), sums, refusals)
        stats |= {m: others[m].model_copy(update={"factors": cut}) for m, cut in cuts.items()}
        stats = _kept(stats, refusals)
        sums = _kept(sums, refusals)
        if any(cuts.values()):
            sums = rows.sums(weights(stats))
    for method, method_sums in sums.items():
        share = method_sums.total**2 / (method_sums.there * method_sums.squares)
        with refusals.about(method):
            check_ess(method, share, warn=policy.ess_warn, refuse=policy.ess_refuse)
        update = {"scale": method_sums.rows / method_sums.total, "ess_share": share}
        stats[method] = stats[method].model_copy(update=update)
    return _kept(stats, refusals)


def _reached(points: Distribution) -> Distribution:
    """Points that a value reaches with other last digits too, which it has in another batch."""
    return tuple((value + _SLACK * abs(value), share) for value, share in points)


def _kept(by_method: Mapping[str, Kept], refusals: Refusals) -> dict[str, Kept]:
    """Without the refused methods."""
    return {m: value for m, value in by_method.items() if m not in refusals.errors}


def weight(
    importance: Column, policy: Weighting, stats: PolicyStats, segment: Column | None = None
) -> Column:
    """The weight of the rows of a frame, by the formula of the module.

    Args:
        importance: the importance of the row.
        policy: the section ``weighting``.
        stats: what the policy learnt.
        segment: the segment of the row, used if segments have a cap; the column ``segment`` by
            default.
    """
    segment = F.col("segment") if segment is None else segment
    return weight_by(COLUMNS, policy, importance.cast("double"), stats, segment)


def weight_in_memory(
    importance: Array, policy: Weighting, stats: PolicyStats, segment: Any = None
) -> Array:
    """The weights of rows in memory, by the same formula, float64 [N].

    Args:
        importance: importance of the rows, float64 [N].
        policy: the section ``weighting``.
        stats: what the policy learnt.
        segment: segments of the rows, [N], used if segments have a cap.
    """
    return weight_by(ARRAYS, policy, importance, stats, segment)


def weight_by(
    arithmetic: Arithmetic[Value],
    policy: Weighting,
    importance: Value,
    stats: PolicyStats,
    segment: Any,
) -> Value:
    """The weights by the formula of the module, over any operations.

    Args:
        arithmetic: the operations.
        policy: the section ``weighting``.
        importance: importance of the rows.
        stats: what the policy learnt.
        segment: segments of the rows, as ``arithmetic.factor`` takes them; used if some have a
            factor.
    """
    tempered = _tempered(arithmetic, importance, policy, stats)
    weight = (1 - policy.mix) + policy.mix * tempered / stats.mean
    if stats.cap is not None:
        weight = arithmetic.clip(weight, -math.inf, stats.cap)
    if stats.factors:
        # Small by nature: fewer than 1 / segment_cap segments can exceed the cap.
        weight = weight * arithmetic.factor(segment, stats.factors)
    return weight * stats.scale


def _tempered(
    arithmetic: Arithmetic[Value], importance: Value, policy: Weighting, stats: PolicyStats
) -> Value:
    mapped = importance
    if stats.map == "flip":
        mapped = 1 - importance
    elif stats.map == "rank":
        rank = arithmetic.share_at_or_below(importance, stats.ranks)
        mapped = 1 - rank if stats.falling else rank
    if policy.temper == 1:
        return mapped
    tempered = arithmetic.power(mapped, policy.temper)
    # An even exponent would hide that a value is negative, and so no weight. Ranks never are.
    return tempered if stats.map == "rank" else arithmetic.where(mapped < 0, mapped, tempered)


def _map(policy: Weighting, method: WeighedMethod) -> Literal["identity", "rank", "flip"]:
    if policy.map != "auto":
        return policy.map
    if method.signed:
        return "rank"
    return "flip" if method.polarity == "suspicious" else "identity"


def _with_caps(
    rows: TrainingRows[Value],
    policy: Weighting,
    stats: dict[str, PolicyStats],
    weights: Callable[[Mapping[str, PolicyStats]], dict[str, Value]],
    refusals: Refusals,
) -> dict[str, PolicyStats]:
    caps = dict.fromkeys(stats, policy.clip_ratio)
    if policy.clip_quantile is not None:
        for method, points in rows.distributions(weights(stats)).items():
            with refusals.about(method):
                limit = quantile(points, policy.clip_quantile)
                check_limit(method, limit, policy.clip_quantile)
                caps[method] = min(limit, caps[method] or limit)
    return {m: s.model_copy(update={"cap": caps[m]}) for m, s in stats.items()}


def _factors(
    rows: TrainingRows[Value],
    cap: float,
    weights: Mapping[str, Value],
    sums: Mapping[str, Sums],
    refusals: Refusals,
) -> dict[str, dict[str, float]]:
    """Method -> segment -> factor of its weights."""
    # Small by nature: at most 1 / cap segments can have the share `cap`.
    totals = rows.segment_totals(weights, math.ceil(1 / cap) + 1)
    if not any(totals.values()):
        raise WeightError(
            "weighting.segment_cap has no segments to cap",
            expected="training rows with a segment",
            got="null segments in all of them",
            fix="set sampling.segment to an expression with few values, or segment_cap to null",
        )
    cuts = {}
    for method in weights:
        with refusals.about(method):
            cuts[method] = factors(method, totals[method], sums[method].total, cap)
    return cuts


def _mixed(sums: Sums, policy: Weighting, mean: float) -> Sums:
    """The sums of a + b s, which need no extra pass over the rows; not where they are thinned."""
    a, b = 1 - policy.mix, policy.mix / mean
    total = a * sums.rows + b * sums.total
    squares = a * a * sums.rows + 2 * a * b * sums.total + b * b * sums.squares
    return Sums(sums.rows, total, squares, a + b * sums.low, sums.bad, sums.there)
