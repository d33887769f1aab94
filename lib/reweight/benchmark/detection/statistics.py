"""The statistics of the benchmark, on small arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from reweight.core.multiple_tests import holm
from reweight.evaluate import metrics

Array = NDArray[np.float64]


def two_means(values: Array) -> NDArray[np.bool_]:
    """The lower of the best two clusters of numbers, exactly (not by Lloyd's algorithm), bool [N].

    In one dimension clusters are intervals: this takes the cut between different neighbours with
    the smallest sum of squares. If all numbers are equal there is no lower cluster.
    """
    order = np.sort(values)
    cuts = np.flatnonzero(order[1:] > order[:-1])  # the last index of the lower cluster
    if not len(cuts):
        return np.zeros(len(values), dtype=bool)
    # Centred numbers have the same sum on both sides, except for its sign; the best cut maximises
    # the sum of squares between clusters.
    total, left = np.cumsum(order - order.mean())[cuts], cuts + 1
    between = total**2 / left + total**2 / (len(order) - left)
    return np.asarray(values <= order[cuts[np.argmax(between)]])


def detection(value: Array, scaled: Array, wrong: NDArray[np.bool_]) -> dict[str, float]:
    """How well low values find the wrong rows; ties count half.

    Args:
        value: float64 [N], low means suspect.
        scaled: an increasing function of it for two-means clustering, float64 [N].
        wrong: bool [N], some true and some false.
    """
    _, place = np.unique(-value, return_inverse=True)
    pos = np.bincount(place, weights=wrong).astype(np.float64)
    neg = np.bincount(place, weights=~wrong).astype(np.float64)
    count, marked = int(wrong.sum()), two_means(scaled)
    hits = float((marked & wrong).sum())
    return {
        "auroc": float(metrics.auc(pos, neg)),
        "auprc": float(metrics.average_precision(pos, neg)),
        "precision_at_count": _hits_among_first(pos[::-1], (pos + neg)[::-1], count) / count,
        "f1_two_means": 2 * hits / (float(marked.sum()) + count),
    }


def _hits_among_first(hits: Array, sizes: Array, count: int) -> float:
    """Expected hits among the first rows if rows within a group are in random order."""
    taken = np.clip(count - (np.cumsum(sizes) - sizes), 0, sizes)
    return float((hits * taken / sizes).sum())


def stability(values: Sequence[Array]) -> float | None:
    """Mean Spearman correlation over pairs; None for fewer than two or if one is constant."""
    if len(values) < 2 or any(np.ptp(v) == 0 for v in values):
        return None
    ranks = [scipy.stats.rankdata(v) for v in values]
    return float(np.mean([np.corrcoef(a, b)[0, 1] for a, b in combinations(ranks, 2)]))


def mean_and_error(values: Array) -> tuple[float, float | None]:
    """Mean and its standard error; the error of a single number is None."""
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return float(values.mean()), error


def interval(differences: Array, confidence: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean of paired differences; None for fewer than two."""
    mean, error = mean_and_error(differences)
    if error is None:
        return None
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(differences) - 1)) * error
    return mean - half, mean + half


def ratio_interval(
    above: Array, below: Array, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Fieller's interval of the ratio of two means, of paired values (Fieller 1954).

    All r for which Student's test finds no mean of above - r below. With d = above - ratio below,
    whose mean is 0, and r = ratio + e, that is

        e^2 mean(below)^2 <= (t^2 / N) (var(d) - 2 e cov(d, below) + e^2 var(below))

    Args:
        above: the values whose mean is divided, [N].
        below: those by whose mean it is divided, [N].
        confidence: the confidence.

    Returns:
        None for fewer than two pairs, and where the set is no interval: the mean of ``below`` may
        then be 0.
    """
    count = len(above)
    if count < 2:
        return None
    mean = float(below.mean())
    factor = float(scipy.stats.t.ppf((1 + confidence) / 2, count - 1)) ** 2 / count
    curvature = mean**2 - factor * float(below.var(ddof=1))
    if curvature <= 0:
        return None
    ratio = float(above.mean()) / mean
    variance, covariance = factor * np.cov(above - ratio * below, below)[0]
    half = float(np.sqrt(covariance**2 + curvature * variance))
    low, high = ((sign * half - float(covariance)) / curvature for sign in (-1, 1))
    return ratio + low, ratio + high


@dataclass(frozen=True)
class Comparison:
    """The comparison of methods over blocks.

    Attributes:
        ranks: mean rank by method, 1 is best.
        friedman: p-value for the hypothesis that no method differs; None for fewer than three
            methods or two blocks.
        pairs: (method, method, corrected p-value).
        blocks: number of blocks.
        attainable: the lowest corrected p-value that a pair can reach, which takes the same method
            to be better in every block.
    """

    ranks: dict[str, float]
    friedman: float | None
    pairs: list[tuple[str, str, float]]
    blocks: int
    attainable: float


def compared(blocks: pd.DataFrame) -> Comparison:
    """Tests whether methods differ, and which pairs do (Demsar 2006; Benavoli et al. 2016).

    Friedman's test on the ranks within blocks, then Wilcoxon's signed-rank test of every pair with
    Holm's correction.

    Args:
        blocks: one row per block (a table at a rate), one column per method; higher is better.
    """
    values = blocks.to_numpy(np.float64)
    names = [str(name) for name in blocks.columns]
    ranks = scipy.stats.rankdata(-values, axis=1).mean(axis=0) if len(values) else np.empty(0)
    friedman = None
    if len(names) > 2 and len(values) > 1:
        p = float(scipy.stats.friedmanchisquare(*values.T).pvalue)
        friedman = p if np.isfinite(p) else None
    pairs = [(names[a], names[b]) for a, b in combinations(range(len(names)), 2)]
    p_values = [_wilcoxon(blocks[a].to_numpy(), blocks[b].to_numpy()) for a, b in pairs]
    return Comparison(
        ranks=dict(zip(names, ranks.tolist(), strict=False)),
        friedman=friedman,
        pairs=[(*pair, p) for pair, p in zip(pairs, holm(p_values), strict=True)],
        blocks=len(values),
        # Two of the 2^blocks sign patterns are this extreme.
        attainable=min(1.0, len(pairs) * 2.0 ** (1 - len(values))),
    )


def _wilcoxon(first: Array, second: Array) -> float:
    if len(first) < 2 or (first == second).all():
        return 1.0
    return float(scipy.stats.wilcoxon(first, second).pvalue)


def cliques(comparison: Comparison, level: float = 0.05) -> list[tuple[str, ...]]:
    """Longest runs of methods by rank without a significant difference: the bars of the diagram.

    There are none if there are too few blocks for any pair to differ significantly: one bar over
    all methods would suggest that they are equal.

    Args:
        comparison: the tests of all pairs.
        level: significance level.
    """
    if comparison.attainable >= level:
        return []
    different = {frozenset((a, b)) for a, b, p in comparison.pairs if p < level}
    order = sorted(comparison.ranks, key=lambda name: (comparison.ranks[name], name))
    runs: list[tuple[str, ...]] = []
    last_end = 0
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and not any(
            frozenset((order[i], order[end])) in different for i in range(start, end)
        ):
            end += 1
        if end - start > 1 and end > last_end:
            runs.append(tuple(order[start:end]))
            last_end = end
    return runs
