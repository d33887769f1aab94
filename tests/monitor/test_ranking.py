"""The AUC of a ranker by day."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.metrics import roc_auc_score

from reweight.monitor.ranking import orders
from reweight.train_ranker.rankers.base import FittedRanker


@dataclass(frozen=True)
class Scores(FittedRanker):
    """Ranks by a score that rows have."""

    @property
    def outcome(self) -> str:
        return "nothing to fit"

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        return rows.withColumn(column, F.col("score"))

    def write(self, folder: Path) -> None:
        raise NotImplementedError


def test_settled_rows_of_a_day_have_the_auc_of_scikit_learn(spark: SparkSession) -> None:
    draw = np.random.default_rng(0)
    day, label = draw.integers(0, 3, 3000), draw.integers(0, 2, 3000)
    score = draw.normal(size=3000) + label * (2 - day) / 2
    rows = pd.DataFrame({"day": day, "label": label.astype(float), "score": score})
    # Of the last day there are no positives, and one row of every ten has an open window.
    rows.loc[(rows["day"] == 2), "label"] = 0.0
    rows["mature"] = np.arange(3000) % 10 > 0
    found = orders(spark.createDataFrame(rows), Scores())
    settled = rows[rows["mature"]]
    for number, part in settled.groupby("day"):
        order = found[number]
        assert (order.positives, order.negatives) == (
            int(part["label"].sum()),
            int((1 - part["label"]).sum()),
        )
        if number < 2:
            area = roc_auc_score(part["label"], part["score"])
            assert order.auc == pytest.approx(area, abs=2e-3)
    assert found[2].auc is None
