"""Predictions of several rankers are reduced together and taken apart again."""

import pandas as pd
from pyspark.sql import SparkSession

from reweight.evaluate.arms import as_arms, by_ranker
from reweight.evaluate.reduction import Reduced


def frame(*arms: str) -> pd.DataFrame:
    return pd.DataFrame({"judge": "recorded", "method": arms, "value": range(len(arms))})


def test_what_was_reduced_together_is_taken_apart_by_ranker() -> None:
    arms = ("gbt/uniform", "gbt/random", "gbt_2/uniform")
    thresholds = {("recorded", arm): bin_ for bin_, arm in enumerate(arms)}
    reduced = Reduced(bins=frame(*arms), thresholds=thresholds, values=frame(*arms))
    found = by_ranker(reduced, ["gbt_2", "gbt", "absent"])
    assert list(found) == ["gbt_2", "gbt"]
    assert found["gbt"].thresholds == {("recorded", "uniform"): 0, ("recorded", "random"): 1}
    assert found["gbt_2"].thresholds == {("recorded", "uniform"): 2}
    for part in (found["gbt"].values, found["gbt"].bins):
        assert list(zip(part["method"], part["value"], strict=True)) == [
            ("uniform", 0),
            ("random", 1),
        ]


def test_predictions_of_earlier_versions_are_of_the_first_ranker(spark: SparkSession) -> None:
    now = spark.createDataFrame(
        [("als", "random"), (None, "uniform")], "ranker string, method string"
    )
    assert [tuple(r) for r in as_arms(now, "first").collect()] == [
        ("als/random",),
        ("first/uniform",),
    ]
    before = as_arms(now.select("method"), "first")
    assert [tuple(r) for r in before.collect()] == [("first/random",), ("first/uniform",)]
