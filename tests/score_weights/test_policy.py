"""The weight policy: its formula, mean 1 over training whatever the options, and its guards."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy.stats import rankdata

from reweight.core.baselines import BASELINE
from reweight.core.columns import soft_label
from reweight.core.errors import WeightError
from reweight.score_weights.policy import (
    PolicyStats,
    Weighting,
    fit_policy,
    weight,
    weight_in_memory,
)
from reweight.score_weights.rows import wide_weights
from reweight.score_weights.training_rows import FrameRows, MemoryRows

Array = NDArray[np.float64]
ROWS = 600
GENERATOR = np.random.default_rng(0)
# Values on grids wider than the bins of a distribution, so that ranks and quantiles are exact.
IMPORTANCE: dict[str, Array] = {
    "wide": 1.1 ** GENERATOR.integers(-20, 20, ROWS),
    "narrow": GENERATOR.integers(1, 40, ROWS) / 40,
    "some_zero": np.maximum(GENERATOR.integers(-10, 30, ROWS), 0) / 8.0,
}
POLARITY = {"wide": "valuable", "narrow": "suspicious", "some_zero": "hard"}


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    rows = zip(range(ROWS), *[values.tolist() for values in IMPORTANCE.values()], strict=True)
    return spark.createDataFrame(list(rows), ["sample_id", *IMPORTANCE]).coalesce(1).cache()


@dataclass(frozen=True)
class Weighed:
    """What the policy asks of a method."""

    name: str
    polarity: str = "valuable"
    signed: bool = False


def fit(
    rows: DataFrame, policy: Weighting, polarity: dict[str, str], signed: bool = False
) -> dict[str, PolicyStats]:
    methods = [Weighed(name, kind, signed) for name, kind in polarity.items()]
    return fit_policy(FrameRows(rows), policy, methods)


def in_memory(
    method: Weighed, importance: Array, policy: Weighting, segments: Any = None
) -> tuple[Array, PolicyStats]:
    """Weights of training rows in memory, and what the policy learnt."""
    rows = MemoryRows({method.name: importance}, segments)
    stats = fit_policy(rows, policy, [method])[method.name]
    return weight_in_memory(importance, policy, stats, segments), stats


def weights(rows: DataFrame, policy: Weighting, stats: dict[str, PolicyStats]) -> dict[str, Array]:
    columns = [weight(F.col(m), policy, s).alias(m) for m, s in stats.items()]
    found = rows.select("sample_id", *columns).toPandas().sort_values("sample_id")
    return {method: found[method].to_numpy(float) for method in stats}


def expected(importance: Array, policy: Weighting, polarity: str) -> Array:
    """The formula in numpy."""
    kind = policy.map
    if kind == "auto":
        kind = "flip" if polarity == "suspicious" else "identity"
    if kind == "rank":
        mapped = rankdata(importance, method="max") / len(importance)
        mapped = 1 - mapped if polarity == "suspicious" else mapped
    else:
        mapped = 1 - importance if kind == "flip" else importance
    tempered = mapped**policy.temper
    w = 1 - policy.mix + policy.mix * tempered / tempered.mean()
    caps = []
    if policy.clip_quantile is not None:
        caps.append(np.quantile(w, policy.clip_quantile, method="inverted_cdf"))
    if policy.clip_ratio is not None:
        caps.append(policy.clip_ratio)
    if caps:
        w = np.minimum(w, min(caps))
    return np.asarray(w / w.mean())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"map": "rank", "temper": 0.5, "clip_quantile": 0.7},
        {"temper": 2},
        {"mix": 0.3},
        {"clip_ratio": 1.5},
        {"clip_quantile": 0.9, "clip_ratio": 1.2},
        {"clip_quantile": 0.6, "clip_ratio": 5.0},
        {"temper": 0.7, "mix": 0.8, "clip_ratio": 2.0},
    ],
    ids=lambda options: ",".join(options) or "default",
)
def test_weights_follow_the_formula_and_have_mean_1(
    train: DataFrame, options: dict[str, Any]
) -> None:
    policy = Weighting.model_validate({"ess_refuse": 0, "ess_warn": 0} | options)
    stats = fit(train, policy, POLARITY)
    for method, found in weights(train, policy, stats).items():
        wanted = expected(IMPORTANCE[method], policy, POLARITY[method])
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)
        weighed = Weighed(method, POLARITY[method])
        memory, learnt = in_memory(weighed, IMPORTANCE[method], policy)
        np.testing.assert_allclose(memory, found, rtol=1e-9, atol=1e-12)
        assert (learnt.map, learnt.ranks) == (stats[method].map, stats[method].ranks)
        assert (learnt.cap is None) == (stats[method].cap is None)
        for number in ("mean", "scale", "raw_sum", "rows", "ess_share"):
            expected_number = getattr(stats[method], number)
            assert getattr(learnt, number) == pytest.approx(expected_number, rel=1e-9), number
        assert found.mean() == pytest.approx(1, abs=1e-9)
        assert (found >= 0).all()
        assert stats[method].ess_share == pytest.approx(1 / (wanted**2).mean(), rel=1e-9)
        assert stats[method].raw_sum == pytest.approx(IMPORTANCE[method].sum(), rel=1e-9)
        assert stats[method].rows == ROWS


@pytest.mark.parametrize(
    ("importance", "options", "said"),
    [
        ([1.0, np.nan], {}, "is not finite"),
        ([1.0, -1.0], {}, "gives no valid weights"),
        ([-3.0, 1.0, 2.0, 3.0], {"map": "identity", "temper": 2.0}, "minimum -3, sum"),
        ([-3.0, 1.0, 2.0, 3.0], {"map": "identity", "temper": 0.5}, "minimum -3, sum"),
        ([0.1, 0.5, 3.0], {"map": "flip", "temper": 2.0}, "minimum -2, sum"),
        ([0.0, 0.0], {}, "gives no valid weights"),
        ([0.0] * 9 + [1.0], {"clip_quantile": 0.5}, "clip_quantile"),
        ([0.0] * 30 + [1.0], {}, "too few effective samples"),
    ],
    ids=[
        *("not finite", "negative", "negative squared", "negative root", "flipped and squared"),
        *("all 0", "clipped to 0", "ESS"),
    ],
)
def test_what_spark_refuses_is_refused_in_memory(
    importance: list[float], options: dict[str, Any], said: str
) -> None:
    policy = Weighting.model_validate(options)
    with pytest.raises(WeightError, match=said):
        in_memory(Weighed("m"), np.array(importance), policy)


@pytest.mark.parametrize("options", [{"temper": 0}, {"mix": 0}])
def test_both_ends_of_temper_and_mix_are_uniform(train: DataFrame, options: dict[str, Any]) -> None:
    policy = Weighting.model_validate(options)
    stats = fit(train, policy, POLARITY)
    for found in weights(train, policy, stats).values():
        np.testing.assert_allclose(found, 1, rtol=1e-12)


def test_a_constant_factor_in_importance_does_not_matter(train: DataFrame) -> None:
    policy = Weighting(temper=0.5, mix=0.9, clip_ratio=2.0)
    scaled = train.withColumn("wide", 1000 * F.col("wide"))
    one, two = (
        weights(rows, policy, fit(rows, policy, {"wide": "valuable"}))["wide"]
        for rows in (train, scaled)
    )
    np.testing.assert_allclose(one, two, rtol=1e-9)


def test_the_numbers_are_those_of_training_and_weigh_later_rows(
    spark: SparkSession, train: DataFrame
) -> None:
    policy = Weighting(clip_ratio=2.0)
    stats = fit(train, policy, {"wide": "valuable"})
    stored = {m: PolicyStats.model_validate_json(s.model_dump_json()) for m, s in stats.items()}
    assert stored == stats
    later = spark.createDataFrame([(0, 0.0), (1, 1.0), (2, 1e6)], ["sample_id", "wide"])
    mean = IMPORTANCE["wide"].mean()
    scale = 1 / np.minimum(IMPORTANCE["wide"] / mean, 2).mean()
    found = weights(later, policy, stored)["wide"]
    np.testing.assert_allclose(found, [0, scale / mean, 2 * scale], rtol=1e-9)


def test_ranks_of_later_rows_are_those_they_would_have_had_in_training(
    spark: SparkSession, train: DataFrame
) -> None:
    policy = Weighting(map="rank")
    stats = fit(train, policy, {"some_zero": "hard"})
    values = IMPORTANCE["some_zero"]
    later = spark.createDataFrame(
        [(0, -1.0), (1, 0.0), (2, 1.0), (3, 99.0), (4, 1 + 5e-7)], ["sample_id", "some_zero"]
    )
    found = weights(later, policy, stats)["some_zero"]
    # The last one is that of a row with 1 in another batch, where sums end in other digits.
    zero, one = (values <= 0).mean(), (values <= 1).mean()
    shares = np.array([zero, zero, one, 1.0, one])
    mean = (rankdata(values, method="max") / ROWS).mean()
    np.testing.assert_allclose(found, shares / mean, rtol=1e-9)


def test_rank_takes_importance_of_any_sign(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        list(enumerate([-30.0, -2.0, 0.0, 5.0])), ["sample_id", "influence"]
    )
    policy = Weighting(map="rank")
    stats = fit(rows, policy, {"influence": "valuable"})
    np.testing.assert_allclose(weights(rows, policy, stats)["influence"], [0.4, 0.8, 1.2, 1.6])


def test_the_highest_rank_of_a_suspicious_method_weighs_least(spark: SparkSession) -> None:
    rows = spark.createDataFrame(list(enumerate([-30.0, -2.0, 0.0, 5.0])), ["sample_id", "doubt"])
    policy = Weighting(map="rank")
    stats = fit(rows, policy, {"doubt": "suspicious"})
    np.testing.assert_allclose(weights(rows, policy, stats)["doubt"], [2, 4 / 3, 2 / 3, 0])


def test_importance_that_can_be_negative_is_ranked_unless_the_config_says_otherwise(
    spark: SparkSession,
) -> None:
    rows = spark.createDataFrame(list(enumerate([-3.0, 1.0, 2.0, 9.0])), ["sample_id", "margin"])
    stats = fit(rows, Weighting(), {"margin": "valuable"}, signed=True)
    np.testing.assert_allclose(weights(rows, Weighting(), stats)["margin"], [0.4, 0.8, 1.2, 1.6])
    signed = Weighed("m", signed=True)
    memory, _ = in_memory(signed, np.array([-3.0, 1, 2, 9]), Weighting())
    np.testing.assert_allclose(memory, [0.4, 0.8, 1.2, 1.6])
    with pytest.raises(WeightError, match="gives no valid weights"):
        fit(rows, Weighting(map="identity"), {"margin": "valuable"}, signed=True)


def test_suspicious_importance_is_flipped_and_no_other(train: DataFrame) -> None:
    stats = fit(train, Weighting(), POLARITY)
    assert {m: s.map for m, s in stats.items()} == {
        "wide": "identity",
        "narrow": "flip",
        "some_zero": "identity",
    }
    found = weights(train, Weighting(), stats)["narrow"]
    assert np.corrcoef(found, IMPORTANCE["narrow"])[0, 1] == pytest.approx(-1)


def frame(spark: SparkSession, values: list[float | None]) -> DataFrame:
    told = ", ".join("null" if v is None else f"double('{v}')" for v in values)
    return spark.sql(f"SELECT explode(array({told})) AS bad").coalesce(1)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (float("nan"), "auto"),
        (float("nan"), "rank"),
        (float("inf"), "auto"),
        (float("-inf"), "rank"),
        (None, "auto"),
    ],
)
def test_importance_that_is_not_finite_is_refused(
    spark: SparkSession, value: float | None, kind: str
) -> None:
    policy = Weighting.model_validate({"map": kind})
    with pytest.raises(WeightError, match="'bad' is not finite") as error:
        fit(frame(spark, [1.0, value, 2.0]), policy, {"bad": "valuable"})
    assert "1 rows" in str(error.value)


@pytest.mark.parametrize(
    ("values", "polarity", "temper"),
    [
        ([1.0, -0.5, 2.0], "valuable", 1.0),
        ([1.0, -0.5, 2.0], "valuable", 0.5),
        ([1.0, -0.5, 2.0], "valuable", 2.0),
        ([0.0, 0.0, 0.0], "valuable", 1.0),
        ([1.0, 1.0], "suspicious", 1.0),
        ([0.5, 1.5], "suspicious", 1.0),
    ],
    ids=[
        "negative",
        "negative root",
        "negative squared",
        "all zero",
        "flipped to zero",
        "flipped to negative",
    ],
)
def test_importance_that_makes_no_weights_is_refused(
    spark: SparkSession, values: list[float | None], polarity: str, temper: float
) -> None:
    with pytest.raises(
        WeightError, match=r"(?s)'bad' gives no valid weights.*weighting\.map to rank"
    ) as error:
        fit(frame(spark, values), Weighting(temper=temper), {"bad": polarity})
    assert "expected: values >= 0" in str(error.value)


# One row of weight among 20: ESS 1/20 of the rows; among 4: 1/4.
def test_a_tiny_effective_sample_size_is_refused_with_advice(spark: SparkSession) -> None:
    with pytest.raises(WeightError) as error:
        fit(frame(spark, [1.0] + [0.0] * 19), Weighting(), {"bad": "valuable"})
    for part in ("'bad'", "5.0%", "10%", "weighting.mix", "weighting.temper", "clip_ratio"):
        assert part in str(error.value)


def test_a_low_effective_sample_size_is_warned_of(
    spark: SparkSession, caplog: pytest.LogCaptureFixture
) -> None:
    rows = frame(spark, [1.0, 0.0, 0.0, 0.0])
    stats = fit(rows, Weighting(), {"bad": "valuable"})
    assert stats["bad"].ess_share == pytest.approx(0.25)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    for part in ("'bad'", "25.0%", "weighting.mix"):
        assert part in record.getMessage()
    caplog.clear()
    fit(rows, Weighting(mix=0.2), {"bad": "valuable"})
    assert not caplog.records


def test_the_limits_of_the_effective_sample_size_are_settings(spark: SparkSession) -> None:
    rows = frame(spark, [1.0, 1.0, 0.0])
    with pytest.raises(WeightError, match=r"66\.7%"):
        fit(rows, Weighting(ess_refuse=0.7), {"bad": "valuable"})
    assert fit(rows, Weighting(ess_refuse=0.6), {"bad": "valuable"})


def test_a_bad_method_is_named_among_good_ones(spark: SparkSession) -> None:
    rows = spark.createDataFrame([(1.0, -1.0), (2.0, 3.0)], ["good", "bad"])
    with pytest.raises(WeightError, match="'bad'"):
        fit(rows, Weighting(), {"good": "valuable", "bad": "valuable"})


@pytest.mark.parametrize(
    "options",
    [{"mix": 1.5}, {"mix": -0.1}, {"temper": -1}, {"clip_quantile": 1.0}, {"clip_ratio": 0.0}],
    ids=str,
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        Weighting.model_validate(options)


def test_long_weights_become_one_row_per_sample(spark: SparkSession) -> None:
    rows = [("a", 1, 0.5), ("b", 1, 1.5), ("b", 2, 2.0), ("a", 2, 3.0), ("c", 1, 9.0)]
    long = spark.createDataFrame(rows, ["method", "sample_id", "weight"])
    wide = wide_weights(long, ["b", "a"])
    assert wide.columns == ["sample_id", "b", "a"]
    assert sorted(map(tuple, wide.collect())) == [(1, 1.5, 0.5), (2, 2.0, 3.0)]


def test_soft_labels_come_along_where_a_method_has_them(spark: SparkSession) -> None:
    rows = [("a", 1, 0.5, None), ("b", 1, 1.5, 0.25), ("b", 2, 2.0, 1.0), ("a", 2, 3.0, None)]
    schema = "method string, sample_id bigint, weight double, label float"
    wide = wide_weights(spark.createDataFrame(rows, schema), ["a", "b"], ["b"])
    assert wide.columns == ["sample_id", "a", "b", soft_label("b")]
    assert sorted(map(tuple, wide.collect())) == [(1, 0.5, 1.5, 0.25), (2, 3.0, 2.0, 1.0)]


def test_a_cap_at_a_quantile_that_is_zero_is_refused(spark: SparkSession) -> None:
    rows = [(i, 1.0 if i == 0 else 0.0) for i in range(12)]
    train = spark.createDataFrame(rows, ["sample_id", "m"]).coalesce(1)
    policy = Weighting(clip_quantile=0.9, ess_refuse=0)
    with pytest.raises(WeightError, match=r"clip_quantile leaves 'm' no weights"):
        fit(train, policy, {"m": "valuable"})


# Of the rows of "wide" two segments hold most of the weight; every seventh row is of none.
SEGMENT = np.where(
    np.arange(ROWS) % 7 == 0, None, np.where(IMPORTANCE["wide"] > 1, "dear", "cheap")
)


def test_no_segment_has_more_than_its_cap_of_the_weight(train: DataFrame) -> None:
    segments = train.sparkSession.createDataFrame(
        [(i, s) for i, s in enumerate(SEGMENT.tolist())], "sample_id bigint, segment string"
    )
    # What all methods are compared to has no cap.
    rows = train.join(segments, "sample_id").withColumnRenamed("narrow", BASELINE).cache()
    polarity = {BASELINE if m == "narrow" else m: kind for m, kind in POLARITY.items()}
    policy = Weighting(segment_cap=0.5, clip_ratio=5, ess_refuse=0)
    stats = fit(rows, policy, polarity)
    found = weights(rows, policy, stats)
    assert set(stats["wide"].factors) == {"dear"}
    assert stats[BASELINE].factors == {}
    shares = {m: w[SEGMENT == "dear"].sum() / w.sum() for m, w in found.items()}
    free = expected(IMPORTANCE["wide"], policy, "valuable")
    assert free[SEGMENT == "dear"].sum() / ROWS > 0.6
    assert shares["wide"] == pytest.approx(0.5)
    for method, own in found.items():
        assert own.mean() == pytest.approx(1)
        ess = own.sum() ** 2 / (ROWS * (own**2).sum())
        assert stats[method].ess_share == pytest.approx(ess)
        importance = IMPORTANCE["narrow" if method == BASELINE else method]
        memory, _ = in_memory(Weighed(method, polarity[method]), importance, policy, SEGMENT)
        np.testing.assert_allclose(own, memory, rtol=1e-9)
    # Within a segment and beside it, weights keep their proportions.
    for part in (SEGMENT == "dear", SEGMENT != "dear"):
        np.testing.assert_allclose(np.ptp(found["wide"][part] / free[part]), 0, atol=1e-9)
