"""Predictions -> sums whose size does not depend on the number of rows.

Three passes: a fine histogram of scores (point values, thresholds, curves), a pass by group (GAUC,
NDCG), and a coarse histogram by bucket of groups (intervals).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from reweight.core.arithmetic import COLUMNS, Arithmetic, Value
from reweight.evaluate import metrics
from reweight.evaluate.statistics import VALUES, Evaluation, values_of

# Width of a fine bin in log odds, and where the outermost bins start: ties within a bin change the
# AUC by less than 1e-5.
FINE, EDGE = 0.005, 20.0
# Predictions below this are raised to it, so that their logarithm is finite.
LOWEST = 1e-15


@dataclass(frozen=True)
class Reduced:
    """Predictions reduced to small frames.

    Attributes:
        bins: one row per method, split and fine bin: ``n``, ``pos`` and the sum ``predicted``.
        thresholds: method -> lowest fine bin that is called positive.
        values: the output of ``values_of`` for every method and split.
    """

    bins: pd.DataFrame
    thresholds: dict[str, int]
    values: pd.DataFrame

    def probabilities(self) -> dict[str, float]:
        """The thresholds as probabilities, at the lower edges of their bins."""
        return {
            method: round(float(1 / (1 + np.exp(-FINE * bin_))), 4)
            for method, bin_ in self.thresholds.items()
        }


def reduce_predictions(predictions: DataFrame, evaluation: Evaluation, seed: int) -> Reduced:
    """Reduces the rows of the table ``predictions``.

    Args:
        predictions: rows of the table.
        evaluation: the section ``evaluation``.
        seed: seed of the buckets and of the bootstrap.
    """
    rows = _with_parts(predictions, evaluation, seed)
    fine = _summed(rows, ["segment", "bin"]).persist(StorageLevel.DISK_ONLY)
    try:
        by_bin = fine.groupBy("method", "split", "bin").agg(
            *[F.sum(name).alias(name) for name in ("n", "pos", "predicted")]
        )
        # Small by nature: the occupied bins, at most 8,000 per method and split.
        bins = by_bin.toPandas()
        bin_table, thresholds = known_bins(bins, evaluation)
        cut = F.broadcast(predictions.sparkSession.createDataFrame(bin_table))
        groups = _grouped(rows, evaluation)

        def values(sums: pd.DataFrame) -> pd.DataFrame:
            of_bins = sums["bucket"].isna()
            return values_of(sums[of_bins], sums[~of_bins], groups, evaluation, seed)

        coarse = _summed(
            rows.join(cut, on=["method", "bin"]), ["segment", "bucket", "coarse", "called"]
        )
        sums = fine.join(cut, on=["method", "bin"]).unionByName(coarse, allowMissingColumns=True)
        # Small by nature: a few numbers and their resamples per method and split.
        metric_values = sums.groupBy("method", "split").applyInPandas(values, VALUES).toPandas()
    finally:
        fine.unpersist()
    return Reduced(bins, thresholds, metric_values)


def known_bins(bins: pd.DataFrame, evaluation: Evaluation) -> tuple[pd.DataFrame, dict[str, int]]:
    """Assigns each fine bin of a method to a coarse bin and to a predicted class.

    Args:
        bins: rows ``n`` and positives ``pos`` by ``method``, ``split`` and ``bin``.
        evaluation: the section ``evaluation``.

    Returns:
        One row per ``method`` and ``bin`` with its ``coarse`` bin and whether its rows are
        ``called`` positive; and method -> lowest fine bin that is called positive.
    """
    thresholds = {str(m): _threshold(part) for m, part in bins.groupby("method")}
    bin_table = bins.groupby(["method", "bin"])["n"].sum().reset_index()
    counts = bin_table.groupby("method")["n"]
    # Coarse bins hold about the same number of rows.
    middle = (counts.cumsum() - bin_table["n"] / 2) / counts.transform("sum")
    last = evaluation.bins - 1
    bin_table["coarse"] = np.minimum(last, np.floor(middle * evaluation.bins)).astype(int)
    bin_table["called"] = bin_table["bin"] >= bin_table["method"].map(thresholds)
    return bin_table.drop(columns="n"), thresholds


def curves(reduced: Reduced) -> dict[str, Any]:
    """ROC, precision-recall and calibration curves per method and split, for the report."""
    result: dict[str, Any] = {}
    for (method, split), part in reduced.bins.sort_values("bin").groupby(["method", "split"]):
        n, pos, predicted = (part[c].to_numpy(float) for c in ("n", "pos", "predicted"))
        tp, fp, _, _ = metrics.confusion(pos, n - pos)
        shown = np.unique(np.linspace(0, len(n) - 1, 150).astype(int))
        decile = np.minimum(9, (np.cumsum(n) - n / 2) / n.sum() * 10).astype(int)
        deciles = [decile == i for i in range(10) if (decile == i).any()]
        result.setdefault(str(method), {})[str(split)] = {
            "roc": [
                metrics.ratio(fp[shown], (n - pos).sum(), 0.0).tolist(),
                metrics.ratio(tp[shown], pos.sum(), 0.0).tolist(),
            ],
            "pr": [
                metrics.ratio(tp[shown], pos.sum(), 0.0).tolist(),
                metrics.ratio(tp[shown], (tp + fp)[shown], 0.0).tolist(),
            ],
            "calibration": [
                [float(predicted[t].sum() / n[t].sum()) for t in deciles],
                [float(pos[t].sum() / n[t].sum()) for t in deciles],
                [float(n[t].sum()) for t in deciles],
            ],
        }
    return result


@dataclass(frozen=True)
class LossTerms(Generic[Value]):
    """A row's contributions to the sums, and its bin in the histogram.

    Attributes:
        p: the prediction, clipped so that its logarithms are finite.
        bin: fine bin of its log odds.
        loss: log loss.
        square: squared error.
    """

    p: Value
    bin: Value
    loss: Value
    square: Value


def loss_terms(
    arithmetic: Arithmetic[Value], probability: Value, positive: Any
) -> LossTerms[Value]:
    """Computes the terms of each row.

    Args:
        arithmetic: the operations on columns or arrays.
        probability: the predictions.
        positive: whether the label is 1.
    """
    p = arithmetic.clip(probability, LOWEST, 1 - 1e-12)
    logit = arithmetic.clip(arithmetic.log(p / (1 - p)), -EDGE, EDGE)
    return LossTerms(
        p=p,
        bin=arithmetic.floor(logit / FINE),
        loss=arithmetic.where(positive, -arithmetic.log(p), -arithmetic.log1p(-p)),
        square=arithmetic.power(p - arithmetic.where(positive, 1.0, 0.0), 2.0),
    )


def pooled_names(shown: Collection[str]) -> tuple[str, str]:
    """What rows without a segment, and those of all segments that are not shown, are called.

    ``all`` and ``other``, unless a segment that is shown has this name.

    Args:
        shown: the segments that are shown.
    """
    none, rest = "all", "other"
    while none in shown:
        none = f"({none})"
    while rest in shown:
        rest = f"({rest})"
    return none, rest


def _with_parts(predictions: DataFrame, evaluation: Evaluation, seed: int) -> DataFrame:
    """Adds each row's segment, bin, bucket and contributions to the sums."""
    terms = loss_terms(COLUMNS, F.col("probability"), F.col("label") == 1)
    largest = [
        row["segment"]
        for row in predictions.where(F.col("segment").isNotNull())
        .groupBy("segment")
        .count()
        .orderBy(F.desc("count"), "segment")
        .limit(evaluation.max_segments)
        .collect()
    ]
    none, rest = pooled_names(largest)
    segment = F.when(F.col("segment").isNull(), none).when(
        F.col("segment").isin(largest), F.col("segment")
    )
    return predictions.select(
        "method",
        "split",
        "group_id",
        "sample_id",
        F.coalesce(segment, F.lit(rest)).alias("segment"),
        terms.bin.cast("int").alias("bin"),
        F.pmod(F.xxhash64("group_id", F.lit(seed)), F.lit(evaluation.buckets))
        .cast("int")
        .alias("bucket"),
        (F.col("label") == 1).cast("int").alias("y"),
        terms.p.alias("p"),
        terms.loss.alias("loss"),
        terms.square.alias("square"),
    )


def _summed(rows: DataFrame, keys: list[str]) -> DataFrame:
    return rows.groupBy("method", "split", *keys).agg(
        F.count("*").alias("n"),
        F.sum("y").alias("pos"),
        F.sum("p").alias("predicted"),
        F.sum("loss").alias("log_loss"),
        F.sum("square").alias("brier"),
    )


def _grouped(rows: DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """AUC and NDCG of each group, summed by bucket.

    AUC_g = (sum of the ranks of positives - n1 (n1 + 1) / 2) / (n1 n0), with ties at mean rank;
    DCG_g = sum over positives at rank r <= k of 1 / log2(1 + r).
    """
    group = Window.partitionBy("method", "split", "group_id")
    ties = Window.partitionBy("method", "split", "group_id", "p")
    k = evaluation.ndcg_k
    ideal = F.expr(
        f"aggregate(sequence(1, {k}), 0D, (s, r) -> s + IF(r <= n1, 1 / log2(1 + r), 0D))"
    )
    ranked = rows.withColumns(
        {
            "rank": F.rank().over(group.orderBy("p")) + (F.count("*").over(ties) - 1) / 2,
            # Ties are broken independently of the label.
            "place": F.row_number().over(group.orderBy(F.desc("p"), F.xxhash64("sample_id"))),
        }
    )
    gain = F.when((F.col("y") == 1) & (F.col("place") <= k), 1 / F.log2(1.0 + F.col("place")))
    groups = ranked.groupBy("method", "split", "bucket", "group_id").agg(
        F.count("*").alias("n"),
        F.sum("y").alias("n1"),
        F.sum(F.when(F.col("y") == 1, F.col("rank"))).alias("ranks"),
        F.coalesce(F.sum(gain), F.lit(0.0)).alias("dcg"),
    )
    n, n1, ranks, dcg = (F.col(name) for name in ("n", "n1", "ranks", "dcg"))
    terms = group_terms(COLUMNS, n, n1, ranks, dcg, ideal)
    # Small by nature: one row per bucket, method and split.
    return (
        groups.groupBy("method", "split", "bucket")
        .agg(*[F.sum(term).alias(name) for name, term in terms.items()])
        .toPandas()
    )


def group_terms(
    arithmetic: Arithmetic[Value], n: Value, n1: Value, ranks: Value, dcg: Value, ideal: Value
) -> dict[str, Value]:
    """A group's contributions to GAUC and NDCG.

    AUC_g = (sum of the ranks of positives - n1 (n1 + 1) / 2) / (n1 n0), with ties at mean rank.

    Args:
        arithmetic: the operations on columns or arrays.
        n: number of rows in the group.
        n1: number of positives in the group.
        ranks: sum of the ranks of its positives, by ascending score.
        dcg: its discounted cumulative gain.
        ideal: its highest possible gain; not 0.
    """
    pairs = arithmetic.where((n1 > 0) & (n1 < n), n1 * (n - n1), 1.0)
    area = (ranks - n1 * (n1 + 1) / 2) / pairs
    has_both_classes = arithmetic.where((n1 > 0) & (n1 < n), 1.0, 0.0)
    has_positives = arithmetic.where(n1 > 0, 1.0, 0.0)
    return {
        "gauc": arithmetic.where((n1 > 0) & (n1 < n), area * n, 0.0),
        "gauc_rows": has_both_classes * n,
        "ndcg": arithmetic.where(n1 > 0, dcg / ideal, 0.0),
        "ndcg_groups": has_positives,
        "groups_left_out": 1 - has_both_classes,
    }


def _threshold(bins: pd.DataFrame) -> int:
    """The fine bin with the highest macro F1 on the validation split; other splits are not used."""
    counts = bins[bins["split"] == "validation"].groupby("bin")[["n", "pos"]].sum().sort_index()
    if counts.empty:
        return 0  # probability 0.5
    pos, n = counts["pos"].to_numpy(float), counts["n"].to_numpy(float)
    best = int(np.argmax(metrics.macro_f1(*metrics.confusion(pos, n - pos))))
    return int(counts.index[best])
