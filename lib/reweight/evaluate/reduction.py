"""Predictions -> sums whose size does not depend on the number of rows.

Three passes: a fine histogram of scores (point values, thresholds, curves), a pass by group (GAUC,
NDCG), and a coarse histogram by bucket of groups (intervals). Each is by judge, method and split.
Where there are few rows, one pass gives each judge and method its rows, and all else is in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.core.arithmetic import COLUMNS
from reweight.core.columns import design_weight
from reweight.core.persisted import persisted
from reweight.core.session_kind import slots
from reweight.evaluate import metrics
from reweight.evaluate.bins import BIN_SUMS, BINS, KEYS, known_bins, pooled_names
from reweight.evaluate.in_memory import PARTS, reduced_in_memory
from reweight.evaluate.judges import RECORDED
from reweight.evaluate.section import Evaluation
from reweight.evaluate.statistics import VALUE_COLUMNS, VALUES, values_of
from reweight.evaluate.terms import FINE, GROUP_SUMS, after_recalibration, group_terms, loss_terms

# Of fewer rows of a judge and method, the sums by bucket and bin are no fewer than they are
# themselves, and a task holds them in half a gigabyte.
_FEW = 600_000


@dataclass(frozen=True)
class Reduced:
    """Predictions reduced to small frames.

    Attributes:
        bins: one row per judge, method, split and fine bin: the sums of the masses ``n``, of the
            positive ones ``pos``, and ``predicted``.
        thresholds: (judge, method) -> lowest fine bin that is called positive.
        values: the output of ``values_of`` for every judge, method and split.
    """

    bins: pd.DataFrame
    thresholds: dict[tuple[str, str], int]
    values: pd.DataFrame

    def probabilities(self, judge: str = RECORDED) -> dict[str, float]:
        """The thresholds of a judge as probabilities, at the lower edges of their bins."""
        return {
            method: round(float(1 / (1 + np.exp(-FINE * bin_))), 4)
            for (own, method), bin_ in self.thresholds.items()
            if own == judge
        }


def reduce_predictions(predictions: DataFrame, evaluation: Evaluation, seed: int) -> Reduced:
    """Reduces the rows of the table ``predictions``.

    Args:
        predictions: rows of the table; those of judges also have ``judge`` and the masses
            ``positive`` and ``negative``. Without them, the recorded label judges.
        evaluation: the section ``evaluation``.
        seed: seed of the buckets and of the bootstrap.
    """
    rows, largest = _with_parts(predictions, evaluation, seed)
    if largest <= _FEW:
        return _reduced_in_memory(rows, evaluation, seed)
    with persisted(_summed(rows, ["segment", "bin"])) as fine:
        by_bin = fine.groupBy(*KEYS, "bin").agg(*[F.sum(name).alias(name) for name in BIN_SUMS])
        # Small by nature: the occupied bins, at most 8,000 per judge, method and split.
        bins = by_bin.toPandas()
        bin_table, thresholds = known_bins(bins, evaluation)
        cut = F.broadcast(predictions.sparkSession.createDataFrame(bin_table))
        groups = _grouped(rows, evaluation)

        def values(sums: pd.DataFrame) -> pd.DataFrame:
            of_bins = sums["bucket"].isna()
            return values_of(sums[of_bins], sums[~of_bins], groups, evaluation, seed)

        q, pos, neg = F.col("q"), F.col("pos"), F.col("n") - F.col("pos")
        after = after_recalibration(COLUMNS, q, F.col("positive"), F.col("negative"))
        coarse = _summed(
            rows.join(cut, on=list(BINS)), ["segment", "bucket", "coarse", "called"], after
        )
        exact = fine.join(cut, on=list(BINS))
        exact = exact.withColumns(after_recalibration(COLUMNS, q, pos, neg))
        sums = exact.unionByName(coarse, allowMissingColumns=True)
        # Small by nature: a few numbers and their resamples per judge, method and split.
        metric_values = sums.groupBy(*KEYS).applyInPandas(values, VALUES).toPandas()
    return Reduced(bins, thresholds, metric_values)


def _reduced_in_memory(rows: DataFrame, evaluation: Evaluation, seed: int) -> Reduced:
    def reduced(of_method: pd.DataFrame) -> pd.DataFrame:
        bins, values = reduced_in_memory(of_method, evaluation, seed)
        # Not NaN, which is no array.
        bins["resampled"] = None
        return pd.concat([bins, values]).reindex(columns=columns)

    columns = [*VALUE_COLUMNS, "bin", *BIN_SUMS]
    schema = ", ".join([VALUES, "bin int", *[f"{name} double" for name in BIN_SUMS]])
    # By number, so that Spark does not join what it takes for small parts: a core each is busy.
    parts = 4 * slots(rows.sparkSession)
    small = rows.select(*KEYS, *PARTS).repartition(parts, *KEYS[:2])
    # Small by nature: as the bins and the values of the other way.
    both = small.groupBy(*KEYS[:2]).applyInPandas(reduced, schema).toPandas()
    of_bins = both["name"].isna()
    bins = both.loc[of_bins, [*KEYS, "bin", *BIN_SUMS]].astype({"bin": int})
    _, thresholds = known_bins(bins, evaluation)
    values = both.loc[~of_bins, list(VALUE_COLUMNS)]
    return Reduced(bins, thresholds, values)


def curves(reduced: Reduced) -> dict[str, Any]:
    """ROC, precision-recall and calibration curves per method and split, on recorded labels."""
    result: dict[str, Any] = {}
    bins = reduced.bins[reduced.bins["judge"] == RECORDED].sort_values("bin")
    for (method, split), part in bins.groupby(["method", "split"]):
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


def _with_parts(predictions: DataFrame, evaluation: Evaluation, seed: int) -> tuple[DataFrame, int]:
    """Adds each row's segment, bin, bucket and contributions to the sums.

    Returns:
        The rows, and how many of them a judge and method has, of the judge that has most.
    """
    if "judge" not in predictions.columns:
        masses = recorded_masses(F.col("label"), design_weight(predictions))
        predictions = predictions.withColumns(masses)
    positive, negative = F.col("positive"), F.col("negative")
    terms = loss_terms(COLUMNS, F.col("probability"), positive, negative)
    judges = sorted({*evaluation.judges, RECORDED})
    # Small by nature: the segments that are shown, rows without one, and the sum of all.
    counted = (
        predictions.rollup("segment")
        .agg(
            F.count("*").alias("n"),
            F.grouping_id().alias("all"),
            # Exact of so few.
            F.approx_count_distinct("method").alias("methods"),
            F.array(*[F.count_if(F.col("judge") == name) for name in judges]).alias("by_judge"),
        )
        .orderBy(F.desc("all"), F.col("segment").isNull(), F.desc("n"), "segment")
        .limit(evaluation.max_segments + 1)
        .collect()
    )
    # Whoever judges alone need not be listed.
    of_judge = (max(counted[0]["by_judge"]) or counted[0]["n"]) if counted else 0
    largest = of_judge // max(1, counted[0]["methods"]) if counted else 0
    shown = [row["segment"] for row in counted[1:] if row["segment"] is not None]
    none, rest = pooled_names(shown)
    segment = F.when(F.col("segment").isNull(), none).when(
        F.col("segment").isin(shown), F.col("segment")
    )
    bucket = F.pmod(F.xxhash64("group_id", F.lit(seed)), F.lit(evaluation.buckets))
    parts = predictions.select(
        *KEYS,
        "group_id",
        F.coalesce(segment, F.lit(rest)).alias("segment"),
        terms.bin.cast("int").alias("bin"),
        bucket.cast("int").alias("bucket"),
        F.xxhash64("group_id").alias("group"),
        # Ties are broken independently of the label.
        F.xxhash64("sample_id").alias("tie"),
        "positive",
        "negative",
        design_weight(predictions).alias("counts"),
        terms.p.alias("p"),
        terms.loss.alias("loss"),
        terms.square.alias("square"),
    )
    return parts, largest


def recorded_masses(label: Column, counts: Column) -> dict[str, Column]:
    """The columns that let the recorded label judge; a row counts as often as ``counts`` says."""
    one = (label == 1).cast("double")
    return {"judge": F.lit(RECORDED), "positive": one * counts, "negative": (1 - one) * counts}


def _summed(
    rows: DataFrame, keys: list[str], more: Mapping[str, Column] | None = None
) -> DataFrame:
    positive, mass = F.col("positive"), F.col("positive") + F.col("negative")
    sums = {
        "rows": F.lit(1),
        "n": mass,
        "pos": positive,
        "squares": positive * positive,
        "predicted": mass * F.col("p"),
        "log_loss": F.col("loss"),
        "brier": F.col("square"),
        **(more or {}),
    }
    return rows.groupBy(*KEYS, *keys).agg(*[F.sum(v).alias(name) for name, v in sums.items()])


def _grouped(rows: DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """AUC and NDCG of each group, summed by bucket.

    AUC_g = sum_i pos_i (negatives scored lower + tied ones / 2) / (positives x negatives), and
    DCG_g = sum_i pos_i / log2(1 + rank_i) over ranks up to k; of signed masses see ``group_terms``.
    """
    owner = [*KEYS, "group_id"]
    group, ties = Window.partitionBy(*owner), Window.partitionBy(*owner, "p")
    k, positive, negative = evaluation.ndcg_k, F.col("positive"), F.col("negative")
    ranked = rows.withColumns(
        {
            "_lower": F.sum(negative).over(group.orderBy("p")) - F.sum(negative).over(ties) / 2,
            "_place": F.row_number().over(group.orderBy(F.desc("p"), "tie")),
            "_best": F.row_number().over(group.orderBy(F.desc("positive"))),
        }
    )

    def gain(place: Column) -> Column:
        gained = F.when(place <= k, positive / F.log2(1.0 + place))
        return F.coalesce(F.sum(gained), F.lit(0.0))

    groups = ranked.groupBy(*KEYS, "bucket", "group_id").agg(
        F.sum("counts").alias("n"),
        F.sum(positive).alias("pos"),
        F.sum(negative).alias("neg"),
        F.sum(positive * F.col("_lower")).alias("pairs"),
        F.sum(positive * negative).alias("own"),
        F.count_if(negative < 0).cast("double").alias("signed"),
        gain(F.col("_place")).alias("dcg"),
        gain(F.col("_best")).alias("ideal"),
    )
    terms = group_terms(COLUMNS, *[F.col(name) for name in GROUP_SUMS])
    # Small by nature: one row per bucket, judge, method and split.
    return (
        groups.groupBy(*KEYS, "bucket")
        .agg(*[F.sum(term).alias(name) for name, term in terms.items()])
        .toPandas()
    )
