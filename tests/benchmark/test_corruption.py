"""Damage: how many rows, which ones, and nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reweight.benchmark.detection.corruption import Damage, damaged

ROWS = 4000
LABEL = (np.arange(ROWS) % 4 == 0).astype(np.float32)  # 1,000 positives
MARGIN = np.linspace(-5, 5, ROWS)


def damage(kind: Damage, rate: float = 0.1, seed: int = 0) -> tuple[NDArray[np.float32], NDArray]:
    return damaged(kind, LABEL, MARGIN, rate, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("kind", "hit"),
    [
        ("uniform", 400),
        ("by_class", 400),
        ("by_difficulty", 400),
        ("missing_positives", 100),
        ("spurious_positives", 300),
    ],
)
def test_a_damage_hits_an_exact_share_of_the_rows_that_it_can_hit(kind: Damage, hit: int) -> None:
    recorded, wrong = damage(kind)
    assert wrong.sum() == hit
    np.testing.assert_array_equal(recorded != LABEL, wrong)
    assert set(np.unique(recorded)) == {0.0, 1.0}


def test_missing_positives_were_positive_and_spurious_ones_were_not() -> None:
    assert (LABEL[damage("missing_positives")[1]] == 1).all()
    assert (LABEL[damage("spurious_positives")[1]] == 0).all()


def test_by_class_a_positive_is_three_times_as_likely_to_be_hit() -> None:
    wrong = np.stack([damage("by_class", seed=seed)[1] for seed in range(30)])
    share = [wrong[:, y == LABEL].mean() for y in (0, 1)]
    assert share[1] / share[0] == pytest.approx(3, abs=0.3)


def test_by_difficulty_the_rows_near_the_line_are_hit() -> None:
    _, wrong = damage("by_difficulty")
    far = np.abs(MARGIN)
    assert far[wrong].mean() < 0.6 * far.mean()
    assert far[damage("uniform")[1]].mean() == pytest.approx(far.mean(), rel=0.1)


def test_another_seed_hits_other_rows_and_the_same_seed_the_same() -> None:
    one, two, other = (damage("uniform", seed=seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
