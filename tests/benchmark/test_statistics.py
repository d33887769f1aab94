"""The statistics of the benchmark: known answers."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from reweight.benchmark.detection import statistics

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(5))
def test_two_means_are_the_best_of_all_cuts(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=40).round(1)  # with ties
    low = statistics.two_means(values)

    def within(low: np.ndarray) -> float:
        return sum(((part - part.mean()) ** 2).sum() for part in (values[low], values[~low]))

    cuts = np.unique(values)[:-1]
    assert within(low) == pytest.approx(min(within(values <= cut) for cut in cuts))
    assert values[low].max() < values[~low].min()


@pytest.mark.parametrize("values", [np.ones(5), np.ones(1), np.empty(0)], ids=len)
def test_equal_numbers_have_no_low_cluster(values: np.ndarray) -> None:
    assert not statistics.two_means(values).any()


def test_detection_is_what_scikit_learn_says_also_with_ties() -> None:
    value = GENERATOR.integers(0, 20, 300) / 4.0
    wrong = GENERATOR.random(300) < 0.1 + 0.5 * (value < 1)
    found = statistics.detection(value, value, wrong)
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, -value))
    assert found["auprc"] == pytest.approx(average_precision_score(wrong, -value))


def test_the_truth_finds_all_and_a_constant_finds_what_chance_does() -> None:
    wrong = np.arange(100) % 10 == 0
    truth = 1.0 - wrong
    assert set(statistics.detection(truth, truth, wrong).values()) == {1.0}
    assert statistics.detection(np.ones(100), np.ones(100), wrong) == {
        "auroc": 0.5,
        "auprc": pytest.approx(0.1),
        "precision_at_count": pytest.approx(0.1),
        "f1_two_means": 0.0,
    }


def test_precision_at_the_count_expects_any_order_within_a_tie() -> None:
    value = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 2.0])
    wrong = np.array([True, True, False, False, False, True])
    # Of three rows one is sure, and two of the four tied ones hold half a wrong row.
    found = statistics.detection(value, value, wrong)
    assert found["precision_at_count"] == pytest.approx(1.5 / 3)


def test_stability_is_the_mean_of_rank_correlations() -> None:
    up, down = np.arange(10.0), -np.arange(10.0)
    assert statistics.stability([up, np.exp(up)]) == pytest.approx(1)
    assert statistics.stability([up, up, down]) == pytest.approx(-1 / 3)
    assert statistics.stability([up, np.ones(10)]) is None
    assert statistics.stability([up]) is None


def test_an_interval_is_that_of_student() -> None:
    low, high = statistics.interval(np.array([1.0, 2.0, 3.0])) or (0.0, 0.0)
    assert (low, high) == (pytest.approx(2 - 2.4841, abs=1e-3), pytest.approx(2 + 2.4841, abs=1e-3))
    assert statistics.interval(np.array([1.0])) is None


def test_holm_steps_down_and_never_decreases() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.9]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def blocks(rows: int) -> pd.DataFrame:
    base = GENERATOR.random(rows)
    return pd.DataFrame(
        {
            "best": base + 0.5,
            "good": base + 0.1 * GENERATOR.normal(size=rows),
            "like": base + 0.1 * GENERATOR.normal(size=rows),
        }
    )


def test_a_method_that_is_always_better_is_told_apart_and_two_alike_are_not() -> None:
    found = statistics.compared(blocks(20))
    assert found.ranks["best"] == 1
    assert found.friedman is not None
    assert found.friedman < 0.001
    apart = {frozenset(p[:2]) for p in found.pairs if p[2] < 0.05}
    assert apart == {frozenset(("best", "good")), frozenset(("best", "like"))}
    (clique,) = statistics.cliques(found)
    assert set(clique) == {"good", "like"}


def test_few_blocks_say_nothing() -> None:
    found = statistics.compared(blocks(1))
    assert found.friedman is None
    assert {p for _, _, p in found.pairs} == {1.0}
    assert found.attainable == 1
    # A bar over all three would say that they are alike.
    assert statistics.cliques(found) == []


def test_the_lowest_p_value_is_that_of_a_method_which_is_always_better() -> None:
    found = statistics.compared(blocks(8))
    assert min(p for _, _, p in found.pairs) == pytest.approx(found.attainable)
    assert found.attainable == pytest.approx(3 * 2 / 2**8)


def test_no_clique_holds_a_pair_that_is_told_apart() -> None:
    ranks = {name: float(i) for i, name in enumerate("abcde")}
    pairs = [(a, b, 0.01 if ranks[b] - ranks[a] > 2 else 1.0) for a, b in combinations("abcde", 2)]
    found = statistics.Comparison(ranks, 0.01, pairs, 9, 0.04)
    assert statistics.cliques(found) == [("a", "b", "c"), ("b", "c", "d"), ("c", "d", "e")]


@pytest.mark.parametrize("seed", range(8))
def test_the_interval_of_a_ratio_holds_what_the_test_does_not_reject(seed: int) -> None:
    draw = np.random.default_rng(seed)
    below = draw.normal(1, 0.3, size=3 + seed)
    above = draw.normal(0.5, 0.4, size=3 + seed) * below
    grid = np.linspace(-6, 6, 120_001)
    tested = stats.ttest_1samp(above - grid[:, None] * below, 0, axis=1)
    accepted = grid[tested.pvalue > 0.05]
    found = statistics.ratio_interval(above, below)
    assert found == pytest.approx((accepted.min(), accepted.max()), abs=2e-4)
    # The same of losses, whose differences are below 0.
    assert statistics.ratio_interval(-above, -below) == pytest.approx(found)


def test_where_the_divisor_may_be_0_a_ratio_has_no_interval() -> None:
    above, below = np.array([0.5, 0.4, 0.6]), np.array([0.5, -0.4, 1.0])
    assert statistics.ratio_interval(above, below) is None
    assert statistics.ratio_interval(above[:1], below[:1]) is None
    # Of what is everywhere the same share there is no other.
    assert statistics.ratio_interval(below + 2, 2 * below + 4) == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_of_a_ratio_covers_it_in_19_of_20_cases(seeds: int) -> None:
    """A percentile bootstrap covers it in 75, 84 and 91 %."""
    draw = np.random.default_rng(1)
    covers = []
    for _ in range(2500):
        below = draw.normal(1, 0.25, seeds)
        found = statistics.ratio_interval(0.5 * below + draw.normal(0, 0.2, seeds), below)
        if found is not None:
            covers.append(found[0] <= 0.5 <= found[1])
    assert len(covers) > 2000
    assert 0.935 < np.mean(covers) < 0.97
