"""Sums of predictions -> metrics with intervals, and paired differences to the baseline.

The metrics of each method and split are computed in a separate task. All metrics are unweighted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from reweight.core.section import Section
from reweight.evaluate import bootstrap, metrics

Array = NDArray[np.float64]


class Evaluation(Section):
    """The section ``evaluation``.

    Attributes:
        ndcg_k: the cut-off rank of NDCG.
        buckets: number of buckets of groups, which the bootstrap resamples.
        replicates: number of resamples.
        confidence: level of the intervals.
        bins: number of bins of the coarse histogram.
        max_segments: number of segments shown, largest first; the rest are pooled as ``other``.
        min_positives: positives that a segment needs to count for the worst-group AUC and log loss,
            and rows of each label that it needs for intervals of its own.
    """

    ndcg_k: int = Field(default=10, ge=1)
    buckets: int = Field(default=200, ge=20)
    replicates: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    bins: int = Field(default=100, ge=10)
    max_segments: int = Field(default=10, ge=1)
    min_positives: int = Field(default=10, ge=1)


@dataclass
class Statistics:
    """All that the metrics of one method and split are computed from.

    The first axis of every array is the resample; it has length 1 for the value on all rows.

    Attributes:
        pos: positives per bin of ascending score [R, bins].
        neg: negatives per bin [R, bins].
        predicted: sums of predictions per bin [R, bins].
        twentieth: for each bin, which of 20 equal parts of the rows it falls into, [bins].
        sums: name -> sum over the rows [R].
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

VALUES = (
    "method string, split string, segment string, name string, value double, coarse double, "
    "resampled array<double>"
)


def values_of(
    fine: pd.DataFrame,
    coarse: pd.DataFrame,
    groups: pd.DataFrame,
    evaluation: Evaluation,
    seed: int,
) -> pd.DataFrame:
    """Metrics of one method and split.

    Args:
        fine: sums by segment and fine bin, with the ``coarse`` bin of each fine bin and whether it
            is ``called`` positive.
        coarse: sums by segment, bucket, coarse bin and ``called``.
        groups: sums over groups, one row per method, split and bucket; may include other methods
            and splits.
        evaluation: the section ``evaluation``.
        seed: seed of the bootstrap.

    Returns:
        Rows with ``method``, ``split``, ``segment`` (null for all rows), ``name``, ``value``,
        ``coarse``, the value from coarse bins, and ``resampled``, one value per resample.
    """
    method, split = fine["method"].iloc[0], fine["split"].iloc[0]
    groups = groups[groups["split"] == split]
    # The same buckets for every method, and so the same draws.
    buckets = sorted(groups["bucket"].unique())
    method_groups = groups[groups["method"] == method]
    resamples = bootstrap.draws(len(buckets), evaluation.replicates, seed)
    exact = _fine_statistics(fine, method_groups, evaluation.bins)
    whole, resampled = (
        _all_metrics(
            _statistics(coarse, method_groups, buckets, draws, evaluation.bins), evaluation
        )
        for draws in (np.ones((1, len(buckets))), resamples)
    )
    # The resamples of a segment with too few labels say little of how its metrics vary.
    few = {
        segment
        for segment, (pos, neg) in exact.segments.items()
        if min(pos.sum(), neg.sum()) < evaluation.min_positives
    }
    rows = [
        (
            method,
            split,
            *key,
            value[0],
            whole[key][0],
            resampled[key] * (np.nan if key[0] in few else 1),
        )
        for key, value in _all_metrics(exact, evaluation).items()
    ]
    columns = [column.split()[0] for column in VALUES.split(", ")]
    return pd.DataFrame(rows, columns=columns)


def measure(values: pd.DataFrame, evaluation: Evaluation, baseline: str) -> list[Row]:
    """Metrics with intervals, and differences to the baseline with paired intervals.

    Args:
        values: the output of ``values_of`` for every method and split.
        evaluation: the section ``evaluation``.
        baseline: the method that the others are compared to.

    Returns:
        Rows with ``method``, ``split``, ``segment``, ``name``, ``kind``, ``value``, ``low``,
        ``high``.
    """
    rows: list[Row] = []
    # Spark returns them as lists.
    resampled = values["resampled"].map(lambda draws: np.asarray(draws, dtype=np.float64))
    values = values.assign(resampled=resampled)
    for segment in (None, *sorted(values["segment"].dropna().unique())):
        chosen = values["segment"].isna() if segment is None else values["segment"] == segment
        by_method = {
            key: frame.set_index("name")[["value", "coarse", "resampled"]]
            for key, frame in values[chosen].groupby(["split", "method"])
        }
        for (split, method), frame in by_method.items():
            if method != baseline:
                difference = frame - by_method[split, baseline]
                rows += _rows(
                    method, split, segment, "difference", difference, evaluation.confidence
                )
            rows += _rows(method, split, segment, "value", frame, evaluation.confidence)
    return rows


_SUMS = ("n", "log_loss", "brier", "tp", "fp")
_GROUP_SUMS = ("gauc", "gauc_rows", "ndcg", "ndcg_groups", "groups_left_out")


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
    segments, losses = {}, {}
    for name in sorted(sums_by_bin["segment"].unique()):
        chosen = (sums_by_bin["segment"] == name).to_numpy()
        pos = table("pos", chosen)
        segments[str(name)] = (pos, table("n", chosen) - pos)
        losses[str(name)] = table("log_loss", chosen).sum(-1)
    return Statistics(
        # Every row is in one segment.
        pos=np.sum([pos for pos, _ in segments.values()], axis=0),
        neg=np.sum([neg for _, neg in segments.values()], axis=0),
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
    # ECE over 20 parts of equal size: with more parts, chance alone makes it large.
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
    pos, neg = s.segments[segment]
    rows = (pos + neg).sum(-1)
    return {
        "auc": metrics.auc(pos, neg),
        "log_loss": metrics.ratio(s.losses[segment], rows),
        "rows": rows,
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
            pos.sum(-1) >= min_positives, metrics.ratio(s.losses[name], (pos + neg).sum(-1)), np.nan
        )
        for name, (pos, neg) in s.segments.items()
    ]
    highest = np.where(np.isnan(losses), -np.inf, losses).max(0)
    return np.where(np.isinf(highest), np.nan, highest)


_COUNTS = ("groups_left_out", "rows", "positives")


def _rows(
    method: str,
    split: str,
    segment: str | None,
    kind: str,
    frame: pd.DataFrame,
    confidence: float,
) -> list[Row]:
    rows = []
    for name, value, coarse, resampled in frame.itertuples():
        if kind == "difference" and name in _COUNTS:
            continue
        low, high = bootstrap.interval(resampled, value, coarse, confidence)
        if name in _COUNTS:
            low = high = np.nan
        rows.append(_row(method, split, segment, name, kind, value, low, high))
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
    def finite(x: float) -> float | None:
        return x if np.isfinite(x) else None

    return {
        "method": method,
        "split": split,
        "segment": segment,
        "name": name,
        "kind": kind,
        "value": finite(value),
        "low": finite(low),
        "high": finite(high),
    }
