"""The ranker task: one world's rankers on recorded labels, judged on true ones."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.ml.functions import array_to_vector
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.benchmark.conditions.worlds import SECONDS, Sections, World, judged
from reweight.evaluate.section import Evaluation
from reweight.importance.methods.density_ratio import DensityRatio
from reweight.importance.methods.random import Random
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.uniform import Uniform
from reweight.score_weights.policy import Weighting
from reweight.train_ranker.rankers.logistic_regression import (
    Ranking,
    fit_ranker,
    with_probabilities,
)

ROWS = 3000
SECTIONS = Sections(
    weighting=Weighting(ess_refuse=0, ess_warn=0),
    ranking=Ranking(),
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
            "position": None,
            "propensity": np.nan,
            "value": 1.0,
            "target": True,
            "mature": True,
            "elapsed": 1.0,
            "delay": np.nan,
        }
    )


def rows_of(frame: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, Any]]:
    found = list(judged(frame, (3,), METHODS, SECTIONS))
    assert all(set(row) == set(found[0]) for row in found)
    return {(row["method"], row["name"], row["kind"]): row for row in found}


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
    found = list(judged(world(), (3,), (Uniform(), Raw()), SECTIONS))
    shares = {row["method"]: row["value"] for row in found if row["name"] == "ess_share"}
    # (1/2)^2 over 1/3, the mean square.
    assert shares == {"uniform": 1, "random": pytest.approx(0.75, abs=0.03)}


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
    parts = {str(split): part.sort_values("sample_id") for split, part in frame.groupby("split")}
    made = World(parts, (3,))
    label = parts["train"]["label"].to_numpy(float)
    weights = np.random.default_rng(3).gamma(2, size=len(label))
    recorded, whole = (made.predicted(weights, own, 1.0) for own in (None, label))
    np.testing.assert_allclose(whole["probability"], recorded["probability"], atol=1e-9)
    # Labels of 1/2 say nothing, however rows are weighted.
    unsure = made.predicted(weights, np.full(len(label), 0.5), 1.0)["probability"]
    np.testing.assert_allclose(unsure, 0.5, atol=1e-9)


def test_the_ranker_in_memory_is_that_of_spark(spark: SparkSession) -> None:
    frame = world(missing=0.5).drop(columns=["position", "propensity"])
    frame = frame.assign(position=np.nan, propensity=np.nan)
    parts = {split: part.sort_values("sample_id") for split, part in frame.groupby("split")}
    made = World(parts, (3,))
    weights = np.random.default_rng(2).gamma(2, size=len(parts["train"]))
    weights /= weights.mean()
    here = made.predicted(weights, None, 0.5).query("split == 'test'")["probability"].to_numpy()
    rows = [
        (m.tolist(), float(y), float(w))
        for m, y, w in zip(made.matrices["train"], parts["train"]["label"], weights, strict=True)
    ]
    train = spark.createDataFrame(rows, "x array<double>, label double, w double")
    train = train.withColumn("vector", array_to_vector("x"))
    ranker = fit_ranker(train, "w", len(weights), Ranking(C=0.5, max_iter=500, tol=1e-13))
    places = [(i, m.tolist()) for i, m in enumerate(made.matrices["test"])]
    test = spark.createDataFrame(places, "i int, x array<double>")
    there = with_probabilities(test.withColumn("vector", array_to_vector("x")), {"p": ranker})
    found = [row["p"] for row in there.orderBy(F.col("i")).select("p").collect()]
    np.testing.assert_allclose(here, found, atol=1e-6)
