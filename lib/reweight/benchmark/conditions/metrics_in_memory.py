"""Metrics of predictions in memory: the sums of `evaluate.reduction`, with pandas."""

from typing import Any

import numpy as np
import pandas as pd

from reweight.core.arithmetic import ARRAYS
from reweight.evaluate.reduction import group_terms, known_bins, loss_terms, pooled_names
from reweight.evaluate.statistics import Evaluation, Row, measure, values_of

_SUMS: dict[str, Any] = {
    "n": ("y", "size"),
    "pos": ("y", "sum"),
    "predicted": ("p", "sum"),
    "log_loss": ("loss", "sum"),
    "brier": ("square", "sum"),
}


def measured(
    predictions: pd.DataFrame, evaluation: Evaluation, baseline: str, seed: int
) -> list[Row]:
    """Metrics of every method, and paired differences to the baseline, with intervals.

    Args:
        predictions: one row per method and sample with ``method``, ``split``, ``sample_id``,
            ``group_id``, ``segment``, ``label`` and ``probability``.
        evaluation: the section ``evaluation``.
        baseline: the method that the others are compared to.
        seed: seed of the bootstrap.
    """
    keys = ["method", "split"]
    rows = _with_parts(predictions, evaluation)
    fine = rows.groupby([*keys, "segment", "bin"], as_index=False).agg(**_SUMS)
    bin_table, _ = known_bins(fine, evaluation)
    fine, rows = (
        frame.merge(bin_table, on=["method", "bin"], how="left") for frame in (fine, rows)
    )
    coarse_keys = [*keys, "segment", "bucket", "coarse", "called"]
    coarse = dict(list(rows.groupby(coarse_keys, as_index=False).agg(**_SUMS).groupby(keys)))
    groups = _grouped(rows, evaluation)
    values = [
        values_of(part, coarse[key], groups, evaluation, seed) for key, part in fine.groupby(keys)
    ]
    return measure(pd.concat(values), evaluation, baseline)


def _with_parts(predictions: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    positive = predictions["label"].to_numpy() == 1
    terms = loss_terms(ARRAYS, predictions["probability"].to_numpy(float), positive)
    segment = predictions["segment"]
    largest = (
        segment.value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    )
    names = list(largest.index[: evaluation.max_segments])
    shown, (none, rest) = segment.isin(names), pooled_names(names)
    group = pd.util.hash_array(predictions["group_id"].astype(str).to_numpy(object))
    return predictions[["method", "split", "group_id", "sample_id"]].assign(
        segment=segment.where(shown, rest).where(segment.notna(), none),
        bin=terms.bin.astype(np.int64),
        bucket=(group % evaluation.buckets).astype(np.int64),
        y=positive.astype(np.int64),
        p=terms.p,
        loss=terms.loss,
        square=terms.square,
    )


def _grouped(rows: pd.DataFrame, evaluation: Evaluation) -> pd.DataFrame:
    """AUC and NDCG of each group, summed by bucket."""
    keys = ["method", "split", "bucket", "group_id"]
    # Ties are broken independently of the label.
    rows = rows.assign(tie=pd.util.hash_array(rows["sample_id"].to_numpy())).sort_values(
        [*keys, "p", "tie"], ascending=[True] * 4 + [False, True]
    )
    by_group = rows.groupby(keys, sort=False)
    place = by_group.cumcount() + 1
    shown = (rows["y"] == 1) & (place <= evaluation.ndcg_k)
    rows = rows.assign(
        ranks=by_group["p"].rank() * rows["y"],
        gain=np.where(shown, 1 / np.log2(1.0 + place), 0.0),
    )
    groups = rows.groupby(keys, as_index=False).agg(
        n=("y", "size"), n1=("y", "sum"), ranks=("ranks", "sum"), dcg=("gain", "sum")
    )
    n, n1, ranks, dcg = (groups[c].to_numpy(float) for c in ("n", "n1", "ranks", "dcg"))
    best = np.cumsum(1 / np.log2(2.0 + np.arange(evaluation.ndcg_k)))
    ideal = best[np.clip(n1, 1, evaluation.ndcg_k).astype(int) - 1]
    terms = group_terms(ARRAYS, n, n1, ranks, dcg, ideal)
    sums = groups[["method", "split", "bucket"]].assign(**terms)
    return sums.groupby(["method", "split", "bucket"], as_index=False).sum()
