"""Metrics of predictions in memory: the sums of `reduction`, with pandas and numpy."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.core.arithmetic import ARRAYS
from reweight.evaluate.bins import BIN_SUMS, KEYS, known_bins
from reweight.evaluate.section import Evaluation
from reweight.evaluate.statistics import values_of
from reweight.evaluate.terms import GROUP_SUMS, after_recalibration, group_terms, loss_terms

Array = NDArray[np.float64]

PARTS = ("segment", "bin", "bucket", "group", "tie", "p", "positive", "negative", "counts")
"""What is known of each row besides ``KEYS``: its segment, as it is shown, its fine bin, the bucket
of its group, hashes of group and sample, its probability, its masses, and how many rows it stands
for."""

_SUMS = (*BIN_SUMS, "squares", "log_loss", "brier")


def reduced_in_memory(
    rows: pd.DataFrame, evaluation: Evaluation, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics of one method by one judge.

    Args:
        rows: with ``KEYS`` and ``PARTS``, of all splits.
        evaluation: the section ``evaluation``.
        seed: seed of the bootstrap.

    Returns:
        The sums by split and fine bin, and the values as ``values_of`` returns them.
    """
    keys = list(KEYS)
    positive, negative = (rows[c].to_numpy(float) for c in ("positive", "negative"))
    terms = loss_terms(ARRAYS, rows["p"].to_numpy(float), positive, negative)
    mass = positive + negative
    rows = rows.assign(
        rows=1,
        n=mass,
        pos=positive,
        predicted=mass * terms.p,
        squares=positive**2,
        log_loss=terms.loss,
        brier=terms.square,
    )
    fine = rows.groupby([*keys, "segment", "bin"], as_index=False)[list(_SUMS)].sum()
    table, _ = known_bins(fine, evaluation)
    fine, rows = (
        frame.merge(table, on=["judge", "method", "bin"], how="left") for frame in (fine, rows)
    )
    fine = fine.assign(**_after(fine))
    rows = rows.assign(**_after(rows))
    # Not summed by bucket and bin: of few rows, these are no fewer.
    coarse: dict[Any, pd.DataFrame] = dict(list(rows.groupby(keys)))
    groups = pd.concat(
        _group_sums(part, evaluation.ndcg_k).assign(**dict(zip(keys, key, strict=True)))
        for key, part in coarse.items()
    )
    values = pd.concat(
        values_of(part, coarse[key], groups, evaluation, seed) for key, part in fine.groupby(keys)
    )
    return fine.groupby([*keys, "bin"], as_index=False)[list(BIN_SUMS)].sum(), values


def _after(sums: pd.DataFrame) -> dict[str, Any]:
    q, n, pos = (sums[c].to_numpy(float) for c in ("q", "n", "pos"))
    return after_recalibration(ARRAYS, q, pos, n - pos)


def _group_sums(rows: pd.DataFrame, k: int) -> pd.DataFrame:
    """AUC and NDCG of each group of one judge, method and split, summed by bucket.

    The formulas are those of ``reduction``.
    """
    p, positive, negative, counts = (
        rows[c].to_numpy(float) for c in ("p", "positive", "negative", "counts")
    )
    group, first, owner = np.unique(
        rows["group"].to_numpy(), return_index=True, return_inverse=True
    )

    def summed(values: Array) -> Array:
        return np.bincount(owner, values, len(group)).astype(np.float64)

    order = np.lexsort((rows["tie"].to_numpy(), -p, owner))
    tied = np.cumsum(_begins(owner[order], p[order])) - 1
    mass_of_tie = np.bincount(tied, weights=negative[order])
    # Negatives of the group that are scored higher: those of the ties before.
    tie_owner = owner[order][np.flatnonzero(_begins(tied))]
    before = np.cumsum(mass_of_tie) - mass_of_tie
    higher = before - before[np.searchsorted(tie_owner, tie_owner)]
    lower = np.empty(len(p))
    lower[order] = summed(negative)[owner[order]] - higher[tied] - mass_of_tie[tied] / 2
    gains = {
        "dcg": _gains(positive, owner, order, k),
        "ideal": _gains(positive, owner, np.lexsort((-positive, owner)), k),
    }
    pairs = {"pairs": positive * lower, "own": positive * negative, "signed": negative < 0}
    sums = {"n": counts, "pos": positive, "neg": negative, **pairs, **gains}
    by_group = {name: summed(values) for name, values in sums.items()}
    terms = group_terms(ARRAYS, *[by_group[name] for name in GROUP_SUMS])
    table = pd.DataFrame(terms).assign(bucket=rows["bucket"].to_numpy()[first])
    return table.groupby("bucket", as_index=False).sum()


def _begins(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether a row differs from the row before it in any of the columns, [N]."""
    begins = np.ones(len(columns[0]), dtype=bool)
    begins[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return begins


def _gains(positive: Array, owner: NDArray[np.int64], order: NDArray[np.int64], k: int) -> Array:
    """What each row adds to the cumulative gain of its group in this order, [N]."""
    ordered = owner[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    gains = np.empty(len(order))
    gains[order] = np.where(place < k, positive[order] / np.log2(2.0 + place), 0.0)
    return gains
