"""The rates of rare segments, of simulated groups whose rows are alike."""

import numpy as np
import pandas as pd
import pytest

from reweight.diagnose.clusters import design_effect
from reweight.diagnose.groups import _rare, _rates

# Of a finding among seven.
LEVEL = 0.05 / 7


def segment(
    generator: np.random.Generator, rate: float, groups: int, rows: int
) -> dict[str, float]:
    """The sums of groups whose rates vary: a correlation of 0.1 within a group."""
    rates = generator.beta(9 * rate, 9 * (1 - rate), groups)
    y = generator.binomial(rows, rates).astype(float)
    n, yy = float(rows), float((y * y).sum())
    sums = {"n": n * groups, "y": y.sum(), "nn": n * n * groups, "ny": n * y.sum(), "yy": yy}
    return {**sums, "groups": float(groups)}


def visible(rates: list[float], groups: int, logs: int = 100) -> float:
    """The share of logs in which rare segments with these rates differ from 300 other groups."""
    generator = np.random.default_rng(0)
    seen = 0
    for _ in range(logs):
        rare = [segment(generator, rate, groups, 100) for rate in rates]
        main = segment(generator, 0.2, max(300, 15 * groups), 100)
        sizes = pd.DataFrame(
            [main, *rare], index=["main", *[f"rare {i}" for i in range(len(rare))]]
        )
        sizes["effect"] = [design_effect(sizes.loc[[name]]) for name in sizes.index]
        p = [test[0] for test in _rates(sizes, _rare(sizes))]
        seen += min(p, default=1.0) * max(1, len(p)) < LEVEL
    return seen / logs


@pytest.mark.parametrize("groups", [2, 4, 20])
def test_segments_of_few_groups_are_seldom_told_from_the_rest_by_chance(groups: int) -> None:
    assert visible([0.2] * 5, groups) <= 0.01


def test_a_rare_segment_of_thirty_groups_with_twice_the_rate_is_seen() -> None:
    assert visible([0.4], 30) > 0.95
