"""Metrics of predictions in memory: the sums of `evaluate.reduction`, with pandas."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reweight.core.arithmetic import ARRAYS
from reweight.evaluate.comparison import Row, measure
from reweight.evaluate.judges import RECORDED
from reweight.evaluate.reduction import KEYS, known_bins, pooled_names
from reweight.evaluate.section import Evaluation
from reweight.evaluate.statistics import values_of
from reweight.evaluate.terms import GROUP_SUMS, after_recalibration, group_terms, loss_terms

_SUMS: dict[str, Any] = {
    "rows": ("p", "size"),
    "n": ("mass", "sum"),
    "pos": ("positive", "sum"),
    "squares": ("square_mass", "sum"),
    "predicted": ("predicted", "sum"),
    "log_loss": ("loss", "sum"),
    "brier": ("square", "sum"),
}
_AFTER: dict[str, Any] = {
    name: (name, "sum") for name in ("ranking_log_loss", "ranking_brier", "ranking_predicted")
}


def measured(
    predictions: pd.DataFrame, evaluation: Evaluation, baseline: str, seed: int
) -> list[Row]:
    """Metrics of every method, and paired differences to the baseline, with intervals.

    Args:
        predictions: one row per method and sample with ``method``, ``split``, ``sample_id``,
            ``group_id``, ``segment``, ``label`` and ``probability``; those of judges also have
            ``judge`` and the masses ``positive`` and ``negative``.
        evaluation: the section ``evaluation``.
        baseline: the method that the others are compared to.
        seed: seed of the bootstrap.
    """
    if "judge" not in predictions:
        positive = (predictions["label"].to_numpy() == 1).astype(float)
        predictions = predictions.assign(judge=RECORDED, positive=positive, negative=1 - positive)
    segments = largest_segments(predictions["segment"], evaluation)
    values = [
        values_in_memory(part, segments, evaluation, seed)
        for _, part in predictions.groupby(["judge", "method"])
    ]
    return measure(pd.concat(values), evaluation, baseline)


def values_in_memory(
    predictions: pd.DataFrame, segments: Sequence[str], evaluation: Evaluation, seed: int
) -> pd.DataFrame:
    """Metrics of one method by one judge, as ``values_of`` returns them.

    Args:
        predictions: rows as for ``measured``, with ``judge``, ``positive`` and ``negative``.
        segments: the segments that are shown.
        evaluation: the section ``evaluation``.
        seed: seed of the bootstrap.
    """
    keys = list(KEYS)
    rows = _with_parts(predictions, segments, evaluation)
    fine = rows.groupby([*keys, "segment", "bin"], as_index=False).agg(**_SUMS)
    bin_table, _ = known_bins(fine, evaluation)
    fine, rows = (
        frame.merge(bin_table, on=["judge", "method", "bin"], how="left") for frame in (fine, rows)
    )
    fine = fine.assign(**_columns_after(fine, fine["pos"], fine["n"] - fine["pos"]))
    rows = rows.assign(**_columns_after(rows, rows["positive"], rows["negative"]))
    coarse_keys = [*keys, "segment", "bucket", "coarse", "called"]
    sums = rows.groupby(coarse_keys, as_index=False).agg(**_SUMS, **_AFTER)
    coarse = dict(list(sums.groupby(keys)))
    groups = _grouped(rows, evaluation)
    return pd.concat(
        values_of(part, coarse[key], groups, evaluation, seed) for key, part in fine.groupby(keys)
    )


def largest_segments(segment: "pd.Series[Any]", evaluation: Evaluation) -> list[str]:
    """The segments that are shown: largest first, ties by name."""
    counts = segment.value_counts().sort_index(kind="stable")
    return list(counts.sort_values(ascending=False, kind="stable").index[: evaluation.max_segments])


def _columns_after(
    frame: pd.DataFrame, positive: "pd.Series[float]", negative: "pd.Series[float]"
) -> dict[str, Any]:
    arrays = (x.to_numpy(float) for x in (frame["q"], positive, negative))
    return after_recalibration(ARRAYS, *arrays)


def _with_parts(
    predictions: pd.DataFrame, segments: Sequence[str], evaluation: Evaluation
) -> pd.DataFrame:
    positive, negative = (predictions[c].to_numpy(float) for c in ("positive", "negative"))
    terms = loss_terms(ARRAYS, predictions["probability"].to_numpy(float), positive, negative)
    segment = predictions["segment"]
    shown, (none, rest) = segment.isin(segments), pooled_names(segments)
    group = pd.util.hash_array(predictions["group_id"].astype(str).to_numpy(object))
    return predictions[[*KEYS, "group_id", "sample_id", "positive", "negative"]].assign(
        segment=segment.where(shown, rest).where(segment.notna(), none),
        bin=terms.bin.astype(np.int64),
        bucket=(group % evaluation.buckets).astype(np.int64),
        mass=positive + negative,
        square_mass=positive**2,
        p=terms.p,
        predicted=(positive + negative) * terms.p,
        loss=terms.loss,
        square=terms.square,
    )


def _grouped(rows: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """AUC and NDCG of each group, summed by bucket."""
    keys = [*KEYS, "bucket", "group_id"]
    # Ties are broken independently of the label.
    rows = rows.assign(tie=pd.util.hash_array(rows["sample_id"].to_numpy())).sort_values(
        [*keys, "p", "tie"], ascending=[True] * len(keys) + [False, True]
    )
    by_group = rows.groupby(keys, sort=False)
    positive, negative = rows["positive"], rows["negative"]
    # Descending, so what a row has above it, and its ties, are taken from the whole.
    tied = rows.groupby([*keys, "p"], sort=False)["negative"].transform("sum")
    above = (
        by_group["negative"].cumsum() - rows.groupby([*keys, "p"], sort=False)["negative"].cumsum()
    )
    lower = by_group["negative"].transform("sum") - above - tied / 2
    best = by_group["positive"].rank(method="first", ascending=False)
    gains = {}
    for name, place in (("dcg", by_group.cumcount() + 1), ("ideal", best)):
        shown = place <= evaluation.ndcg_k
        gains[name] = np.where(shown, positive / np.log2(1.0 + place), 0.0)
    parts = ["neg", "pairs", "dcg", "ideal"]
    rows = rows.assign(pos=positive, neg=negative, pairs=positive * lower, n=1, **gains)
    groups = rows.groupby(keys, as_index=False)[["n", "pos", *parts]].sum()
    terms = group_terms(ARRAYS, *[groups[name].to_numpy(float) for name in GROUP_SUMS])
    sums: pd.DataFrame = groups[[*KEYS, "bucket"]].assign(**terms)
    return sums.groupby([*KEYS, "bucket"], as_index=False).sum()
