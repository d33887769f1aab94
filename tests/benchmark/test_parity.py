"""What the benchmark computes in memory is what the stages compute on Spark, from the same rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from pyspark.sql import SparkSession
from test_metrics_in_memory import predictions

from reweight.benchmark.conditions.metrics_in_memory import measured
from reweight.benchmark.fits import facts_of
from reweight.build_samples.feature_stats import feature_quantiles
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
        # Intervals are of other buckets: groups are hashed by other functions.
        close = None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True)
        assert found[key] == close, key


def test_quantiles_of_features_in_memory_are_those_of_spark(spark: SparkSession) -> None:
    features = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    rows = [(i, [float(x) for x in row]) for i, row in enumerate(features)]
    train = spark.createDataFrame(rows, "sample_id bigint, features array<float>")
    ids = torch.arange(500)
    batch = Batch(ids, torch.from_numpy(features), torch.empty((500, 0)), (ids % 2).float())
    facts = facts_of(batch, (), 0, EnsembleTraining(bins=4))
    expected = feature_quantiles(train, 500, 4)
    np.testing.assert_allclose(facts.quantiles, expected, rtol=1e-9, atol=1e-9)
