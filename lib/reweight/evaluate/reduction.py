"""TODO docstring."""

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

# Width of a fine bin in log odds, and where the outermost bins are: the error of the AUC from
# ties within a bin is below 1e-5.
FINE, EDGE = 0.005, 20.0


LOWEST = 1e-15


@dataclass(frozen=True)
class Reduced:
    """What is left of predictions, as frames of small size.

    Attributes:
        bins: a row per method, split and fine bin: ``n``, ``pos`` and the sum ``predicted``.
        thresholds: method -> fine bin from which on a row is called positive.
        values: of ``values_of``, for every method and split.
    """

    bins: pd.DataFrame
    thresholds: dict[str, int]
    values: pd.DataFrame

    def probabilities(self) -> dict[str, float]:
        """The thresholds as probabilities: the lower edge of their bins."""
        return {
            method: round(float(1 / (1 + np.exp(-FINE * bin_))), 4)
            for method, bin_ in self.thresholds.items()
        }


def reduce_predictions(predictions: DataFrame, evaluation: Evaluation, seed: int) -> Reduced:
    """The passes over the rows of the table ``predictions``.

    Args:
        predictions: the table.
        evaluation: the section.
        seed: of the buckets and of the bootstrap.
    """
    rows = _with_parts(predictions, evaluation, seed)
    fine = _summed(rows, ["segment", "bin"]).persist(StorageLevel.DISK_ONLY)
    try:
        by_bin = fine.groupBy("method", "split", "bin").agg(
            *[F.sum(name).alias(name) for name in ("n", "pos", "predicted")]
        )
        # Small by nature: bins that occur, at most 8,000 per method and split.
        bins = by_bin.toPandas()
        known, thresholds = known_bins(bins, evaluation)
        cut = F.broadcast(predictions.sparkSession.createDataFrame(known))
        groups = _grouped(rows, evaluation)

        def values(cells: pd.DataFrame) -> pd.DataFrame:
            of_bins = cells["bucket"].isna()
            return values_of(cells[of_bins], cells[~of_bins], groups, evaluation, seed)

        coarse = _summed(
            rows.join(cut, on=["method", "bin"]), ["segment", "bucket", "coarse", "called"]
        )
        cells = fine.join(cut, on=["method", "bin"]).unionByName(coarse, allowMissingColumns=True)
        # Small by nature: some numbers and their resamples, per method and split.
        found = cells.groupBy("method", "split").applyInPandas(values, VALUES).toPandas()
    finally:
        fine.unpersist()
    return Reduced(bins, thresholds, found)


def known_bins(bins: pd.DataFrame, evaluation: Evaluation) -> tuple[pd.DataFrame, dict[str, int]]:
    """What each fine bin of a method belongs to.

    Args:
        bins: rows ``n`` and positives ``pos`` by ``method``, ``split`` and ``bin``.
        evaluation: the section.

    Returns:
        A row per ``method`` and ``bin``: its ``coarse`` one, and whether rows of it are ``called``
        positive; and method -> fine bin from which on they are.
    """
    thresholds = {str(m): _threshold(own) for m, own in bins.groupby("method")}
    known = bins.groupby(["method", "bin"])["n"].sum().reset_index()
    counts = known.groupby("method")["n"]
    # Coarse ones hold about equally many rows.
    middle = (counts.cumsum() - known["n"] / 2) / counts.transform("sum")
    last = evaluation.bins - 1
    known["coarse"] = np.minimum(last, np.floor(middle * evaluation.bins)).astype(int)
    known["called"] = known["bin"] >= known["method"].map(thresholds)
    return known.drop(columns="n"), thresholds


def curves(found: Reduced) -> dict[str, Any]:
    """ROC, precision-recall and calibration, per method and split: what a report draws."""
    result: dict[str, Any] = {}
    for (method, split), part in found.bins.sort_values("bin").groupby(["method", "split"]):
        n, pos, predicted = (part[c].to_numpy(float) for c in ("n", "pos", "predicted"))
        tp, fp, _, _ = metrics.confusion(pos, n - pos)
        take = np.unique(np.linspace(0, len(n) - 1, 150).astype(int))
        tenth = np.minimum(9, (np.cumsum(n) - n / 2) / n.sum() * 10).astype(int)
        tenths = [tenth == i for i in range(10) if (tenth == i).any()]
        result.setdefault(str(method), {})[str(split)] = {
            "roc": [
                metrics.ratio(fp[take], (n - pos).sum(), 0.0).tolist(),
                metrics.ratio(tp[take], pos.sum(), 0.0).tolist(),
            ],
            "pr": [
                metrics.ratio(tp[take], pos.sum(), 0.0).tolist(),
                metrics.ratio(tp[take], (tp + fp)[take], 0.0).tolist(),
            ],
            "calibration": [
                [float(predicted[t].sum() / n[t].sum()) for t in tenths],
                [float(pos[t].sum() / n[t].sum()) for t in tenths],
                [float(n[t].sum()) for t in tenths],
            ],
        }
    return result


@dataclass(frozen=True)
class LossTerms(Generic[Value]):
    """What a row adds to the sums, and where in the histogram it stands.

    Attributes:
        p: the prediction, cut to where its logarithms are finite.
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
    """The terms of each row.

    Args:
        arithmetic: of columns or arrays.
        probability: predictions.
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


def _with_parts(predictions: DataFrame, evaluation: Evaluation, seed: int) -> DataFrame:
    """Adds bin, bucket and the terms of the sums."""
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
    segment = F.when(F.col("segment").isNull(), "all").when(
        F.col("segment").isin(largest), F.col("segment")
    )
    return predictions.select(
        "method",
        "split",
        "group_id",
        "sample_id",
        F.coalesce(segment, F.lit("other")).alias("segment"),
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
    same = Window.partitionBy("method", "split", "group_id", "p")
    k = evaluation.ndcg_k
    ideal = F.expr(
        f"aggregate(sequence(1, {k}), 0D, (s, r) -> s + IF(r <= n1, 1 / log2(1 + r), 0D))"
    )
    ranked = rows.withColumns(
        {
            "rank": F.rank().over(group.orderBy("p")) + (F.count("*").over(same) - 1) / 2,
            # Equal scores are shown in an order that has nothing to do with the label.
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
    """What a group adds to GAUC and NDCG.

    AUC_g = (sum of the ranks of positives - n1 (n1 + 1) / 2) / (n1 n0), with ties at mean rank.

    Args:
        arithmetic: of columns or arrays.
        n: rows of the group.
        n1: its positives.
        ranks: sum of the ranks of its positives, by ascending score.
        dcg: its discounted cumulative gain.
        ideal: the largest that it could have; not 0.
    """
    pairs = arithmetic.where((n1 > 0) & (n1 < n), n1 * (n - n1), 1.0)
    area = (ranks - n1 * (n1 + 1) / 2) / pairs
    both = arithmetic.where((n1 > 0) & (n1 < n), 1.0, 0.0)
    some = arithmetic.where(n1 > 0, 1.0, 0.0)
    return {
        "gauc": arithmetic.where((n1 > 0) & (n1 < n), area * n, 0.0),
        "gauc_rows": both * n,
        "ndcg": arithmetic.where(n1 > 0, dcg / ideal, 0.0),
        "ndcg_groups": some,
        "groups_left_out": 1 - both,
    }


def _threshold(own: pd.DataFrame) -> int:
    """The fine bin with the highest macro F1 on the validation split, and on no other."""
    counts = own[own["split"] == "validation"].groupby("bin")[["n", "pos"]].sum().sort_index()
    if counts.empty:
        return 0  # probability 0.5
    pos, n = counts["pos"].to_numpy(float), counts["n"].to_numpy(float)
    best = int(np.argmax(metrics.macro_f1(*metrics.confusion(pos, n - pos))))
    return int(counts.index[best])
