"""The score test: exact where it can be, right about as often as it says, blind to the rate."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import stats

from reweight.diagnose.drift import relation_drift
from reweight.diagnose.groups import rare_groups
from reweight.diagnose.relation import BUCKETS, Scores, crossed, departure, scores

Array = NDArray[np.float64]
ROWS, USERS = 8000, 800
NAMES = ["a", "b", "constant"]


def test_of_one_feature_it_is_the_chi_square_test() -> None:
    sums = np.random.default_rng(0).normal(0.2, 1, (BUCKETS, 1))
    found = departure(Scores(sums, np.full(BUCKETS, 2.5), np.zeros(1)), 0.0)
    q = sums.sum() ** 2 / (BUCKETS * sums.var(ddof=1))
    assert found.p == pytest.approx(stats.chi2.sf(q, 1), rel=0.05)
    assert found.size == pytest.approx(np.sqrt(max(0, q - 1) / 500))
    assert found.signed == pytest.approx([np.sqrt(q)])


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_scores_of_mean_0_are_rejected_as_often_as_they_should_be(alike: float) -> None:
    generator = np.random.default_rng(1)
    rejected = 0
    for _ in range(400):
        common = generator.normal(size=(BUCKETS, 1))
        sums = alike * common + np.sqrt(1 - alike**2) * generator.normal(size=(BUCKETS, 20))
        rejected += (
            departure(Scores(sums, generator.uniform(2, 8, BUCKETS), np.zeros(20)), 0.0).p < 0.05
        )
    assert 0.01 <= rejected / 400 <= 0.09


def test_where_few_groups_have_rows_the_model_says_how_scores_vary() -> None:
    few = np.zeros((BUCKETS, 1))
    few[:3, 0] = (2.0, 2.0, 2.1)  # three groups that agree: by themselves they would seem sure
    information = np.zeros(BUCKETS)
    information[:3] = 1.0
    sure, unsure = (departure(Scores(few, information, np.array([v])), 0.0) for v in (0.0, 36.0))
    assert sure.p < 1e-6
    assert unsure.p == pytest.approx(stats.chi2.sf(6.1**2 / 36, 1))


def test_features_that_do_not_vary_are_left_out() -> None:
    sums = np.random.default_rng(2).normal(size=(BUCKETS, 3))
    wider = np.hstack([sums, np.zeros((BUCKETS, 2))])
    found, wanted = (
        departure(Scores(s, np.full(BUCKETS, 0.5), np.zeros(s.shape[1])), 0.1)
        for s in (wider, sums)
    )
    assert (found.p, found.size) == pytest.approx((wanted.p, wanted.size))
    assert departure(Scores(np.zeros((BUCKETS, 2)), np.ones(BUCKETS), np.zeros(2)), 0.1).p == 1.0


def drawn(spark: SparkSession, *, late: Array, rare: Array) -> DataFrame:
    """Rows whose log odds on `a` and `b` are other ones in the late half and in the rare group."""
    generator = np.random.default_rng(3)
    x = np.stack([*generator.normal(size=(2, ROWS)), np.ones(ROWS)], axis=1)
    user = generator.integers(0, USERS, ROWS)
    is_late, is_rare = (np.arange(ROWS) % 2).astype(bool), user < 0.08 * USERS
    slopes = np.array([0.8, 0.0]) + np.outer(is_late, late) + np.outer(is_rare, rare)
    label = generator.random(ROWS) < 1 / (1 + np.exp(1 - (slopes * x[:, :2]).sum(1)))
    columns: list[Any] = [
        user.astype(str).tolist(),
        np.where(is_rare, "rare", "main").tolist(),
        x.tolist(),
        label.astype(float).tolist(),
        is_late.astype(int).tolist(),
        [True] * ROWS,
    ]
    rows = list(zip(*columns, strict=True))
    schema = "group_id string, segment string, features array<float>, label float, late int, "
    schema += "mature boolean"
    return spark.createDataFrame(rows, schema).coalesce(2).cache()


@pytest.fixture(scope="module")
def same(spark: SparkSession) -> DataFrame:
    rows = drawn(spark, late=np.zeros(2), rare=np.zeros(2))
    judged = crossed(rows, range(3), seed=0)
    assert judged is not None
    return judged.cache()


@pytest.fixture(scope="module")
def moved(spark: SparkSession) -> DataFrame:
    rows = drawn(spark, late=np.array([0.0, 0.9]), rare=np.array([-1.6, 0.0]))
    judged = crossed(rows, range(3), seed=0)
    assert judged is not None
    return judged.cache()


def test_a_row_is_judged_by_a_model_that_saw_no_row_of_its_group(same: DataFrame) -> None:
    rows = same.toPandas()
    assert (rows.groupby("group_id")["fold"].nunique() == 1).all()
    for fold, own in rows.groupby("fold"):
        # One model for all rows of a fold: the log odds are linear in the features.
        x = np.stack(own["features"].to_list())
        _, left, *_ = np.linalg.lstsq(x, own["own"].to_numpy(), rcond=None)
        assert left.sum() < 1e-6 * len(own), fold
    assert same.stat.corr("own", "label") > 0.2


def test_scores_are_those_of_numpy(moved: DataFrame) -> None:
    found = scores(moved, "late")
    rows = moved.toPandas()
    for late, own in rows.groupby("late"):
        x, y = np.stack(own["features"].to_list()).astype(float), own["label"].to_numpy(float)
        p = 1 / (1 + np.exp(-own["own"].to_numpy(float)))
        v = p * (1 - p)
        apart = x - (v[:, None] * x).sum(0) / v.sum()
        each = apart * (y - p)[:, None]
        wanted = np.zeros((BUCKETS, 3))
        np.add.at(wanted, own["bucket"].to_numpy(), each)
        np.testing.assert_allclose(found[late].sums, wanted, atol=1e-5)
        assert found[late].information.sum() == pytest.approx(v.sum())
        by_model = (v[:, None] * apart**2).sum(0)
        np.testing.assert_allclose(found[late].variance, by_model, atol=1e-4)


def test_what_did_not_move_is_no_drift_and_no_rare_group(same: DataFrame) -> None:
    assert relation_drift(same, NAMES).p > 0.05
    found = rare_groups(same, same)
    assert found.p is not None
    assert found.p > 0.05


def test_a_relation_that_moved_is_found_with_the_feature_and_the_size(moved: DataFrame) -> None:
    found = relation_drift(moved, NAMES)
    assert found.p is not None
    assert found.p < 1e-4
    assert "early, in standard errors: b +" in found.text
    assert found.measures[0].value == pytest.approx(0.9, abs=0.25)


def test_a_group_that_likes_the_opposite_is_found_though_its_rate_is_the_same(
    moved: DataFrame,
) -> None:
    found = rare_groups(moved, moved)
    assert found.p is not None
    assert found.p < 1e-4
    assert "'rare' features and label relate differently" in found.text
    # By the rates alone there is nothing to see.
    alone = rare_groups(moved, None)
    assert alone.p is not None
    assert alone.p > 0.05


def test_labels_that_are_not_settled_are_no_drift(spark: SparkSession) -> None:
    rows = drawn(spark, late=np.zeros(2), rare=np.zeros(2))
    # What is bought for 'a' is late: half of the late rows are open, and negative so far.
    opened = (F.col("late") == 1) & (F.element_at("features", 1) > 0)
    label = F.when(opened, F.lit(0.0)).otherwise(F.col("label")).cast("float")
    judged = crossed(rows.withColumns({"mature": ~opened, "label": label}), range(3), seed=0)
    assert judged is not None
    assert judged.count() == rows.where(~opened).count()
    assert relation_drift(judged, NAMES).p > 0.05


def test_a_rare_segment_of_few_people_is_worth_as_many_rows_as_they_tell(
    spark: SparkSession,
) -> None:
    # 300 people of 20 rows that are alike; of the rare ones a half bought, of the others 3 of 10.
    rows: list[Any] = []
    for user in range(300):
        segment, bought = ("rare", user % 2) if user < 24 else ("main", user % 10 < 3)
        rows += [(f"u{user}", segment, float(bought))] * 20
    frame = spark.createDataFrame(rows, "group_id string, segment string, label float")
    found = rare_groups(frame, None)
    assert found.p is not None
    assert found.p > 0.05
    assert [m.value for m in found.measures] == [pytest.approx(0.5 / (81 / 276))]
    # Seven people do not show how much people vary.
    few = frame.where("segment = 'main' OR group_id IN ('u0','u1','u2','u3','u4','u5','u6')")
    assert rare_groups(few, None).measures == ()
    # Of as many independent rows it would be told.
    alone = frame.withColumn("group_id", F.monotonically_increasing_id().cast("string"))
    assert rare_groups(alone, None).p == pytest.approx(0, abs=1e-4)


def test_too_few_of_a_class_have_no_model(moved: DataFrame) -> None:
    kept = ("group_id", "segment", "features", "label", "late", "mature")
    rows = moved.select(*kept).where("label = 0")
    assert crossed(rows, range(3), seed=0) is None
    few = relation_drift(None, NAMES)
    assert (few.p, few.needs) == (None, "more labelled rows")
    # More rows do not help where labels never settle.
    never = relation_drift(None, NAMES, settles=36_000.0)
    assert never.needs is not None
    assert "older than the 10 h" in never.needs
    assert "sampling.label.window" in never.needs
