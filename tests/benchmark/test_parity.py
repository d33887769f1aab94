"""What the benchmark computes in memory is what the stages compute on Spark, from the same rows."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pyspark.sql import SparkSession
from test_metrics_in_memory import predictions, through_positions

from reweight.benchmark.conditions.metrics_in_memory import measured
from reweight.benchmark.fits import facts_of
from reweight.build_samples.feature_stats import feature_quantiles
from reweight.evaluate import reduction
from reweight.evaluate.comparison import measure
from reweight.evaluate.reduction import reduce_predictions
from reweight.evaluate.section import Evaluation
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleTraining

EVALUATION = Evaluation(replicates=100, buckets=40)


def test_metrics_in_memory_are_those_of_the_stage(spark: SparkSession) -> None:
    frame = predictions(3, groups=120).astype({"group_id": str})
    frame["segment"] = np.where(frame["sample_id"] % 3 == 0, "a", "b")
    validation = frame[frame["sample_id"] < 200].assign(split="validation")
    frame = pd.concat([frame, validation])
    found = {
        (r["method"], r["split"], r["segment"], r["name"], r["kind"]): r["value"]
        for r in measured(frame, EVALUATION, "uniform", 0)
    }
    values = reduce_predictions(spark.createDataFrame(frame), EVALUATION, 0).values
    expected = {
        (r["method"], r["split"], r["segment"], r["name"], r["kind"]): r["value"]
        for r in measure(values, EVALUATION, "uniform")
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        # The buckets are others: groups are hashed by other functions.
        rel = 0.2 if key[3] == "effective_buckets" else 1e-9
        close = None if value is None else pytest.approx(value, rel=rel, abs=1e-9, nan_ok=True)
        assert found[key] == close, key


@pytest.mark.parametrize("made", [predictions, through_positions])
def test_many_rows_are_reduced_to_what_few_are(
    spark: SparkSession, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = made(4, 100).astype({"group_id": str, "sample_id": int})
    frame["segment"] = np.where(frame["sample_id"] % 3 == 0, "a", None)
    frame["design_weight"] = 1.0 + frame["sample_id"] % 2
    frame = pd.concat([frame, frame[frame["sample_id"] < 200].assign(split="validation")])
    rows = spark.createDataFrame(frame)
    few = reduce_predictions(rows, EVALUATION, 0)
    monkeypatch.setattr(reduction, "_FEW", 0)
    many = reduce_predictions(rows, EVALUATION, 0)
    assert few.thresholds == many.thresholds
    by = ["judge", "method", "split", "bin"]
    ours, theirs = (
        one.bins.sort_values(by)[[*by, "rows", "n", "pos", "predicted"]] for one in (few, many)
    )
    np.testing.assert_array_equal(ours[by], theirs[by])
    np.testing.assert_allclose(ours.iloc[:, 4:], theirs.iloc[:, 4:], rtol=1e-9, atol=1e-9)
    keys = ("judge", "method", "split", "segment", "name", "kind")
    numbers = [
        {tuple(r[k] for k in keys): (r["value"], r["low"], r["high"]) for r in of_all}
        for of_all in (measure(one.values, EVALUATION, "uniform") for one in (few, many))
    ]
    assert numbers[0].keys() == numbers[1].keys()
    for key, values in numbers[0].items():
        for value, other in zip(values, numbers[1][key], strict=True):
            near = None if other is None else pytest.approx(other, rel=1e-9, abs=1e-9, nan_ok=True)
            assert value == near, key


def test_quantiles_of_features_in_memory_are_those_of_spark(spark: SparkSession) -> None:
    features = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    rows = [(i, [float(x) for x in row]) for i, row in enumerate(features)]
    train = spark.createDataFrame(rows, "sample_id bigint, features array<float>")
    ids = torch.arange(500)
    batch = Batch(ids, torch.from_numpy(features), torch.empty((500, 0)), (ids % 2).float())
    facts = facts_of(batch, (), 0, EnsembleTraining(bins=4))
    expected = feature_quantiles(train, 500, 4)
    np.testing.assert_allclose(facts.quantiles, expected, rtol=1e-9, atol=1e-9)
