"""How well the reference's ranker still orders the labels of each day.

When tastes turn, the distribution of features may stay as it is while what they say of the label
changes. The AUC on a day's settled rows shows it. Of n positives and m negatives without any drift,
with Q = A / (2 - A) and R = 2 A^2 / (1 + A), its variance is (Hanley & McNeil 1982)

    (A (1 - A) + (n - 1) (Q - A^2) + (m - 1) (R - A^2)) / (n m)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.store import Store
from reweight.core.tables import METRICS
from reweight.evaluate.judges import RECORDED
from reweight.evaluate.metrics import auc
from reweight.train_ranker.rankers import FittedRanker

# Scores are counted in bins of the log odds, between these.
_BINS_PER_UNIT, _END = 20, 20


@dataclass(frozen=True)
class Order:
    """The AUC of a ranker.

    Attributes:
        auc: the AUC; None if there are no rows of one class.
        positives: rows with label 1.
        negatives: rows with label 0.
    """

    auc: float | None
    positives: int
    negatives: int

    def variance(self, of: float) -> float:
        """The variance of an AUC of so many rows, if it is ``of`` on the average."""
        q, r, square = of / (2 - of), 2 * of**2 / (1 + of), of**2
        n, m = self.positives, self.negatives
        return float((of - square + (n - 1) * (q - square) + (m - 1) * (r - square)) / (n * m))


@dataclass(frozen=True)
class Ranked:
    """How well a ranker orders the days.

    Attributes:
        usual: its AUC on the reference's test rows; None if that was not measured.
        error: the standard error of ``usual``.
        days: day -> the AUC on its settled rows.
    """

    usual: float | None = None
    error: float = 0.0
    days: Mapping[int, Order] = field(default_factory=dict)


def usual_auc(
    store: Store, run_id: str, ranker: str, method: str, confidence: float
) -> tuple[float, float] | None:
    """The AUC of a ranker by the recorded labels of a run's test rows, and its standard error.

    Args:
        store: the tables.
        run_id: the run.
        ranker: name of the ranker.
        method: the method with whose weights it was trained.
        confidence: level of the run's intervals, which the error is taken from.

    Returns:
        None if the run has not been evaluated, or has no positive test rows.
    """
    rows = store.read(METRICS, run_id, may_be_empty=True)
    conditions = {"judge": RECORDED, "ranker": ranker, "method": method, "split": "test"}
    conditions |= {"name": "auc", "kind": "value"}
    for column, value in conditions.items():
        rows = rows.where(F.col(column) == value)
    auc_row = rows.where("segment IS NULL").select("value", "low", "high").first()
    if auc_row is None or auc_row["value"] is None or auc_row["low"] is None:
        return None
    width = float(auc_row["high"] - auc_row["low"])
    return float(auc_row["value"]), width / (2 * float(scipy.stats.norm.ppf((1 + confidence) / 2)))


def orders(rows: DataFrame, ranker: FittedRanker) -> dict[int, Order]:
    """Day -> the AUC of a ranker on the day's settled rows, in one pass.

    Args:
        rows: samples with ``day`` and the columns that the ranker reads.
        ranker: the fitted ranker.
    """
    settled = ranker.with_log_odds(rows.where("mature AND label IS NOT NULL"), "_score")
    place = F.greatest(F.lit(-_END), F.least(F.lit(_END), F.col("_score"))) * _BINS_PER_UNIT
    positive = F.col("label").cast("double")
    by_bin = settled.groupBy("day", F.round(place).cast("int").alias("bin"))
    sums = by_bin.agg(F.sum(positive).alias("positive"), F.sum(1 - positive).alias("negative"))
    # Small by nature: days times bins.
    counts = sums.toPandas().sort_values(["day", "bin"])
    return {day: _order(counts[counts["day"] == day]) for day in counts["day"].unique().tolist()}


def _order(part: pd.DataFrame) -> Order:
    positive, negative = (part[name].to_numpy(float) for name in ("positive", "negative"))
    area = float(auc(positive, negative))
    defined_area = None if np.isnan(area) else area
    return Order(defined_area, round(float(positive.sum())), round(float(negative.sum())))
