"""The ranker task: one world's rankers on recorded labels, judged on true ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.benchmark.conditions import page, protocol
from reweight.benchmark.conditions.judges import judges_of, masses
from reweight.benchmark.conditions.world import World
from reweight.benchmark.conditions.worlds import (
    POSITION_AS_FEATURE,
    SECONDS,
    Sections,
    judged,
)
from reweight.benchmark.conditions.wrong_labels import WRONG_LABELS, auroc
from reweight.benchmark.fits import fits
from reweight.benchmark.ranking import Labelled, probabilities
from reweight.core.sequences import SequenceShape
from reweight.evaluate.judges import Known
from reweight.evaluate.section import Evaluation
from reweight.importance.methods.density_ratio import DensityRatio
from reweight.importance.methods.ipw_position import IpwPosition
from reweight.importance.methods.random import Random
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.uniform import Uniform
from reweight.score_weights.policy import Weighting
from reweight.train_ranker.rankers.base import with_probabilities
from reweight.train_ranker.rankers.deep import Deep
from reweight.train_ranker.rankers.lightgbm import LightGbm
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

ROWS = 3000
JUDGES = ("truth", "position", "recorded")
SECTIONS = Sections(
    weighting=Weighting(ess_refuse=0, ess_warn=0),
    rankers=(LogisticRegression(),),
    evaluation=Evaluation(replicates=200, buckets=100),
    batch_size=128,
    seed=1,
)
QUICK = {"members": 4, "epochs": 6, "hidden": (8,)}
METHODS = (
    Uniform(),
    Random(),
    SelfConfidence.model_validate({"training": QUICK}),
    # Reads a column that says nothing: all rows are target, and it is refused.
    DensityRatio(),
)


def world(missing: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Rows of people and bots; a share of the positives is recorded as negative."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(ROWS, 4))
    z = 1.5 * x[:, 0] - x[:, 1] - 0.5
    truth = (draw.random(ROWS) < 1 / (1 + np.exp(-z))).astype(float)
    lost = draw.random(ROWS) < missing * (x[:, 0] > 0)
    return pd.DataFrame(
        {
            "sample_id": draw.permutation(10 * ROWS)[:ROWS],
            "group_id": [f"g{i}" for i in draw.integers(0, ROWS // 5, ROWS)],
            "segment": np.where(draw.random(ROWS) < 0.2, "rare", "main"),
            "split": draw.choice(["train", "validation", "test"], ROWS, p=[0.6, 0.2, 0.2]),
            "label": np.where(lost, 0.0, truth),
            "truth": truth,
            "bot": draw.random(ROWS) < 0.1,
            "features": list(x.astype(np.float32)),
            "ids": [[int(i)] for i in draw.integers(0, 3, ROWS)],
            "position": np.nan,
            "propensity": np.nan,
            "value": 1.0,
            "target": True,
            "mature": True,
            "elapsed": 1.0,
            "delay": np.nan,
            "undone": np.nan,
        }
    )


def judged_frame(frame: pd.DataFrame, methods: Any = METHODS) -> list[dict[str, Any]]:
    return list(judged(pa.Table.from_pandas(frame), (3,), methods, SECTIONS))


def rows_of(
    frame: pd.DataFrame, methods: Any = METHODS, judge: str = "truth"
) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = judged_frame(frame, methods)
    assert all(set(row) == set(found[0]) for row in found)
    rows = [row for row in found if row["judge"] in (judge, None)]
    return {(row["method"], row["name"], row["kind"]): row for row in rows}


@pytest.fixture(scope="module")
def clean() -> dict[tuple[str, str, str], dict[str, Any]]:
    return rows_of(world())


@pytest.fixture(scope="module")
def damaged() -> dict[tuple[str, str, str], dict[str, Any]]:
    return rows_of(world(missing=0.7))


def test_where_nothing_went_wrong_the_oracle_knows_no_more_than_uniform(clean: Any) -> None:
    for name in ("log_loss", "auc", "gauc"):
        row = clean["oracle", name, "difference"]
        assert row["value"] == pytest.approx(0, abs=1e-9)
        assert row["low"] == pytest.approx(0, abs=1e-9)
    assert clean["random", "log_loss", "difference"]["high"] > 0
    assert clean["random", "ess_share", "value"]["value"] == pytest.approx(0.75, abs=0.03)
    assert clean["uniform", "ess_share", "value"]["value"] == 1


class Raw(Random):
    """Random importance, which the ranker is given as it is: its mean is 1/2."""

    @property
    def keeps_scale(self) -> bool:
        return True


def test_the_effective_share_of_rows_does_not_depend_on_the_scale_of_weights() -> None:
    found = judged_frame(world(), (Uniform(), Raw()))
    shares = {row["method"]: row["value"] for row in found if row["name"] == "ess_share"}
    # (1/2)^2 over 1/3, the mean square.
    assert shares == {"uniform": 1, "random": pytest.approx(0.75, abs=0.03)}


def test_wrong_labels_are_found_where_there_are_any(clean: Any, damaged: Any) -> None:
    assert not any(name == WRONG_LABELS for _, name, _ in clean)
    found = {m: row["value"] for (m, name, _), row in damaged.items() if name == WRONG_LABELS}
    assert set(found) == {"uniform", "random", "self_confidence"}
    assert found["uniform"] == 0.5
    assert found["random"] == pytest.approx(0.5, abs=0.06)
    assert found["self_confidence"] > 0.5


def test_wrong_labels_that_only_order_shows_are_found_by_networks_that_read_sequences() -> None:
    frame, draw = world(), np.random.default_rng(4)
    # Two of three things in a row, and whether the second comes next on the circle.
    first, step = draw.integers(0, 3, ROWS), draw.integers(1, 3, ROWS)
    truth = (step == 1).astype(float)
    pairs = np.stack([first, (first + step) % 3, np.zeros(ROWS, int)], axis=1)
    frame = frame.assign(
        truth=truth,
        label=np.where(draw.random(ROWS) < 0.15, 1 - truth, truth),
        sequence_ids=pairs.tolist(),
        sequence_gaps=[[5.0, 4.0, -1.0]] * ROWS,
    )
    training = QUICK | {"learning_rate": 0.02, "epochs": 10}
    methods = [
        SelfConfidence.model_validate({"name": n, "training": training | {"network": n}})
        for n in ("mlp", "cnn", "gru")
    ]
    shape = SequenceShape(length=3, fields={"thing": 3}, shared={"thing": 0})
    made = World(pa.Table.from_pandas(frame), (3,), shape)
    found = {}
    for fit in fits(methods, made.rows_for(0), 128):
        importances, _ = made.scored({fit.method.name: fit.stored})
        found[fit.method.name] = auroc(fit.method, importances[fit.method.name], made.wrong) or 0
    assert found["mlp"] < 0.6
    assert min(found["cnn"], found["gru"]) > 0.95


def test_where_purchases_are_missing_the_oracle_shows_what_could_be_gained(damaged: Any) -> None:
    row = damaged["oracle", "log_loss", "difference"]
    assert row["high"] < -0.02
    assert ("uniform", "log_loss", "difference") not in damaged
    assert ("self_confidence", "log_loss", "difference") in damaged
    assert damaged["self_confidence", SECONDS, "cost"]["value"] > 0


def test_a_method_that_fails_is_a_row_with_its_reason(damaged: Any) -> None:
    assert "has nothing to compare" in damaged["density_ratio", "failed", "failed"]["reason"]
    assert ("density_ratio", "log_loss", "value") not in damaged


def test_later_rows_of_people_judge_and_their_true_labels(damaged: Any) -> None:
    frame = world(missing=0.7)
    test = frame[(frame["split"] == "test") & ~frame["bot"]]
    assert damaged["uniform", "rows", "value"]["value"] == len(test)
    assert damaged["uniform", "positives", "value"]["value"] == test["truth"].sum()


def test_soft_labels_are_two_rows_and_whole_ones_the_recorded_labels() -> None:
    frame = world(missing=0.5)
    made = World(pa.Table.from_pandas(frame), (3,))
    label = made.parts["train"]["label"].to_numpy(float)
    weights = np.random.default_rng(3).gamma(2, size=len(label))
    recorded, whole = (made.predicted(weights, own, LogisticRegression()) for own in (None, label))
    np.testing.assert_allclose(whole, recorded, atol=1e-9)
    # Labels of 1/2 say nothing, however rows are weighted.
    unsure = made.predicted(weights, np.full(len(label), 0.5), LogisticRegression())
    np.testing.assert_allclose(unsure, 0.5, atol=1e-9)


def test_the_ranker_in_memory_is_that_of_spark(spark: SparkSession) -> None:
    made = World(pa.Table.from_pandas(world(missing=0.5)), (3,))
    parts = made.parts
    weights = np.random.default_rng(2).gamma(2, size=len(parts["train"]))
    weights /= weights.mean()
    here = made.predicted(weights, None, LogisticRegression(C=0.5))[
        (made.held_out["split"] == "test").to_numpy()
    ]
    rows = [
        (m.tolist(), float(y), float(w))
        for m, y, w in zip(made.matrices["train"], parts["train"]["label"], weights, strict=True)
    ]
    train = spark.createDataFrame(rows, "x array<double>, label double, w double")
    train = train.withColumn("vector", array_to_vector("x"))
    ranker = LogisticRegression(C=0.5, max_iter=500, tol=1e-13).fitted(train, "w", len(weights))
    places = [(i, m.tolist()) for i, m in enumerate(made.matrices["test"])]
    test = spark.createDataFrame(places, "i int, x array<double>")
    there = with_probabilities(test.withColumn("vector", array_to_vector("x")), {"p": ranker})
    found = [row["p"] for row in there.orderBy(F.col("i")).select("p").collect()]
    np.testing.assert_allclose(here, found, atol=1e-6)


def shown_in_lists(seed: int = 0) -> pd.DataFrame:
    """A world whose labels are recorded where a row was looked at: 1 / position."""
    frame, draw = world(seed=seed), np.random.default_rng(seed + 1)
    z = np.stack(frame["features"])[:, 0]
    # Better items are shown higher, as a policy does.
    position = np.clip(np.round(3 - 1.5 * z + draw.normal(size=ROWS)), 1, 6)
    seen = draw.random(ROWS) < 1 / position
    return frame.assign(position=position, label=np.where(seen, frame["truth"], 0.0), bot=False)


@pytest.fixture(scope="module")
def unseen() -> list[dict[str, Any]]:
    training = {"epochs": 6, "members": 3, "hidden": [8]}
    position = IpwPosition.model_validate({"training": training, "estimator": "ips"})
    return judged_frame(shown_in_lists(), (Uniform(), position))


def value_of(found: list[dict[str, Any]], judge: str, method: str, name: str, kind: str) -> Any:
    (row,) = [
        row
        for row in found
        if (row["judge"], row["method"], row["name"], row["kind"]) == (judge, method, name, kind)
    ]
    return row["value"]


def test_a_world_with_positions_is_judged_by_truth_position_and_recorded(unseen: Any) -> None:
    assert {row["judge"] for row in unseen} == {"truth", "position", "recorded", None}
    frame = shown_in_lists()
    test = frame[frame["split"] == "test"]
    positives = {j: value_of(unseen, j, "uniform", "positives", "value") for j in JUDGES}
    assert positives["truth"] == test["truth"].sum()
    assert positives["recorded"] == test["label"].sum()
    # The judge divides by what the world's own model estimated.
    assert positives["position"] == pytest.approx(positives["truth"], rel=0.2)
    assert value_of(unseen, "truth", "ipw_position", "auc", "difference") > 0
    assert {row["kind"] for row in unseen if row["reason"]} == {"verdict"}


def test_without_a_position_model_there_is_no_judge_of_positions(damaged: Any) -> None:
    found = judged_frame(world(), (Uniform(),))
    assert {row["judge"] for row in found} == {"truth", "recorded", None}
    assert not any(row["method"] == POSITION_AS_FEATURE for row in found)
    assert ("uniform_recalibrated", "log_loss", "difference") in damaged


def test_position_as_a_feature_is_scored_at_position_1(unseen: Any) -> None:
    assert value_of(unseen, "truth", POSITION_AS_FEATURE, "auc", "difference") != 0
    frame = shown_in_lists()
    made = World(pa.Table.from_pandas(frame), (3,))
    # Held-out positions do not matter.
    held_out = frame["split"] != "train"
    moved = frame.assign(position=frame["position"].where(~held_out, 5.0))
    other = World(pa.Table.from_pandas(moved), (3,))
    ranker = LogisticRegression()
    first = made.predicted_at_first(ranker)
    np.testing.assert_array_equal(first, other.predicted_at_first(ranker))
    # Where nobody looks further down, a row at position 1 is seen, and the level is that of truth.
    seen = first.mean()
    assert abs(seen - frame["truth"].mean()) < abs(
        made.predicted(None, None, ranker).mean() - frame["truth"].mean()
    )


def test_ranking_and_level_add_up_and_recalibration_leaves_no_level(unseen: Any) -> None:
    for method in ("uniform", "ipw_position", "oracle"):
        loss, ranking, level = (
            value_of(unseen, "truth", method, name, "value")
            for name in ("log_loss", "ranking_log_loss", "level_log_loss")
        )
        assert loss == pytest.approx(ranking + level)
    free = value_of(unseen, "truth", "uniform_recalibrated", "log_loss", "value")
    assert free == value_of(unseen, "truth", "uniform", "ranking_log_loss", "value")


def test_masses_in_memory_are_those_of_the_judge_on_spark(spark: SparkSession) -> None:
    theta = [1.0, 1.0, 0.5, 0.05]
    rows = pd.DataFrame({"label": [1.0, 1.0, 0.0, 1.0, 1.0], "position": [1, 2, 2, 3, 9]})
    # So many positives that the clip is 15.
    rows = pd.concat([rows, rows.iloc[:1].sample(225 - 1, replace=True, random_state=0)])
    rows = rows.assign(truth=1.0, bot=False, split=["test"] * 4 + ["validation"] * 225)
    judges = judges_of(rows, theta)
    here = masses(rows, judges, theta)["position"]
    known = Known(propensities={"ipw_position": theta})
    factor = F.expr(judges["position"].factor(known)).alias("f")
    frame = spark.createDataFrame(rows).withColumn("position", F.col("position").cast("int"))
    frame = frame.select("label", factor)
    there = [row["label"] * row["f"] for row in frame.collect()]
    np.testing.assert_allclose(here, there)
    np.testing.assert_allclose(here[:6], [1, 2, 0, 15, 15, 1])
    # Few positives, and its clip takes more than half of their mass: it does not judge.
    assert "position" not in judges_of(rows[:5], theta)


def test_trees_and_networks_in_memory_take_weights_and_find_what_a_line_cannot() -> None:
    frame = world()
    x = np.stack(frame["features"])
    # What counts is whether two features have the same sign, which a sum cannot say.
    frame = frame.assign(label=(x[:, 0] * x[:, 1] > 0).astype(float))
    made, trees = World(pa.Table.from_pandas(frame), (3,)), LightGbm(trees=20, min_weight=0.01)
    labels = made.held_out["label"].to_numpy(float)
    line = made.predicted(None, None, LogisticRegression())
    assert np.abs(line - 0.5).max() < 0.2
    # Rows without weight are not there: with wrong labels they change nothing.
    right = made.parts["train"]["label"].to_numpy(float)
    weights = np.random.default_rng(5).integers(0, 2, len(right)).astype(float)
    wrong = np.where(weights == 0, 1 - right, right)
    held_out = [
        Labelled(made.matrices[split], part["label"].to_numpy(float), np.ones(len(part)))
        for split, part in made.parts.items()
        if split != "train"
    ]
    np.testing.assert_allclose(
        made.predicted(weights, None, trees), made.predicted(weights, wrong, trees), atol=1e-6
    )
    for ranker in (trees, Deep(epochs=4)):
        found = made.predicted(None, None, ranker, batch_size=128)
        assert ((found > 0.5) == labels).mean() > 0.95, ranker.name
        here, there = (
            probabilities(
                ranker,
                Labelled(made.matrices["train"], y, weights),
                held_out,
                (3,),
                batch_size=128,
                seed=0,
            )
            for y in (right, wrong)
        )
        np.testing.assert_allclose(here, there, atol=1e-6)
    both = replace(SECTIONS, rankers=(LogisticRegression(), trees))
    rows = list(judged(pa.Table.from_pandas(frame), (3,), (Uniform(),), both))
    assert {row.get("ranker") for row in rows} == {None, "lightgbm"}
    # Rows of the table: the page has a row of each condition for every ranker.
    place = {"world": "w", "log": "l", "size": None, "seed": 0}
    named = [
        place | row | {"condition": protocol.ranked("flips", row.get("ranker"))} for row in rows
    ]
    labels = ["flips", "flips, lightgbm"]
    values = protocol.content(pd.DataFrame(named), labels, ["uniform"])
    gaps = [values["metrics"]["auc"][label]["oracle"]["mean"] for label in labels]
    assert len(set(gaps)) == 2
    page_values = values | {"run_id": "r", "revision": "", "references": []}
    assert "flips, lightgbm" in page.render(page_values)
