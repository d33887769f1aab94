"""Bins of scores: which predictions share a bin, a class, and a probability after recalibration."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from reweight.evaluate import metrics
from reweight.evaluate.recalibration import recalibrated
from reweight.evaluate.section import Evaluation
from reweight.evaluate.terms import FINE

KEYS = ("judge", "method", "split")
BINS = ("judge", "method", "bin")
BIN_SUMS = ("rows", "n", "pos", "predicted")
"""Of the rows of a bin: their number, masses, positive masses, and predictions by mass."""


def known_bins(
    bins: pd.DataFrame, evaluation: Evaluation
) -> tuple[pd.DataFrame, dict[tuple[str, str], int]]:
    """Assigns each fine bin of a method to a coarse bin, a predicted class and a probability.

    Args:
        bins: ``rows``, the masses ``n`` and positive masses ``pos`` by ``judge``, ``method``,
            ``split`` and ``bin``.
        evaluation: the section ``evaluation``.

    Returns:
        One row per ``judge``, ``method`` and ``bin`` with its ``coarse`` bin, whether its rows are
        ``called`` positive, and its probability ``q`` after recalibration; and (judge, method) ->
        lowest fine bin that is called positive.
    """
    owners = list(BINS[:2])
    held_out = bins[bins["split"] == "validation"]
    validation: dict[Any, pd.DataFrame] = dict(list(held_out.groupby(owners)))
    tables, thresholds = [], dict[tuple[str, str], int]()
    counts: Any
    owner: Any
    for owner, counts in bins.groupby([*owners, "bin"])["rows"].sum().groupby(level=[0, 1]):
        rows, bin_ = counts.to_numpy(float), counts.index.get_level_values("bin").to_numpy()
        # Coarse bins hold about the same number of rows.
        middle = (rows.cumsum() - rows / 2) / rows.sum()
        judged = validation.get(owner, bins[:0]).groupby("bin")[["n", "pos"]].sum().sort_index()
        n, pos = judged["n"].to_numpy(float), judged["pos"].to_numpy(float)
        z, shown = (FINE * (np.asarray(x, dtype=float) + 0.5) for x in (judged.index, bin_))
        thresholds[owner] = threshold = _threshold(judged)
        tables.append(
            counts.index.to_frame(index=False).assign(
                coarse=np.minimum(evaluation.bins - 1, np.floor(middle * evaluation.bins)).astype(
                    int
                ),
                called=bin_ >= threshold,
                q=recalibrated(z, n, pos, evaluation.recalibration, shown),
            )
        )
    return pd.concat(tables, ignore_index=True), thresholds


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


def _threshold(judged: pd.DataFrame) -> int:
    """The fine bin with the highest macro F1 on validation rows; other splits are not used."""
    if judged.empty:
        return 0  # probability 0.5
    pos, n = judged["pos"].to_numpy(float), judged["n"].to_numpy(float)
    best = int(np.argmax(metrics.macro_f1(*metrics.confusion(pos, n - pos))))
    return int(judged.index[best])
