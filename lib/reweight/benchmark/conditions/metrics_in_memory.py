"""Metrics of the predictions of worlds, all in memory."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reweight.core.arithmetic import ARRAYS
from reweight.evaluate.bins import KEYS, pooled_names
from reweight.evaluate.comparison import Row, measure
from reweight.evaluate.in_memory import PARTS, reduced_in_memory
from reweight.evaluate.judges import RECORDED
from reweight.evaluate.section import Evaluation
from reweight.evaluate.terms import loss_terms


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
        one = (predictions["label"].to_numpy() == 1).astype(float)
        predictions = predictions.assign(judge=RECORDED, positive=one, negative=1 - one)
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
    positive, negative = (predictions[c].to_numpy(float) for c in ("positive", "negative"))
    terms = loss_terms(ARRAYS, predictions["probability"].to_numpy(float), positive, negative)
    segment = predictions["segment"]
    shown, (none, rest) = segment.isin(segments), pooled_names(segments)
    group = pd.util.hash_array(predictions["group_id"].astype(str).to_numpy(object))
    rows = predictions.assign(
        segment=segment.where(shown, rest).where(segment.notna(), none),
        bin=terms.bin.astype(np.int64),
        bucket=(group % evaluation.buckets).astype(np.int64),
        group=group,
        # Ties are broken independently of the label.
        tie=pd.util.hash_array(predictions["sample_id"].to_numpy()),
        p=terms.p,
        counts=1,
    )
    _, values = reduced_in_memory(rows[[*KEYS, *PARTS]], evaluation, seed)
    return values


def largest_segments(segment: "pd.Series[str]", evaluation: Evaluation) -> list[str]:
    """The segments that are shown: largest first, ties by name."""
    counts = segment.value_counts().sort_index(kind="stable")
    return list(counts.sort_values(ascending=False, kind="stable").index[: evaluation.max_segments])
