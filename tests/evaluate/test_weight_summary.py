"""What the weights are like: against numpy, however the rows are partitioned."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.distribution import distribution
from reweight.evaluate.weight_summary import (
    drivers,
    extremes,
    histogram,
    segment_shares,
    weight_facts,
    weight_sums,
)

Array = NDArray[np.float64]
ROWS = 1500
GENERATOR = np.random.default_rng(0)
LABEL = (GENERATOR.random(ROWS) < 0.25).astype(float)
FEATURES = GENERATOR.normal(size=(ROWS, 3)).astype(np.float32).astype(float)
FEATURES[:, 2] = 1.0  # constant: it has no correlation


def scaled(values: Array) -> Array:
    return values / values.mean()


WEIGHTS = {
    "uniform": np.ones(ROWS),
    "spread": scaled(GENERATOR.lognormal(0, 1.5, ROWS)),
    "driven": scaled(np.exp(0.5 * LABEL - 0.8 * FEATURES[:, 1] + GENERATOR.normal(0, 0.2, ROWS))),
    "zeros": scaled(np.where(np.arange(ROWS) % 5 == 0, 0.0, 1 + GENERATOR.random(ROWS))),
}
METHODS = list(WEIGHTS)
NAMES = ["price", "position", "constant"]


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    schema = spark.createDataFrame(
        [],
        "sample_id bigint, label float, features array<float>, "
        + ", ".join(f"{method} double" for method in METHODS),
    ).schema
    columns = [np.arange(ROWS), LABEL, FEATURES, *WEIGHTS.values()]
    rows = list(zip(*[column.tolist() for column in columns], strict=True))
    return spark.createDataFrame(rows, schema).coalesce(1).cache()


@pytest.fixture(scope="module")
def facts(train: DataFrame) -> dict[str, dict[str, float]]:
    return facts_of(train)


Facts = dict[str, dict[str, float]]


def facts_of(rows: DataFrame) -> Facts:
    spread = distribution(rows, {m: F.col(m) for m in METHODS})
    return weight_facts(weight_sums(rows, METHODS), spread)


@pytest.mark.parametrize("method", METHODS)
def test_the_effective_sample_size_is_kishs(facts: Facts, method: str) -> None:
    w, found = WEIGHTS[method], facts[method]
    ess = w.sum() ** 2 / (w**2).sum()
    assert found["ess"] == pytest.approx(ess, rel=1e-9)
    assert found["ess_share"] == pytest.approx(ess / ROWS, rel=1e-9)
    # The design effect is 1 plus the squared coefficient of variation.
    assert found["design_effect"] == pytest.approx(1 + w.var() / w.mean() ** 2, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_quantiles_are_numpys_within_the_width_of_a_bin(facts: Facts, method: str) -> None:
    w, found = WEIGHTS[method], facts[method]
    assert (found["min"], found["max"]) == (w.min(), w.max())
    assert found["mean"] == pytest.approx(1, abs=1e-9)
    assert found["share_zero"] == pytest.approx((w == 0).mean())
    for percent in (1, 5, 25, 50, 75, 95, 99):
        wanted = np.quantile(w, percent / 100, method="inverted_cdf")
        assert wanted <= found[f"q{percent:02d}"] <= wanted * 2 ** (1 / 128)


def test_facts_do_not_depend_on_how_rows_are_partitioned(train: DataFrame, facts: Facts) -> None:
    moved = facts_of(train.repartition(6))
    for method, own in facts.items():
        assert moved[method] == pytest.approx(own, rel=1e-9)


def test_the_histogram_has_the_share_of_rows_between_its_edges(train: DataFrame) -> None:
    found = histogram(distribution(train, {m: F.col(m) for m in METHODS}))
    for method, (edges, shares) in found.items():
        w = WEIGHTS[method]
        assert sum(shares) == pytest.approx(1)
        np.testing.assert_allclose(edges, np.logspace(-2, 2, 41)[:-1])
        # Weights beyond the edges are in the outermost bins.
        inside = np.clip(w, 0.01, 99.99)
        wanted = np.histogram(inside, np.logspace(-2, 2, 41))[0] / ROWS
        np.testing.assert_allclose(np.cumsum(shares), np.cumsum(wanted), atol=0.005)


def test_drivers_are_correlations_with_label_and_features(train: DataFrame) -> None:
    found = drivers(train, ROWS, METHODS, NAMES, seed=0)
    for method in ("spread", "driven", "zeros"):
        w, own = WEIGHTS[method], found[method]
        assert own["label"] == pytest.approx(np.corrcoef(w, LABEL)[0, 1], abs=1e-9)
        for place, name in enumerate(NAMES[:2]):
            wanted = np.corrcoef(w, FEATURES[:, place])[0, 1]
            assert own[name] == pytest.approx(wanted, abs=1e-9)
    assert next(iter(found["driven"])) == "position"
    sizes = [abs(value) for value in found["driven"].values()]
    assert sizes == sorted(sizes, reverse=True)


def test_what_does_not_vary_drives_nothing(train: DataFrame) -> None:
    found = drivers(train, ROWS, METHODS, NAMES, seed=0)
    assert found["uniform"] == {"label": 0.0}
    assert all("constant" not in own for own in found.values())


def test_drivers_of_many_rows_are_measured_on_a_hashed_sample(train: DataFrame) -> None:
    # 50,000 of 100,000 rows are looked at: half of those that are there.
    half = drivers(train, 100_000, ["driven"], NAMES, seed=0)["driven"]
    wanted = np.corrcoef(WEIGHTS["driven"], FEATURES[:, 1])[0, 1]
    assert half["position"] == pytest.approx(wanted, abs=0.1)
    assert half["position"] != pytest.approx(wanted, abs=1e-9)
    moved = train.repartition(3).orderBy(F.rand(1))
    assert drivers(moved, 100_000, ["driven"], NAMES, seed=0)["driven"] == pytest.approx(half)
    assert drivers(train, 100_000, ["driven"], NAMES, seed=1)["driven"] != pytest.approx(half)


def test_the_rows_of_the_most_and_the_least_weight_are_shown_with_what_drives_them(
    train: DataFrame,
) -> None:
    known = {"driven": {"position": -0.8, "label": 0.4, "price": 0.01}, "uniform": {"label": 0.0}}
    for rows in (train, train.repartition(5)):
        found = extremes(rows, ["driven", "uniform"], NAMES, known)
        order = np.argsort(-WEIGHTS["driven"], kind="stable")
        highest, lowest = found["driven"]["highest"], found["driven"]["lowest"]
        assert [int(row["sample_id"]) for row in highest] == order[:50].tolist()
        assert [int(row["sample_id"]) for row in lowest] == order[::-1][:50].tolist()
        assert highest[0] == {
            "sample_id": str(order[0]),
            "label": LABEL[order[0]],
            "weight": pytest.approx(WEIGHTS["driven"][order[0]]),
            "features": pytest.approx(
                {"position": FEATURES[order[0], 1], "price": FEATURES[order[0], 0]}
            ),
        }
        # Of equal weights those of the first ids, with the first features as none drives them.
        same = found["uniform"]["lowest"]
        assert [int(row["sample_id"]) for row in same] == list(range(50))
        assert list(same[0]["features"]) == NAMES


def test_segments_have_their_shares_of_rows_and_weight(spark: SparkSession) -> None:
    rows = [("a", 1.0, 4.0), ("a", 1.0, 2.0), ("b", 1.0, 1.0), (None, 1.0, 3.0)]
    train = spark.createDataFrame(rows, "segment string, even double, uneven double")
    methods = ["even", "uneven"]
    found = segment_shares(train, weight_sums(train, methods), methods)
    assert found == [
        {"segment": "a", "rows": 0.5, "weight": {"even": 0.5, "uneven": 0.6}},
        {"segment": "b", "rows": 0.25, "weight": {"even": 0.25, "uneven": 0.1}},
    ]
