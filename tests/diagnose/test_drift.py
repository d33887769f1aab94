"""Drift of the features: the area of a few groups, whose rows are alike, and its error."""

import numpy as np
import pytest

from reweight.diagnose.drift import _resampled_auc
from reweight.diagnose.rates import Estimate

BUCKETS, BINS, ROWS = 100, 40, 200


def area_of(generator: np.random.Generator, groups: int) -> Estimate | None:
    """Of groups that differ in their features and in how many of their rows are late, by chance."""
    pos, neg = np.zeros((2, BUCKETS, BINS))
    for bucket in generator.choice(BUCKETS, groups, replace=False):
        score = np.clip(20 + generator.normal(0, 5) + generator.normal(0, 3, ROWS), 0, BINS - 1)
        late = generator.random(ROWS) < generator.uniform(0.2, 0.8)
        for counts, chosen in ((pos, late), (neg, ~late)):
            np.add.at(counts[bucket], score[chosen].astype(int), 1)
    return _resampled_auc(pos, neg, seed=0)


@pytest.mark.parametrize("groups", [3, 6])
def test_few_groups_are_seldom_told_to_drift_by_chance(groups: int) -> None:
    generator, seen = np.random.default_rng(groups), 0
    for _ in range(300):
        area = area_of(generator, groups)
        assert area is not None
        seen += area.p_beyond(0.5) < 0.05
    assert seen / 300 <= 0.08


def test_two_groups_tell_nothing() -> None:
    assert area_of(np.random.default_rng(0), 2) is None
