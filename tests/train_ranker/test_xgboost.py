"""The ranker `xgboost`: the package's own trees, with one weight per row or per group."""

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Label, Sampling
from reweight.core.errors import ConfigError, SetupError, WeightError
from reweight.train_ranker.rankers import AnyRanker, Ranker, RankerJob
from reweight.train_ranker.rankers.xgboost import FittedXGBoost, XGBoost

ROWS, GROUPS, FIELDS = 480, 80, {"item": 30}
KINDS = ["float", "float", "float", "c"]
ROWWISE = XGBoost(trees=8, depth=3, workers=1)
GROUPED = XGBoost(trees=8, depth=3, objective="rank")

needs_xgboost = pytest.mark.skipif(
    find_spec("xgboost") is None, reason="xgboost is not installed: pip install 'reweight[xgboost]'"
)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    draw = np.random.default_rng(4)
    x = draw.normal(size=(ROWS, 3)).astype(np.float32)
    item = draw.integers(0, 30, ROWS)
    score = 2 * x[:, 0] * (x[:, 1] > 0) + (item % 3) - 1
    group = np.arange(ROWS) // (ROWS // GROUPS)
    return pd.DataFrame(
        {
            "sample_id": np.arange(ROWS),
            "features": x.tolist(),
            "ids": item[:, None].tolist(),
            "label": (draw.random(ROWS) < 1 / (1 + np.exp(-score))).astype(float),
            "weight": draw.gamma(1.0, 1.0, ROWS),
            # A third of the groups weighs nothing.
            "of_group": (draw.gamma(1.0, 1.0, GROUPS) * (np.arange(GROUPS) % 3 > 0))[group],
            "group_id": [f"session {g}" for g in group],
        }
    )


@pytest.fixture(scope="module")
def rows(spark: SparkSession, table: pd.DataFrame) -> DataFrame:
    schema = (
        "sample_id bigint, features array<float>, ids array<int>, label double, weight double, "
        "of_group double, group_id string"
    )
    values = [tuple(row) for row in table.itertuples(index=False)]
    return spark.createDataFrame(values, schema).coalesce(1).cache()


def fitted(ranker: XGBoost, rows: DataFrame, weight: str = "weight") -> FittedXGBoost:
    rows = rows.withColumn("weight", rows[weight])
    job = RankerJob(0.0, seed=5, names=("a", "b", "c"), fields=FIELDS)
    read = [c for c in ranker.training_columns(rotated=False) if c in rows.columns]
    return ranker.fit(rows.select("label", "weight", *read), job)


def margins(found: FittedXGBoost, rows: DataFrame) -> NDArray[np.float64]:
    scored = found.with_log_odds(rows, "z").orderBy("sample_id").select("z").toPandas()
    return scored["z"].to_numpy()


def matrix(table: pd.DataFrame, **more: Any) -> Any:
    import xgboost

    inputs = np.concatenate(
        [np.array(table["features"].tolist()), np.array(table["ids"].tolist())], 1
    )
    return xgboost.DMatrix(
        inputs.astype(np.float32),
        label=table["label"],
        feature_types=KINDS,
        enable_categorical=True,
        **more,
    )


def alone(objective: str, train: Any) -> Any:
    """Trained by the library used alone."""
    import xgboost

    settings = {"tree_method": "hist", "max_depth": 3, "learning_rate": 0.1, "objective": objective}
    return xgboost.train(settings | {"seed": 5, "nthread": 1}, train, 8)


@needs_xgboost
def test_rows_get_the_trees_of_the_library_used_alone(rows: DataFrame, table: pd.DataFrame) -> None:
    found = margins(fitted(ROWWISE, rows), rows)
    own = alone("binary:logistic", matrix(table, weight=table["weight"]))
    wanted = own.predict(matrix(table), output_margin=True)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found.std() > 0.3
    # Trained by two tasks, features are cut elsewhere, if at all.
    two = margins(fitted(ROWWISE.model_copy(update={"workers": 2}), rows), rows)
    assert np.corrcoef(two, wanted)[0, 1] > 0.95


@needs_xgboost
def test_a_group_of_weight_0_changes_nothing(rows: DataFrame, table: pd.DataFrame) -> None:
    found = fitted(GROUPED, rows, "of_group")
    # Groups in the same order: more than 256 values of a feature are binned by an estimate.
    hashes = rows.selectExpr("xxhash64(group_id) AS hash", "sample_id").toPandas()
    ordered = table.merge(hashes, on="sample_id").sort_values(["hash", "sample_id"])
    heavy = ordered[ordered["of_group"] > 0]
    sizes = heavy.groupby("hash", sort=True)["of_group"].agg(["size", "first"])
    assert 0 < len(sizes) < GROUPS
    own = alone("rank:ndcg", matrix(heavy, group=sizes["size"], weight=sizes["first"]))
    wanted = found.slope * own.predict(matrix(table)) + found.intercept
    np.testing.assert_allclose(margins(found, rows), wanted, atol=1e-5)
    without = margins(fitted(GROUPED, rows.where("of_group > 0"), "of_group"), rows)
    np.testing.assert_array_equal(without, margins(found, rows))
    # Weights arrive: others give other trees.
    even = margins(
        fitted(GROUPED, rows.where("of_group > 0").withColumn("one", rows["label"] * 0 + 1), "one"),
        rows,
    )
    assert np.abs(even - without).max() > 0.01
    # Log odds: on the rows that weigh, the mean probability is the rate of the labels.
    p = 1 / (1 + np.exp(-margins(found, rows)))
    rate = np.average(table["label"], weights=table["of_group"])
    assert np.average(p, weights=table["of_group"]) == pytest.approx(rate, abs=1e-3)
    assert found.slope > 0


@needs_xgboost
def test_weights_of_rows_become_the_mean_of_their_group(
    rows: DataFrame, table: pd.DataFrame
) -> None:
    means = table.groupby("group_id")["weight"].mean()
    mean = rows.sparkSession.createDataFrame(list(means.items()), "group_id string, mean double")
    by_mean = fitted(GROUPED, rows.join(mean, "group_id"), "mean")
    assert by_mean.model == fitted(GROUPED, rows).model
    strict = GROUPED.model_copy(update={"group_weight": "refuse"})
    with pytest.raises(WeightError) as caught:
        fitted(strict, rows)
    assert caught.value.got == f"different weights within {GROUPS} of {GROUPS} groups"
    assert "group_weight: mean" in caught.value.fix
    assert fitted(strict, rows, "of_group").model
    # Of a log whose negatives were sampled, the trees are those of the weights without the rate;
    # the probabilities are those of the whole log.
    sampled = rows.withColumn("design_weight", F.expr("if(label = 1, 1D, 10D)"))
    sampled = sampled.withColumn("times_rate", F.col("of_group") * F.col("design_weight"))
    of_whole, of_rows = fitted(strict, sampled, "times_rate"), fitted(strict, rows, "of_group")
    assert of_whole.model == of_rows.model
    p = 1 / (1 + np.exp(-margins(of_whole, rows)))
    c = table["of_group"] * np.where(table["label"] == 1, 1, 10)
    rate = np.average(table["label"], weights=c)
    assert np.average(p, weights=c) == pytest.approx(rate, abs=1e-3)
    with pytest.raises(WeightError) as caught:
        fitted(GROUPED, rows.union(rows))
    assert caught.value.got.startswith("soft labels")
    with pytest.raises(WeightError) as caught:
        fitted(GROUPED, rows.where("label = 1"))
    assert "none with rows of both labels" in caught.value.got
    with pytest.raises(WeightError) as caught:
        fitted(GROUPED, rows.withColumn("group_id", F.expr("nullif(group_id, 'session 3')")))
    assert caught.value.got == f"null for {ROWS // GROUPS} rows"
    # A row of weight 0 among others makes weights differ, too.
    some = rows.withColumn("some", F.expr("double(label)"))
    with pytest.raises(WeightError) as caught:
        fitted(strict, some.withColumn("label", F.expr("double(sample_id % 2)")), "some")
    assert "different weights" in caught.value.got


@needs_xgboost
def test_rows_that_are_ranked_in_groups_need_groups() -> None:
    nothing = Sampling(label=Label(value="clicked"))
    with pytest.raises(ConfigError) as caught:
        GROUPED.check(Features.model_construct(), nothing)
    assert caught.value.fix.startswith("write sampling: {group: COLUMN}")
    with pytest.raises(ConfigError) as caught:
        XGBoost(objective="rank", group="list").check(Features.model_construct(), nothing)
    assert caught.value.fix.startswith("write sampling: {keep: {list: COLUMN}}")
    XGBoost().check(Features.model_construct(), nothing)


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm"])
def test_a_package_that_is_missing_or_of_another_version_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ranker: Ranker = TypeAdapter(AnyRanker).validate_python({"ranker": kind})
    nothing = Features.model_construct(), Sampling(label=Label(value="clicked"))
    monkeypatch.setattr("reweight.train_ranker.rankers.base.find_spec", lambda name: None)
    with pytest.raises(SetupError) as caught:
        ranker.check(*nothing)
    assert caught.value.expected.startswith(kind)
    assert caught.value.fix.startswith(f"pip install 'reweight[{kind}]', or remove")
    old = SimpleNamespace(__version__="1.7.6")
    monkeypatch.setattr("reweight.train_ranker.rankers.base.find_spec", lambda name: name)
    monkeypatch.setattr("reweight.train_ranker.rankers.base.import_module", lambda name: old)
    with pytest.raises(SetupError) as caught:
        ranker.check(*nothing)
    assert caught.value.got == f"{kind} 1.7.6"

    def broken(name: str) -> Any:
        raise OSError("libgomp.so.1: cannot open shared object file\nin a slim image")

    monkeypatch.setattr("reweight.train_ranker.rankers.base.import_module", broken)
    with pytest.raises(SetupError, match="cannot be imported") as caught:
        ranker.check(*nothing)
    assert caught.value.got == "libgomp.so.1: cannot open shared object file"
    assert caught.value.fix.startswith("install what it misses")


@pytest.mark.parametrize(
    "settings",
    [{"group": "list"}, {"group_weight": "refuse"}, {"objective": "rank", "workers": 2}],
)
def test_settings_of_the_other_objective_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="have no effect with objective"):
        XGBoost.model_validate(settings)
