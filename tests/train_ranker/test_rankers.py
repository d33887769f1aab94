"""What every ranker of the union guarantees."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import WeightError
from reweight.train_ranker.fit import fit_rankers
from reweight.train_ranker.rankers import RANKERS, AnyRanker, FittedRanker, Ranker, RankerJob
from reweight.train_ranker.rows import WeightColumn, with_vector
from reweight.training.plan import Fitting

Array = NDArray[np.float64]
ROWS, FIELDS = 300, {"user": 12, "item": 9}
# Small, and without draws: what is compared is what weights mean.
SETTINGS: dict[str, dict[str, Any]] = {
    "logistic_regression": {"tol": 1e-10, "max_iter": 200},
    "gbt": {"max_iter": 3, "max_depth": 3},
    "random_forest": {"trees": 3, "max_depth": 4, "bootstrap": False},
    "xgboost": {"trees": 4, "depth": 3, "workers": 1},
    "lightgbm": {"trees": 4, "leaves": 6},
    "deep": {"epochs": 12, "patience": 12, "hidden": [6], "embedding": 2, "learning_rate": 0.02},
    "als": {"user": "user", "item": "item", "rank": 3, "max_iter": 4, "blocks": 1},
}


def ranker_of(kind: str) -> Ranker:
    ranker: Ranker = TypeAdapter(AnyRanker).validate_python({"ranker": kind, **SETTINGS[kind]})
    return ranker


@pytest.fixture(scope="module")
def train(spark: SparkSession) -> DataFrame:
    """Rows with the weights 0, 1 and 2."""
    draw = np.random.default_rng(3)
    x = draw.normal(size=(ROWS, 3)).astype(np.float32).astype(float)
    ids = np.stack([draw.integers(1, size, ROWS) for size in FIELDS.values()], axis=1)
    z = 2 * x[:, 0] * (x[:, 1] > 0) + (ids[:, 1] > 4) - 0.5
    label = (draw.random(ROWS) < 1 / (1 + np.exp(-z))).astype(float)
    weight = draw.integers(0, 3, ROWS).astype(float)
    columns = (np.arange(ROWS), x, ids, label, weight)
    rows = list(zip(*[column.tolist() for column in columns], strict=True))
    schema = "sample_id bigint, features array<float>, ids array<int>, label double, weight double"
    frame = spark.createDataFrame(rows, schema).withColumn("group_id", F.col("ids")[0])
    return with_vector(frame.coalesce(1), tuple(FIELDS.values())).cache()


def fitted(ranker: Ranker, rows: DataFrame) -> FittedRanker:
    total = rows.agg(F.sum("weight")).first()
    # All rows in one step: so `deep` gets them in the same steps, however often they are there.
    job = RankerJob(
        float(total[0]),  # type: ignore[index]
        seed=5,
        names=("a", "b", "c"),
        fields=FIELDS,
        fitting=Fitting(shards=1, batch_size=10 * ROWS),
    )
    return ranker.fit(rows.select("label", "weight", *ranker.columns()), job)


def margins(ranker: FittedRanker, rows: DataFrame) -> Array:
    scored = ranker.with_log_odds(rows, "z")
    assert scored.columns == [*rows.columns, "z"]
    found = scored.orderBy("sample_id").select("z").toPandas()
    assert len(found) == ROWS
    return found["z"].to_numpy(float)


def test_every_ranker_of_the_union_is_tested() -> None:
    assert SETTINGS.keys() == RANKERS.keys()
    for kind, owner in RANKERS.items():
        ranker = ranker_of(kind)
        assert (ranker.ranker, ranker.name) == (kind, kind)
        assert owner.cost and owner.takes


@pytest.mark.usefixtures("ranks_here")
@pytest.mark.parametrize("kind", list(SETTINGS))
def test_a_weight_of_0_is_no_row_and_one_of_2_is_two(
    train: DataFrame, tmp_path: Path, kind: str
) -> None:
    if kind in ("xgboost", "lightgbm") and find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed: pip install 'reweight[{kind}]'")
    ranker = ranker_of(kind)
    own = fitted(ranker, train)
    found = margins(own, train)
    assert np.isfinite(found).all() and found.std() > 0.05
    left = fitted(ranker, train.where("weight > 0"))
    # Equal fits: of the same seed, and without the rows of weight 0.
    np.testing.assert_allclose(margins(left, train), found, atol=1e-5)
    each = F.explode(F.array_repeat(F.lit(1.0), F.col("weight").cast("int"))).alias("weight")
    twice = train.select(*[c for c in train.columns if c != "weight"], each)
    np.testing.assert_allclose(margins(fitted(ranker, twice), train), found, atol=1e-3)
    assert own.outcome
    moved = own.shifted(0.25)
    moved.save(tmp_path / "ranker")
    again = ranker.load(tmp_path / "ranker")
    assert again.shift == 0.25
    np.testing.assert_array_equal(margins(again, train), margins(moved, train))
    np.testing.assert_allclose(margins(again, train), found + 0.25, atol=1e-9)


def test_many_rounds_of_als_overflow_no_stack_and_leave_the_session_as_it_was(
    train: DataFrame, spark: SparkSession
) -> None:
    settings = {"ranker": "als", **SETTINGS["als"], "max_iter": 25}
    ranker: Ranker = TypeAdapter(AnyRanker).validate_python(settings)
    assert np.isfinite(margins(fitted(ranker, train), train)).all()
    assert spark.sparkContext.getCheckpointDir() is None


def test_trees_without_ids_read_no_ids_even_where_others_do(train: DataFrame) -> None:
    settings = {"ranker": "gbt", "max_iter": 2, "max_depth": 2, "ids": False}
    ranker: Ranker = TypeAdapter(AnyRanker).validate_python(settings)
    own = fitted(ranker, train)
    assert own.model.numFeatures == 3  # type: ignore[attr-defined]
    np.testing.assert_array_equal(margins(own, train), margins(own, train.drop("vector", "ids")))


@pytest.mark.parametrize(
    ("sql", "came"),
    [
        ("if(sample_id = 3, null, 1D)", "1 weights that are null, negative or not finite"),
        ("if(sample_id = 3, -1D, 1D)", "1 weights"),
        ("if(sample_id = 3, double('NaN'), 1D)", "1 weights"),
        ("label", "weight sums 0 for label 0"),
    ],
)
def test_weights_that_nobody_can_be_trained_on_are_refused_for_all_rankers(
    train: DataFrame, sql: str, came: str
) -> None:
    rows = train.withColumn("bad", F.expr(sql))
    rankers = [ranker_of(kind) for kind in SETTINGS]
    with pytest.raises(WeightError) as error:
        fit_rankers(rows, [WeightColumn("bad")], rankers, floor=0.0)
    assert came in error.value.got
