"""A log whose negatives were sampled gives what the whole log gives."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.linear_model import LogisticRegression

from reweight.build_samples.sampling import Sampling
from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, RunConfig, read_config
from reweight.core.errors import SampleError
from reweight.core.tables import SAMPLES
from reweight.evaluate import judging
from reweight.evaluate.judges import Known
from reweight.evaluate.judges.recorded import Recorded
from reweight.evaluate.reduction import reduce_predictions
from reweight.evaluate.section import Evaluation
from reweight.importance.methods.uniform import Uniform
from reweight.importance.methods.value_weighted import ValueWeighted
from reweight.runner.records import run_stage
from reweight.score_weights.policy import Weighting, fit_policy, weight_in_memory
from reweight.score_weights.rows import weight_rows, wide_weights
from reweight.score_weights.training_rows import FrameRows, MemoryRows
from reweight.train_ranker.fit import fit_rankers, predictions, weight_columns
from reweight.train_ranker.rankers import logistic_regression
from reweight.train_ranker.rows import weighted_train, with_vector

RATE = 0.1


def whole_log(rows: int, seed: int = 0) -> pd.DataFrame:
    """A log with a label rate of about 10 %; `kept` says which rows a thinned one has."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, 2))
    label = draw.random(rows) < 1 / (1 + np.exp(2.7 - x @ (1.0, -0.5)))
    kept = label | (draw.random(rows) < RATE)
    return pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "label": label.astype(float), "kept": kept})


def weighed(log: pd.DataFrame, importance: Any, thinned: bool) -> Any:
    c = np.where(log["label"] == 1, 1.0, 1 / RATE) if thinned else None
    policy = Weighting()
    stats = fit_policy(MemoryRows({"uniform": importance}, design_weight=c), policy, [Uniform()])
    weight = weight_in_memory(importance, policy, stats["uniform"])
    return weight if c is None else weight * c


def test_the_ranker_of_a_thinned_log_is_that_of_the_whole_log() -> None:
    log = whole_log(60_000)
    thin = log[log["kept"]]
    fits: dict[str, Any] = {}
    for name, rows, thinned in (
        ("whole", log, False),
        ("thin", thin, True),
        ("as is", thin, False),
    ):
        # A learnt importance that knows nothing, and moves no coefficient in expectation.
        importance = 1 + 0.5 * np.sin(1000 * rows["x"].to_numpy())
        weight = weighed(rows, importance, thinned)
        model = LogisticRegression(C=1.0).fit(rows[["x", "z"]], rows["label"], weight)
        p = model.predict_proba(log[["x", "z"]])[:, 1]
        fits[name] = (np.array([*model.intercept_, *model.coef_[0]]), p.mean(), weight.sum())
    rate = log["label"].mean()
    # Three standard errors of the mean prediction, of the positives and of the negatives drawn.
    error = 3 * np.sqrt(rate * (1 - rate) / len(thin))
    assert abs(fits["thin"][1] - rate) < error
    assert abs(fits["as is"][1] - rate) > 20 * error
    np.testing.assert_allclose(fits["thin"][0], fits["whole"][0], atol=0.1)
    # So both are regularised alike.
    assert fits["thin"][2] == pytest.approx(fits["whole"][2], rel=0.02)


def test_weights_sum_to_the_rows_of_the_whole_log() -> None:
    log = whole_log(2_000)
    thin = log[log["kept"]]
    c = np.where(thin["label"] == 1, 1.0, 1 / RATE)
    importance = np.linspace(0.5, 2, len(thin))
    segments = np.where(thin["x"] > 0, "a", "b")
    policy = Weighting(clip_quantile=0.9, temper=0.5, mix=0.7, segment_cap=0.55, ess_refuse=0)
    method = ValueWeighted()
    rows = MemoryRows({method.name: importance}, segments, c)
    stats = fit_policy(rows, policy, [method])[method.name]
    weight = c * weight_in_memory(importance, policy, stats, segments)
    assert weight.sum() == pytest.approx(c.sum())
    assert stats.raw_sum == pytest.approx((c * importance).sum())
    assert stats.ess_share == pytest.approx(weight.sum() ** 2 / (len(c) * (weight**2).sum()))
    # The policy flattens what was learnt, and not what is known.
    assert weight.max() / weight.min() > 1 / RATE


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, 2])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValidationError, match="above 0 and at most 1"):
        Sampling.model_validate({"label": {"value": "y"}, "negatives": rate})
    assert Sampling.model_validate({"label": {"value": "y"}, "negatives": 1}).negatives == 1
    assert Sampling.model_validate({"label": {"value": "y"}, "negatives": "r"}).counted


def as_samples(spark: SparkSession, log: pd.DataFrame, thinned: bool) -> DataFrame:
    rows = spark.createDataFrame(log.assign(i=log.index)[["i", "x", "z", "label"]])
    c = F.when((F.col("label") == 0) & F.lit(thinned), 1 / RATE).otherwise(1.0)
    return rows.select(
        F.xxhash64("i").alias("sample_id"),
        (F.col("i") % 97).cast("string").alias("group_id"),
        F.lit(None).cast("string").alias("segment"),
        F.when(F.col("i") % 2 == 0, "train")
        .when(F.col("i") % 4 == 1, "validation")
        .otherwise("test")
        .alias("split"),
        F.array("x", "z").cast("array<float>").alias("features"),
        F.array().cast("array<int>").alias("ids"),
        F.col("label").cast("float").alias("label"),
        F.lit(None).cast("string").alias("kept"),
        c.alias("design_weight"),
    ).persist()


def ranked(samples: DataFrame) -> tuple[Any, dict[str, float]]:
    """The recalibrated ranker of `uniform`, and its metrics on the test rows."""
    scores = samples.select(
        "sample_id", "split", F.lit(1.0).cast("float").alias("uniform"), "design_weight"
    )
    train, policy, methods = scores.where("split = 'train'"), Weighting(), [Uniform()]
    stats = fit_policy(FrameRows(train), policy, methods)
    weights = weight_rows(scores, policy, stats, in_sample=False)
    rows = weighted_train(samples, wide_weights(weights, ["uniform"]), (), ["uniform"]).persist()
    columns = weight_columns(methods, stats)
    ranker = logistic_regression.LogisticRegression(recalibrate=("uniform",))
    fits = fit_rankers(rows, columns, (ranker,), floor=0.0)
    held_out = with_vector(samples.where("split <> 'train'"), ())
    predicted = predictions(held_out, fits)
    judged = judging.with_masses(predicted, held_out, {"recorded": Recorded()}, Known())
    values = reduce_predictions(judged, Evaluation(replicates=100, buckets=20), 0).values
    test = values[(values["split"] == "test") & values["segment"].isna()]
    return fits[0].fitted, dict(zip(test["name"], test["value"], strict=False))


def test_rankers_and_judges_of_a_thinned_log_count_its_rows(spark: SparkSession) -> None:
    log = whole_log(12_000, seed=1)
    whole, of_whole = ranked(as_samples(spark, log, False))
    thin, of_thin = ranked(as_samples(spark, log[log["kept"]], True))
    # Recalibration had nothing to shift.
    assert abs(thin.shift) < 0.01
    assert thin.model.intercept == pytest.approx(whole.model.intercept, abs=0.15)
    # About three standard errors of the 270 negatives; without the rate the losses double.
    for name in ("log_loss", "brier", "auc"):
        assert of_thin[name] == pytest.approx(of_whole[name], rel=0.12), name


@pytest.fixture
def root(tmp_path: Path, runs_stages: None) -> Path:
    lines = ["n,bought,rate,price"]
    lines += [f"{n},{int(n % 4 == 0)},{'' if n == 9 else 0.25},{n}" for n in range(200)]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def opened(spark: SparkSession, root: Path, negatives: Any) -> Run:
    config = {
        "run_id": "thin",
        "root": str(root / "out"),
        "cleaning": {
            "times": False,
            "sources": {"log": {"path": str(root / "log.csv"), "format": "csv"}},
            "columns": {c: f"double({c})" for c in ("n", "bought", "rate", "price")},
        },
        "sampling": {"key": ["n"], "label": {"value": "bought"}, "negatives": negatives},
        "splits": {"by": "group"},
        "features": {"numeric": {"price": "price"}},
        "importance": [],
    }
    return Run.open(spark, read_config(RunConfig, config))


def test_the_stage_stores_what_rows_stand_for(spark: SparkSession, root: Path) -> None:
    run_stage(opened(spark, root, 0.25), clean_logs)
    for negatives in (0.25, "if(label = 1, 1, coalesce(rate, 0.25))"):
        run = opened(spark, root, negatives)
        run_stage(run, build_samples)
        rows = (
            run.store.read(SAMPLES).groupBy("label").agg(F.collect_set("design_weight")).collect()
        )
        assert dict(map(tuple, rows)) == {0.0: [4.0], 1.0: [1.0]}
    for negatives, what, got in (
        ("if(label = 1, 1, rate)", "no rate", "null, or a number outside (0, 1], for 1 of 200"),
        ("rate * 8", "no rate", "for 200 of 200 samples"),
        ("coalesce(rate, 1)", "positives have a rate below 1", "a rate below 1 for 50 positives"),
    ):
        with pytest.raises(SampleError, match=what) as caught:
            run_stage(opened(spark, root, negatives), build_samples)
        assert got in caught.value.got
        assert "negatives:" in caught.value.fix
