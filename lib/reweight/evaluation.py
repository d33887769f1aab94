"""Predictions and weights -> sums that are small whatever the number of rows, and metrics of them.

Three passes: a fine histogram of scores (point values, thresholds, curves), a pass by group (GAUC,
NDCG), and a coarse histogram by bucket of groups (intervals). All metrics are unweighted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight import bootstrap, metrics
from reweight.section import Section

Array = NDArray[np.float64]

# Width of a fine bin in log odds, and where the outermost bins are: the error of the AUC from
# ties within a bin is below 1e-5.
FINE, EDGE = 0.005, 20.0
LOWEST = 1e-15


class Evaluation(Section):
    """The section ``evaluation``.

    Attributes:
        ndcg_k: ranks that NDCG looks at.
        buckets: of groups; what the bootstrap resamples.
        replicates: resamples.
        confidence: of the intervals.
        bins: of the coarse histogram.
        max_segments: largest segments that are shown; the others are one, ``other``.
        min_positives: of a segment that counts for the worst-group AUC and log loss.
    """

    ndcg_k: int = Field(default=10, ge=1)
    buckets: int = Field(default=200, ge=20)
    replicates: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    bins: int = Field(default=100, ge=10)
    max_segments: int = Field(default=10, ge=1)
    min_positives: int = Field(default=10, ge=1)


@dataclass(frozen=True)
class Histograms:
    """Sums over predictions, as frames of small size.

    Attributes:
        fine: a row per method, split, segment and fine bin; also ``coarse``, the bin's coarse one.
        coarse: a row per method, split, segment, bucket and coarse bin.
        groups: a row per method, split and bucket: sums over its groups.
        thresholds: method -> fine bin from which on a row is called positive.
    """

    fine: pd.DataFrame
    coarse: pd.DataFrame
    groups: pd.DataFrame
    thresholds: dict[str, int]

    def probabilities(self) -> dict[str, float]:
        """The thresholds as probabilities: the lower edge of their bins."""
        return {
            method: round(float(1 / (1 + np.exp(-FINE * bin_))), 4)
            for method, bin_ in self.thresholds.items()
        }


@dataclass
class Statistics:
    """All that the metrics of one method and split are computed from.

    The first axis of every array is the resample; the value on all rows is a single one.

    Attributes:
        pos: positives per bin of ascending score [R, bins].
        neg: negatives [R, bins].
        predicted: sums of predictions [R, bins].
        twentieth: bin -> which of 20 equal parts of the rows it is in, [bins].
        sums: name -> [R].
        segments: segment -> (pos, neg), each [R, bins].
        losses: segment -> sum of log losses [R].
    """

    pos: Array
    neg: Array
    predicted: Array
    twentieth: NDArray[np.int64]
    sums: dict[str, Array]
    segments: dict[str, tuple[Array, Array]]
    losses: dict[str, Array]


Row = dict[str, Any]


def reduce_predictions(predictions: DataFrame, evaluation: Evaluation, seed: int) -> Histograms:
    """The three passes over the rows of the table ``predictions``."""
    rows = _with_parts(predictions, evaluation, seed)
    # Small by nature: bins that occur, at most 8,000 per method, split and segment.
    fine = _collected(rows, ["method", "split", "segment", "bin"], F.lit(False))
    thresholds = add_bins(fine, evaluation)
    bins = fine[["method", "bin", "coarse"]].drop_duplicates()
    bins["called"] = bins["bin"] >= bins["method"].map(thresholds)
    known = F.broadcast(predictions.sparkSession.createDataFrame(bins))
    # Small by nature: buckets times coarse bins, per method, split and segment.
    coarse = _collected(
        rows.join(known, on=["method", "bin"], how="inner"),
        ["method", "split", "segment", "bucket", "coarse"],
        F.col("called"),
    )
    return Histograms(fine, coarse, _grouped(rows, evaluation), thresholds)


def add_bins(fine: pd.DataFrame, evaluation: Evaluation) -> dict[str, int]:
    """Adds each fine bin's coarse one, and what is right and wrong of those called positive.

    Returns:
        Method -> fine bin from which on a row is called positive.
    """
    fine["coarse"] = pd.concat(
        [_coarse_bins(own, evaluation.bins) for _, own in fine.groupby("method")]
    )
    thresholds = {str(m): _threshold(own) for m, own in fine.groupby("method")}
    called = fine["bin"] >= fine["method"].map(thresholds)
    fine["tp"], fine["fp"] = fine["pos"] * called, (fine["n"] - fine["pos"]) * called
    return thresholds


def measure(found: Histograms, evaluation: Evaluation, baseline: str, seed: int) -> list[Row]:
    """Metrics with intervals, and differences to the baseline with paired intervals.

    Args:
        found: the sums.
        evaluation: the section.
        baseline: method that differences are taken to.
        seed: of the bootstrap.

    Returns:
        Rows with ``method``, ``split``, ``segment``, ``name``, ``kind``, ``value``, ``low``,
        ``high``.
    """
    rows: list[Row] = []
    for split in sorted(found.fine["split"].unique()):
        buckets = sorted(found.groups.loc[found.groups["split"] == split, "bucket"].unique())
        drawn = bootstrap.draws(len(buckets), evaluation.replicates, seed)
        values = {
            method: _three_ways(found, method, split, buckets, drawn, evaluation)
            for method in found.thresholds
        }
        for method, own in values.items():
            rows += _rows(method, split, "value", own, evaluation.confidence)
            fine = _fine_statistics(found, method, split, evaluation.bins)
            rows += _segment_rows(fine, method, split)
            if method != baseline:
                pairs = zip(own, values[baseline], strict=True)
                less = [{k: a[k] - b[k] for k in a} for a, b in pairs]
                rows += _rows(method, split, "difference", less, evaluation.confidence)
    return rows


def curves(found: Histograms) -> dict[str, Any]:
    """ROC, precision-recall and calibration, per method and split: what a report draws."""
    result: dict[str, Any] = {}
    for (method, split), part in found.fine.groupby(["method", "split"]):
        by_bin = part.groupby("bin")[["n", "pos", "predicted"]].sum().sort_index()
        n, pos, predicted = (by_bin[c].to_numpy(float) for c in ("n", "pos", "predicted"))
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


def _with_parts(predictions: DataFrame, evaluation: Evaluation, seed: int) -> DataFrame:
    """Adds bin, bucket and the terms of the sums."""
    p = F.greatest(F.lit(LOWEST), F.least(F.lit(1 - 1e-12), F.col("probability")))
    logit = F.log(p / (1 - p))
    edged = F.greatest(F.lit(-EDGE), F.least(F.lit(EDGE), logit))
    positive = F.col("label") == 1
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
        F.floor(edged / FINE).cast("int").alias("bin"),
        F.pmod(F.xxhash64("group_id", F.lit(seed)), F.lit(evaluation.buckets))
        .cast("int")
        .alias("bucket"),
        positive.cast("int").alias("y"),
        p.alias("p"),
        F.when(positive, -F.log(p)).otherwise(-F.log1p(-p)).alias("loss"),
        F.pow(p - positive.cast("int"), 2).alias("square"),
    )


def _collected(rows: DataFrame, keys: list[str], called: Column) -> pd.DataFrame:
    y = F.col("y")
    return (
        rows.groupBy(*keys)
        .agg(
            F.count("*").alias("n"),
            F.sum("y").alias("pos"),
            F.sum("p").alias("predicted"),
            F.sum("loss").alias("log_loss"),
            F.sum("square").alias("brier"),
            F.sum(F.when(called, y).otherwise(0)).alias("tp"),
            F.sum(F.when(called, 1 - y).otherwise(0)).alias("fp"),
        )
        .toPandas()
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
    n1, n0 = F.col("n1"), F.col("n") - F.col("n1")
    area = (F.col("ranks") - n1 * (n1 + 1) / 2) / (n1 * n0)
    both, some = (n1 > 0) & (n0 > 0), n1 > 0
    # Small by nature: one row per bucket, method and split.
    return (
        groups.groupBy("method", "split", "bucket")
        .agg(
            F.sum(F.when(both, area * F.col("n")).otherwise(0.0)).alias("gauc"),
            F.sum(F.when(both, F.col("n")).otherwise(0)).alias("gauc_rows"),
            F.sum(F.when(some, F.col("dcg") / ideal).otherwise(0.0)).alias("ndcg"),
            F.sum(some.cast("int")).alias("ndcg_groups"),
            F.sum((~both).cast("int")).alias("groups_left_out"),
        )
        .toPandas()
    )


def _coarse_bins(own: pd.DataFrame, bins: int) -> "pd.Series[int]":
    """Fine bin -> coarse bin, so that the coarse ones hold about equally many rows."""
    counts = own.groupby("bin")["n"].sum().sort_index()
    middle = (counts.cumsum() - counts / 2) / counts.sum()
    coarse = np.minimum(bins - 1, np.floor(middle * bins)).astype(int)
    return own["bin"].map(coarse)


def _threshold(own: pd.DataFrame) -> int:
    """The fine bin with the highest macro F1 on the validation split, and on no other."""
    counts = own[own["split"] == "validation"].groupby("bin")[["n", "pos"]].sum().sort_index()
    if counts.empty:
        return 0  # probability 0.5
    pos, n = counts["pos"].to_numpy(float), counts["n"].to_numpy(float)
    best = int(np.argmax(metrics.macro_f1(*metrics.confusion(pos, n - pos))))
    return int(counts.index[best])


_SUMS = ("n", "log_loss", "brier", "tp", "fp")
_GROUP_SUMS = ("gauc", "gauc_rows", "ndcg", "ndcg_groups", "groups_left_out")


def _three_ways(
    found: Histograms,
    method: str,
    split: str,
    buckets: list[int],
    drawn: Array,
    evaluation: Evaluation,
) -> list[dict[str, Array]]:
    """Metrics on all rows by fine bins, on all rows by coarse bins, and on the resamples."""
    own = _of(found.coarse, method, split)
    groups = _of(found.groups, method, split)
    whole = np.ones((1, len(buckets)))
    return [
        _metrics(statistics, evaluation)
        for statistics in (
            _fine_statistics(found, method, split, evaluation.bins),
            _statistics(own, groups, buckets, whole, evaluation.bins),
            _statistics(own, groups, buckets, drawn, evaluation.bins),
        )
    ]


def _fine_statistics(found: Histograms, method: str, split: str, coarse_bins: int) -> Statistics:
    """One bucket that holds everything, and a bin for every fine bin that occurs."""
    own = _of(found.fine, method, split)
    bins = np.sort(own["bin"].unique())
    coarse = own.drop_duplicates("bin").set_index("bin")["coarse"].reindex(bins).to_numpy()
    own = own.assign(bucket=0, coarse=np.searchsorted(bins, own["bin"]))
    groups = _of(found.groups, method, split).assign(bucket=0)
    statistics = _statistics(own, groups, [0], np.ones((1, 1)), len(bins))
    statistics.twentieth = _twentieths(coarse, coarse_bins)
    return statistics


def _statistics(
    own: pd.DataFrame, groups: pd.DataFrame, buckets: list[int], drawn: Array, bins: int
) -> Statistics:
    """Resampled sums: the matrix of draws times the sums of each bucket."""
    row = own["bucket"].map({b: i for i, b in enumerate(buckets)}).to_numpy()
    column = own["coarse"].to_numpy()

    def table(name: str, segment: str | None = None) -> Array:
        full = np.zeros((len(buckets), bins))
        keep = (
            np.ones(len(own), bool) if segment is None else (own["segment"] == segment).to_numpy()
        )
        np.add.at(full, (row[keep], column[keep]), own[name].to_numpy(float)[keep])
        return drawn @ full

    by_bucket = own.groupby("bucket")[list(_SUMS)].sum().reindex(buckets).fillna(0.0)
    of_groups = groups.groupby("bucket")[list(_GROUP_SUMS)].sum().reindex(buckets).fillna(0.0)
    sums = {k: drawn @ by_bucket[k].to_numpy(float) for k in _SUMS}
    sums |= {k: drawn @ of_groups[k].to_numpy(float) for k in _GROUP_SUMS}
    pos = table("pos")
    segments, losses = {}, {}
    for name in sorted(own["segment"].unique()):
        part = table("pos", name)
        segments[str(name)] = (part, table("n", name) - part)
        losses[str(name)] = table("log_loss", name).sum(-1)
    return Statistics(
        pos=pos,
        neg=table("n") - pos,
        predicted=table("predicted"),
        twentieth=_twentieths(np.arange(bins), bins),
        sums=sums,
        segments=segments,
        losses=losses,
    )


def _twentieths(coarse: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    return np.asarray(coarse * 20 // bins, dtype=np.int64)


def _metrics(s: Statistics, evaluation: Evaluation) -> dict[str, Array]:
    """Every metric of one set of statistics, each [R]."""
    n, pos, tp, fp = s.sums["n"], s.pos.sum(-1), s.sums["tp"], s.sums["fp"]
    loss = metrics.ratio(s.sums["log_loss"], n)
    table = (tp, fp, pos - tp, n - pos - fp)
    # ECE over 20 parts of equal size: with more, chance alone makes it large.
    part = np.eye(20)[s.twentieth]
    rows, predicted, positives = ((x @ part) for x in (s.pos + s.neg, s.predicted, s.pos))
    return {
        "auc": metrics.auc(s.pos, s.neg),
        "pr_auc": metrics.average_precision(s.pos, s.neg),
        "log_loss": loss,
        "normalised_entropy": metrics.ratio(loss, metrics.entropy(metrics.ratio(pos, n))),
        "brier": metrics.ratio(s.sums["brier"], n),
        "ece": metrics.calibration_error(rows, predicted, positives),
        "calibration_ratio": metrics.ratio(s.predicted.sum(-1), pos),
        "gauc": metrics.ratio(s.sums["gauc"], s.sums["gauc_rows"]),
        f"ndcg_at_{evaluation.ndcg_k}": metrics.ratio(s.sums["ndcg"], s.sums["ndcg_groups"]),
        "macro_precision": metrics.macro_precision(*table),
        "macro_recall": metrics.macro_recall(*table),
        "worst_group_auc": _worst_auc(s, evaluation.min_positives),
        "worst_group_log_loss": _worst_loss(s, evaluation.min_positives),
        "groups_left_out": s.sums["groups_left_out"],
        "rows": n,
        "positives": pos,
    }


def _worst_auc(s: Statistics, min_positives: int) -> Array:
    """The lowest AUC of a segment with enough positives; NaN where there is none."""
    areas = [
        np.where(pos.sum(-1) >= min_positives, metrics.auc(pos, neg), np.nan)
        for pos, neg in s.segments.values()
    ]
    lowest = np.where(np.isnan(areas), np.inf, areas).min(0)
    return np.where(np.isinf(lowest), np.nan, lowest)


def _worst_loss(s: Statistics, min_positives: int) -> Array:
    """The highest log loss of such a segment; NaN where there is none."""
    losses = [
        np.where(
            pos.sum(-1) >= min_positives, metrics.ratio(s.losses[name], (pos + neg).sum(-1)), np.nan
        )
        for name, (pos, neg) in s.segments.items()
    ]
    highest = np.where(np.isnan(losses), -np.inf, losses).max(0)
    return np.where(np.isinf(highest), np.nan, highest)


_COUNTS = ("groups_left_out", "rows", "positives")


def _rows(
    method: str, split: str, kind: str, ways: list[dict[str, Array]], confidence: float
) -> list[Row]:
    exact, coarse, resampled = ways
    rows = []
    for name, value in exact.items():
        if kind == "difference" and name in _COUNTS:
            continue
        point = float(value[0])
        low, high = bootstrap.interval(resampled[name], point, float(coarse[name][0]), confidence)
        if name in _COUNTS:
            low = high = np.nan
        rows.append(_row(method, split, None, name, kind, point, low, high))
    return rows


def _segment_rows(s: Statistics, method: str, split: str) -> list[Row]:
    """AUC, rows and positives of each segment."""
    rows = []
    for segment, (pos, neg) in s.segments.items():
        values = {
            "auc": float(metrics.auc(pos, neg)[0]),
            "rows": float(pos.sum() + neg.sum()),
            "positives": float(pos.sum()),
        }
        rows += [
            _row(method, split, segment, name, "value", value, np.nan, np.nan)
            for name, value in values.items()
        ]
    return rows


def _row(
    method: str,
    split: str,
    segment: str | None,
    name: str,
    kind: str,
    value: float,
    low: float,
    high: float,
) -> Row:
    def known(x: float) -> float | None:
        return x if np.isfinite(x) else None

    return {
        "method": method,
        "split": split,
        "segment": segment,
        "name": name,
        "kind": kind,
        "value": known(value),
        "low": known(low),
        "high": known(high),
    }


def _of(frame: pd.DataFrame, method: str, split: str) -> pd.DataFrame:
    return frame[(frame["method"] == method) & (frame["split"] == split)]
