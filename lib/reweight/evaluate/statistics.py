"""Sums of predictions -> metrics, on all rows and on resampled groups.

The metrics of each judge, method and split are computed in a separate task. A row counts with a
positive and a negative mass, which its judge sets: 1 and 0, or 0 and 1, for recorded labels. A loss
has two parts, with c the recalibration that is fitted on the judge's validation rows:

    loss(p) = loss(c(p)) + (loss(p) - loss(c(p)))

The first, ``ranking``, is what the order of the rows can do; the second, ``level``, is what two
numbers repair at no cost.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.evaluate import bootstrap, metrics
from reweight.evaluate.section import Evaluation

Array = NDArray[np.float64]


@dataclass
class Statistics:
    """All that the metrics of one method and split are computed from.

    The first axis of every array is the resample; it has length 1 for the value on all rows.

    Attributes:
        pos: positive mass per bin of ascending score [R, bins].
        neg: negative mass per bin [R, bins].
        predicted: sums of predictions per bin [R, bins].
        twentieth: for each bin, which of 20 equal parts of the rows it falls into, [bins].
        sums: name -> sum over the rows [R].
        signed: whether masses of rows are below 0.
        segments: segment -> (pos, neg), each [R, bins].
        parts: segment -> ``rows``, and the sums of its losses [R].
    """

    pos: Array
    neg: Array
    predicted: Array
    twentieth: NDArray[np.int64]
    sums: dict[str, Array]
    signed: bool
    segments: dict[str, tuple[Array, Array]]
    parts: dict[str, dict[str, Array]]


VALUES = (
    "judge string, method string, split string, segment string, name string, value double, "
    "resampled array<double>, buckets double"
)
VALUE_COLUMNS = tuple(column.split()[0] for column in VALUES.split(", "))


def values_of(
    fine: pd.DataFrame,
    coarse: pd.DataFrame,
    groups: pd.DataFrame,
    evaluation: Evaluation,
    seed: int,
) -> pd.DataFrame:
    """Metrics of one judge, method and split.

    Args:
        fine: sums by segment and fine bin, with the ``coarse`` bin of each fine bin and whether it
            is ``called`` positive.
        coarse: sums by segment, bucket, coarse bin and ``called``.
        groups: sums over groups, one row per judge, method, split and bucket; may include others.
        evaluation: the section ``evaluation``.
        seed: seed of the bootstrap.

    Returns:
        Rows with ``judge``, ``method``, ``split``, ``segment`` (null for all rows), ``name``,
        ``value``, ``resampled``, one value per resample and from coarse bins, and ``buckets``, the
        effective number of buckets that have its rows.
    """
    judge, method, split = (fine[key].iloc[0] for key in ("judge", "method", "split"))
    groups = groups[(groups["judge"] == judge) & (groups["split"] == split)]
    # The same buckets for every method, and so the same draws.
    buckets = sorted(groups["bucket"].unique())
    method_groups = groups[groups["method"] == method]
    draws = bootstrap.draws(len(buckets), evaluation.replicates, seed)
    exact = _fine_statistics(fine, method_groups, evaluation.bins)
    resampled = _all_metrics(
        _statistics(coarse, method_groups, buckets, draws, evaluation.bins), evaluation
    )
    sizes = coarse.groupby(["segment", "bucket"])["n"].sum()
    effective: dict[str | None, float] = {
        None: bootstrap.effective(sizes.groupby("bucket").sum().to_numpy(float)),
        **{str(k): bootstrap.effective(n.to_numpy(float)) for k, n in sizes.groupby("segment")},
    }
    # The resamples of a segment with too few labels say little of how its metrics vary, and those
    # of too few buckets nothing.
    few = {segment for segment, number in effective.items() if number <= bootstrap.TOO_FEW}
    few |= {
        segment
        for segment, (pos, neg) in exact.segments.items()
        # A negative that stands for many is one row.
        if min(pos.sum(), neg.sum(), exact.parts[segment]["rows"].sum() - pos.sum())
        < evaluation.min_positives
    }
    exact_values = _all_metrics(exact, evaluation)
    resampled[None, "effective_buckets"] = np.full(evaluation.replicates, np.nan)
    exact_values[None, "effective_buckets"] = np.array([effective[None]])
    rows = [
        (
            judge,
            method,
            split,
            *key,
            value[0],
            resampled[key] * (np.nan if key[0] in few else 1),
            effective[key[0]],
        )
        for key, value in exact_values.items()
    ]
    return pd.DataFrame(rows, columns=list(VALUE_COLUMNS))


_SUMS = (
    *("n", "rows", "squares", "log_loss", "brier", "tp", "fp"),
    *("ranking_log_loss", "ranking_brier", "ranking_predicted"),
)
_SEGMENT_LOSSES = ("log_loss", "ranking_log_loss")
_GROUP_SUMS = (
    *("gauc", "gauc_rows", "ndcg", "ndcg_groups", "groups_left_out"),
    *("pairs_in_order", "pairs_of_rows"),
)


def _fine_statistics(fine: pd.DataFrame, groups: pd.DataFrame, coarse_bins: int) -> Statistics:
    """All rows in one bucket, with a bin for every occupied fine bin."""
    bins = fine.drop_duplicates("bin").sort_values("bin")
    cells = fine.assign(bucket=0, coarse=np.searchsorted(bins["bin"], fine["bin"]))
    statistics = _statistics(cells, groups.assign(bucket=0), [0], np.ones((1, 1)), len(bins))
    statistics.twentieth = _twentieths(bins["coarse"].to_numpy(), coarse_bins)
    return statistics


def _statistics(
    sums_by_bin: pd.DataFrame, groups: pd.DataFrame, buckets: list[int], drawn: Array, bins: int
) -> Statistics:
    """Resampled sums: the matrix of draws times the sums per bucket."""
    row = sums_by_bin["bucket"].map({b: i for i, b in enumerate(buckets)}).to_numpy()
    column = sums_by_bin["coarse"].to_numpy()
    sums_by_bin = sums_by_bin.assign(
        tp=sums_by_bin["pos"] * sums_by_bin["called"],
        fp=(sums_by_bin["n"] - sums_by_bin["pos"]) * sums_by_bin["called"],
    )

    shape = (len(buckets), bins)
    place = np.ravel_multi_index((row, column), shape)

    def table(name: str, chosen: Any = slice(None)) -> Array:
        values = sums_by_bin[name].to_numpy(float)[chosen]
        full = np.bincount(place[chosen], weights=values, minlength=shape[0] * bins)
        return np.asarray(drawn @ full.reshape(shape))

    by_bucket = sums_by_bin.groupby("bucket")[list(_SUMS)].sum().reindex(buckets).fillna(0.0)
    of_groups = groups.groupby("bucket")[list(_GROUP_SUMS)].sum().reindex(buckets).fillna(0.0)
    sums = {k: drawn @ by_bucket[k].to_numpy(float) for k in _SUMS}
    sums |= {k: drawn @ of_groups[k].to_numpy(float) for k in _GROUP_SUMS}
    segments: dict[str, tuple[Array, Array]] = {}
    parts: dict[str, dict[str, Array]] = {}
    for name in sorted(sums_by_bin["segment"].unique()):
        chosen = (sums_by_bin["segment"] == name).to_numpy()
        pos = table("pos", chosen)
        segments[str(name)] = (pos, table("n", chosen) - pos)
        parts[str(name)] = {k: table(k, chosen).sum(-1) for k in ("rows", *_SEGMENT_LOSSES)}
    return Statistics(
        # Every row is in one segment.
        pos=np.sum([pos for pos, _ in segments.values()], axis=0),
        neg=np.sum([neg for _, neg in segments.values()], axis=0),
        predicted=table("predicted"),
        twentieth=_twentieths(np.arange(bins), bins),
        sums=sums,
        # Of all rows, so that every resample has the same metrics.
        signed=bool(groups["signed"].any()),
        segments=segments,
        parts=parts,
    )


def _twentieths(coarse: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    return np.asarray(coarse * 20 // bins, dtype=np.int64)


def _metrics(s: Statistics, evaluation: Evaluation) -> dict[str, Array]:
    """Every metric of one set of statistics, each [R]."""
    n, pos, tp, fp = s.sums["n"], s.pos.sum(-1), s.sums["tp"], s.sums["fp"]
    loss, ranking, brier, ranking_brier = (
        metrics.ratio(s.sums[name], n)
        for name in ("log_loss", "ranking_log_loss", "brier", "ranking_brier")
    )
    entropy = metrics.entropy(metrics.ratio(pos, n))
    table = (tp, fp, pos - tp, n - pos - fp)
    # ECE over 20 parts of equal size: with more parts, chance alone makes it large.
    part = np.eye(20)[s.twentieth]
    gauc, ndcg, left_out = _group_metrics(s)
    rows, predicted, positives = ((x @ part) for x in (s.pos + s.neg, s.predicted, s.pos))
    return {
        "auc": metrics.auc(s.pos, s.neg),
        "pr_auc": metrics.average_precision(s.pos, s.neg),
        "log_loss": loss,
        "ranking_log_loss": ranking,
        "level_log_loss": loss - ranking,
        "normalised_entropy": metrics.ratio(loss, entropy),
        "ranking_normalised_entropy": metrics.ratio(ranking, entropy),
        "brier": brier,
        "ranking_brier": ranking_brier,
        "level_brier": brier - ranking_brier,
        "ece": metrics.calibration_error(rows, predicted, positives),
        "calibration_ratio": metrics.ratio(s.predicted.sum(-1), pos),
        "ranking_calibration_ratio": metrics.ratio(s.sums["ranking_predicted"], pos),
        "gauc": gauc,
        f"ndcg_at_{evaluation.ndcg_k}": ndcg,
        "macro_precision": metrics.macro_precision(*table),
        "macro_recall": metrics.macro_recall(*table),
        "worst_group_auc": _worst_auc(s, evaluation.min_positives),
        "worst_group_log_loss": _worst_loss(s, evaluation.min_positives),
        "groups_left_out": left_out,
        "rows": s.sums["rows"],
        "positives": pos,
        "effective_positives": metrics.ratio(pos**2, s.sums["squares"]),
    }


def _group_metrics(s: Statistics) -> tuple[Array, Array, Array]:
    """GAUC, NDCG, and how many groups GAUC leaves out, each [R].

    Of signed masses GAUC is the ratio of sums over pairs, to which every group contributes, and
    NDCG is NaN: the ideal gain of a group is no sum over its rows.
    """
    if s.signed:
        gauc = metrics.ratio(s.sums["pairs_in_order"], s.sums["pairs_of_rows"])
        return gauc, np.full_like(gauc, np.nan), np.zeros_like(gauc)
    gauc = metrics.ratio(s.sums["gauc"], s.sums["gauc_rows"])
    return gauc, metrics.ratio(s.sums["ndcg"], s.sums["ndcg_groups"]), s.sums["groups_left_out"]


def _all_metrics(s: Statistics, evaluation: Evaluation) -> dict[tuple[str | None, str], Array]:
    """The metrics over all rows and those of each segment, by (segment, name), each [R]."""
    values: dict[tuple[str | None, str], Array] = {
        (None, name): value for name, value in _metrics(s, evaluation).items()
    }
    for segment in s.segments:
        for name, value in _segment_metrics(s, segment).items():
            values[segment, name] = value
    return values


def _segment_metrics(s: Statistics, segment: str) -> dict[str, Array]:
    """Metrics of one segment, each [R]."""
    (pos, neg), sums = s.segments[segment], s.parts[segment]
    mass = (pos + neg).sum(-1)
    return {
        "auc": metrics.auc(pos, neg),
        **{name: metrics.ratio(sums[name], mass) for name in _SEGMENT_LOSSES},
        "rows": sums["rows"],
        "positives": pos.sum(-1),
    }


def _worst_auc(s: Statistics, min_positives: int) -> Array:
    """The lowest AUC of any segment with enough positives; NaN if there is none."""
    areas = [
        np.where(pos.sum(-1) >= min_positives, metrics.auc(pos, neg), np.nan)
        for pos, neg in s.segments.values()
    ]
    lowest = np.where(np.isnan(areas), np.inf, areas).min(0)
    return np.where(np.isinf(lowest), np.nan, lowest)


def _worst_loss(s: Statistics, min_positives: int) -> Array:
    """The highest log loss of any segment with enough positives; NaN if there is none."""
    losses = [
        np.where(
            pos.sum(-1) >= min_positives,
            metrics.ratio(s.parts[name]["log_loss"], (pos + neg).sum(-1)),
            np.nan,
        )
        for name, (pos, neg) in s.segments.items()
    ]
    highest = np.where(np.isnan(losses), -np.inf, losses).max(0)
    return np.where(np.isinf(highest), np.nan, highest)
