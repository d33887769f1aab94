"""The ranker: scikit-learn's weighted logistic regression, on Spark."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.linear_model import LogisticRegression as ScikitLearn

from reweight.core.columns import soft_label
from reweight.core.errors import WeightError
from reweight.train_ranker import rotation
from reweight.train_ranker.checks import check_training
from reweight.train_ranker.rankers.base import FittedRanker, with_probabilities
from reweight.train_ranker.rankers.logistic_regression import (
    FittedLogisticRegression,
    LogisticRegression,
)
from reweight.train_ranker.recalibration import recalibrated
from reweight.train_ranker.rotation import Rotation
from reweight.train_ranker.rows import doubled, gathered, weighted_train, with_columns, with_vector

Array = NDArray[np.float64]
ROWS = 500
CARDINALITIES = (3, 4)
# Tight, so that what is compared is the problem and not where an optimiser stopped.
EXACT = LogisticRegression(max_iter=300, tol=1e-12)


GENERATOR = np.random.default_rng(0)
FEATURES = GENERATOR.normal(size=(ROWS, 4)).astype(np.float32).astype(float)
IDS = np.stack([GENERATOR.integers(0, size, ROWS) for size in CARDINALITIES], axis=1)
SCORE = 1.5 * FEATURES[:, 0] - FEATURES[:, 1] + (IDS[:, 1] == 2) - 1.5
LABEL = (GENERATOR.random(ROWS) < 1 / (1 + np.exp(-SCORE))).astype(float)
WEIGHTS = {
    "uniform": np.ones(ROWS),
    "gamma": GENERATOR.gamma(1.0, 1.0, ROWS),
    "balanced": np.where(LABEL == 1, ROWS / (2 * LABEL.sum()), ROWS / (2 * (1 - LABEL).sum())),
    "raw": 10 * GENERATOR.random(ROWS),
}


def design() -> Array:
    """Dense features, then each field one-hot."""
    hot = [np.eye(size)[IDS[:, f]] for f, size in enumerate(CARDINALITIES)]
    return np.concatenate([FEATURES, *hot], axis=1)


@pytest.fixture(scope="module")
def samples(spark: SparkSession) -> DataFrame:
    schema = spark.createDataFrame(
        [],
        "sample_id bigint, features array<float>, ids array<int>, label double, "
        + ", ".join(f"{name} double" for name in WEIGHTS),
    ).schema
    columns = [np.arange(ROWS), FEATURES, IDS, LABEL, *WEIGHTS.values()]
    rows = list(zip(*[column.tolist() for column in columns], strict=True))
    return spark.createDataFrame(rows, schema).coalesce(1).cache()


@pytest.fixture(scope="module")
def train(samples: DataFrame) -> DataFrame:
    return with_vector(samples, ()).cache()


@pytest.fixture(scope="module")
def ranker(train: DataFrame) -> FittedRanker:
    return EXACT.fitted(train, "balanced", WEIGHTS["balanced"].sum())


def coefficients(ranker: FittedRanker) -> Array:
    return np.append(ranker.model.coefficients.toArray(), ranker.model.intercept)


def scikit_learns(columns: Array, weights: Array, c: float) -> Array:
    model = ScikitLearn(C=c, tol=1e-12, max_iter=5000)
    model.fit(columns, LABEL, sample_weight=weights)
    return np.append(model.coef_[0], model.intercept_[0])


@pytest.mark.parametrize(("name", "c"), [("uniform", 1.0), ("gamma", 0.01), ("gamma", 10.0)])
def test_the_ranker_is_scikit_learns_with_the_same_weights(
    train: DataFrame, name: str, c: float
) -> None:
    ranking = EXACT.model_copy(update={"C": c})
    found = ranking.fitted(train, name, WEIGHTS[name].sum())
    wanted = scikit_learns(FEATURES, WEIGHTS[name], c)
    np.testing.assert_allclose(coefficients(found), wanted, atol=1e-4)


def test_ids_are_fitted_as_scikit_learn_fits_their_one_hot_columns(samples: DataFrame) -> None:
    rows = with_vector(samples, CARDINALITIES)
    found = EXACT.fitted(rows, "gamma", WEIGHTS["gamma"].sum())
    wanted = scikit_learns(design(), WEIGHTS["gamma"], 1.0)
    np.testing.assert_allclose(coefficients(found), wanted, atol=1e-4)


def test_on_principal_components_it_is_the_same_model_in_fewer_iterations(
    samples: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two features that say almost the same, one that says exactly what another says, a constant.
    more = [
        "transform(slice(features, 1, 1), x -> x + float(0.01) * features[2] * features[3])",
        "slice(features, 2, 1)",
        "array(float(3))",
    ]
    samples = samples.withColumn("features", F.expr(f"concat(features, {', '.join(more)})"))
    dim = FEATURES.shape[1] + len(more)
    assert Rotation.of(samples, dim) is None
    monkeypatch.setattr(rotation, "_FEWEST", ROWS)
    by = Rotation.of(samples, dim)
    assert by is not None
    # Neither the copy nor the constant varies on its own.
    q = by.components
    np.testing.assert_allclose(q.T @ q, np.eye(dim - 2), atol=1e-12)
    rows = with_columns(samples, ("vector", "rotated"), CARDINALITIES, rotation=by)
    ranking, total = EXACT.model_copy(update={"C": 1e5}), WEIGHTS["gamma"].sum()
    plain, turned = (ranking.fitted(rows, "gamma", total, r) for r in (None, by))
    np.testing.assert_allclose(coefficients(turned), coefficients(plain), atol=1e-3)
    assert turned.iterations < plain.iterations / 2
    log_odds = turned.with_margin(plain.with_margin(rows, "plain"), "turned")
    assert log_odds.where("abs(plain - turned) > 1e-3").count() == 0
    assert Rotation.of(samples, 300) is None


def test_weights_of_mean_1_with_the_raw_sum_are_fitted_as_the_raw_weights(
    train: DataFrame,
) -> None:
    raw = WEIGHTS["raw"]
    rows = train.withColumn("scaled", F.col("raw") / float(raw.mean()))
    ranking = EXACT.model_copy(update={"C": 0.01})
    found = ranking.fitted(rows, "scaled", raw.sum())
    wanted = scikit_learns(FEATURES, raw, 0.01)
    np.testing.assert_allclose(coefficients(found), wanted, atol=1e-4)
    other = ranking.fitted(rows, "scaled", ROWS)
    assert np.abs(coefficients(other) - wanted).max() > 1e-2


@pytest.fixture(scope="module")
def soft(train: DataFrame) -> DataFrame:
    """Rows with soft labels of `gamma`, some of them 0 and 1."""
    own = F.least(F.lit(1.0), F.greatest(F.lit(0.0), F.col("raw") / 8 - 0.1))
    return train.withColumn(soft_label("gamma"), own).cache()


def test_soft_labels_are_fitted_as_scikit_learn_fits_both_rows_of_each(soft: DataFrame) -> None:
    g, w = np.clip(WEIGHTS["raw"] / 8 - 0.1, 0, 1), WEIGHTS["gamma"]
    rows = doubled(soft, "gamma")
    assert rows.count() == (w * g > 0).sum() + (w * (1 - g) > 0).sum() < 2 * ROWS
    model = ScikitLearn(C=0.1, tol=1e-12, max_iter=5000)
    twice = np.concatenate([FEATURES, FEATURES]), np.repeat([1.0, 0.0], ROWS)
    model.fit(*twice, sample_weight=np.concatenate([w * g, w * (1 - g)]))
    total = check_training(soft, ["gamma"], 0.1, ["gamma"])["gamma"]
    found = EXACT.model_copy(update={"C": 0.1}).fitted(rows, "gamma", total)
    wanted = np.append(model.coef_[0], model.intercept_[0])
    np.testing.assert_allclose(coefficients(found), wanted, atol=1e-4)


def test_doubling_rows_moves_none_of_them(soft: DataFrame) -> None:
    rows = doubled(soft, "gamma")
    assert rows.rdd.getNumPartitions() == soft.rdd.getNumPartitions()
    assert "Exchange" not in rows._jdf.queryExecution().executedPlan().toString()


def test_a_constant_factor_in_the_weights_does_not_move_the_fit(train: DataFrame) -> None:
    rows = train.withColumn("ten", 10 * F.col("gamma"))
    one, ten = (EXACT.fitted(rows, name, 500.0) for name in ("gamma", "ten"))
    np.testing.assert_allclose(coefficients(one), coefficients(ten), atol=1e-8)


def test_the_vector_is_dense_features_then_each_field_one_hot(samples: DataFrame) -> None:
    rows = with_vector(samples, CARDINALITIES).orderBy("sample_id").limit(40).collect()
    np.testing.assert_array_equal([r["vector"].toArray() for r in rows], design()[:40])
    assert "features" in rows[0].asDict()
    assert not [name for name in rows[0].asDict() if name.startswith("_")]


def test_one_hot_sizes_do_not_depend_on_the_ids_that_occur(samples: DataFrame) -> None:
    few = samples.where("ids[0] = 0 and ids[1] = 1")
    assert len(with_vector(few, CARDINALITIES).first()["vector"]) == 4 + 3 + 4  # type: ignore[index]


def test_margins_and_probabilities_are_those_of_the_coefficients(
    train: DataFrame, ranker: FittedRanker
) -> None:
    rankers = {"own": ranker, "moved": ranker.shifted(-0.7)}
    margins = ranker.with_log_odds(train, "own")
    margins = rankers["moved"].with_log_odds(margins, "moved").orderBy("sample_id").toPandas()
    beta = coefficients(ranker)
    wanted = FEATURES @ beta[:-1] + beta[-1]
    np.testing.assert_allclose(margins["own"], wanted, atol=1e-9)
    np.testing.assert_allclose(margins["moved"], wanted - 0.7, atol=1e-9)
    judged = with_probabilities(train, rankers)
    assert judged.columns == [*train.columns, "own", "moved"]
    found = judged.orderBy("sample_id").select("own", "moved").toPandas()
    np.testing.assert_allclose(found["own"], 1 / (1 + np.exp(-wanted)), atol=1e-12)
    np.testing.assert_allclose(found["moved"], 1 / (1 + np.exp(0.7 - wanted)), atol=1e-12)


class Adding(FittedLogisticRegression):
    """Adds its column without replacing one of that name, as trees do."""

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        scored = super().with_margin(rows, "_added")
        return scored.select(*rows.columns, F.col("_added").alias(column))


@pytest.mark.parametrize("shift", [0.0, 12.0, -15.0])
def test_recalibration_makes_the_mean_prediction_the_label_rate(
    train: DataFrame, ranker: FittedRanker, shift: float
) -> None:
    beta = coefficients(ranker)
    margin = FEATURES @ beta[:-1] + beta[-1]
    rate = LABEL.mean()
    assert abs((1 / (1 + np.exp(-margin))).mean() - rate) > 0.05
    # Beside a column of weights with any name that a method may have.
    named = train.withColumn("z", F.lit(1.0))
    found = recalibrated(Adding(ranker.model, shift=shift), named)
    assert (1 / (1 + np.exp(-margin - found.shift))).mean() == pytest.approx(rate, abs=1e-5)
    assert coefficients(found) == pytest.approx(beta)


def test_sums_of_the_weights_are_given_back(train: DataFrame) -> None:
    sums = check_training(train, list(WEIGHTS), floor=0.1)
    assert sums == {name: pytest.approx(w.sum()) for name, w in WEIGHTS.items()}


BAD = {
    "null": ("if(sample_id = 3, null, 1D)", "1 weights that are null, negative or not finite"),
    "nan": ("if(sample_id = 3, double('NaN'), 1D)", "1 weights"),
    "infinite": ("if(sample_id = 3, double('Infinity'), 1D)", "1 weights"),
    "negative": ("if(sample_id < 3, -1D, 1D)", "3 weights"),
    "zero": ("0D", "weight sums 0 for label 0 and 0 for label 1"),
    "no_positive": ("if(label = 1, 0D, 1D)", "for label 0 and 0 for label 1"),
    "no_negative": ("if(label = 0, 0D, 1D)", "weight sums 0 for label 0"),
    "tiny_ess": ("if(sample_id % 50 = 0, 1D, 1E-6)", "an effective sample size of 2.0% of"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_weights_that_cannot_be_trained_on_are_refused(samples: DataFrame, name: str) -> None:
    sql, came = BAD[name]
    rows = samples.withColumn(name, F.expr(sql))
    with pytest.raises(WeightError) as error:
        check_training(rows, ["uniform", name], floor=0.05)
    assert f"'{name}'" in str(error.value)
    assert came in str(error.value)


@pytest.mark.parametrize(
    ("sql", "came"),
    [
        ("if(sample_id = 3, null, 0.5D)", "1 weights"),
        ("if(sample_id < 2, 1.5D, 0.5D)", "2 weights"),
        ("if(sample_id = 3, double('NaN'), 0.5D)", "or soft labels outside [0, 1]"),
        ("0D", "for label 0 and 0 for label 1"),
    ],
)
def test_soft_labels_that_cannot_be_trained_on_are_refused(
    samples: DataFrame, sql: str, came: str
) -> None:
    rows = samples.withColumn(soft_label("uniform"), F.expr(sql))
    with pytest.raises(WeightError) as error:
        check_training(rows, ["gamma", "uniform"], 0.05, ["uniform"])
    assert came in str(error.value)


def test_samples_that_are_newer_than_their_weights_are_refused(samples: DataFrame) -> None:
    rows = samples.select("sample_id", "features", "ids", "label", F.lit("train").alias("split"))
    wide = samples.where("sample_id < 490").select("sample_id", "gamma")
    train = weighted_train(rows, wide, (), ["gamma"])
    assert train.count() == ROWS
    with pytest.raises(WeightError) as error:
        check_training(train, ["gamma"], floor=0.0)
    assert error.value.got.startswith("10 weights that are null")
    assert error.value.fix.startswith("run score_weights again")


@pytest.mark.parametrize("label", [0, 1])
def test_rows_of_one_class_are_refused(samples: DataFrame, label: int) -> None:
    rows = samples.where(F.col("label") == label)
    with pytest.raises(WeightError, match="both classes with weight"):
        check_training(rows, ["uniform"], floor=0.0)


def test_the_floor_of_the_effective_sample_size_is_a_setting(samples: DataFrame) -> None:
    w = WEIGHTS["gamma"]
    share = w.sum() ** 2 / (ROWS * (w**2).sum())
    assert check_training(samples, ["gamma"], floor=share - 0.01)
    with pytest.raises(WeightError, match="effective sample size"):
        check_training(samples, ["gamma"], floor=share + 0.01)


@pytest.mark.parametrize(
    ("rows", "partitions"), [(0, 1), (100, 1), (5_000, 2), (100_000, 2), (1_000_000, 9)]
)
def test_rows_are_in_as_many_partitions_as_are_worth_a_task(
    spark: SparkSession, rows: int, partitions: int
) -> None:
    """On two cores, with 1,200 bytes a row."""
    assert spark.sparkContext.defaultParallelism == 2
    train = gathered(spark.range(1, numPartitions=20), rows, 100)
    assert train.rdd.getNumPartitions() == partitions
