"""Reweighing: label and segment become independent, and their shares stay."""

import numpy as np
import pytest
from crossed import crossed, weights

from reweight.importance.methods.reweighing import Reweighing

COUNTS = [[5, 4], [40, 3], [20, 20], [1, 30]]
SEGMENTS = ("a", "b", "c")


def test_importance_is_the_ratio_of_the_independent_to_the_joint_share() -> None:
    found = weights(Reweighing(), crossed(COUNTS), SEGMENTS)
    joint = np.array(COUNTS) / np.sum(COUNTS)
    wanted = np.outer(joint.sum(1), joint.sum(0)) / joint
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found[1, 0] < 1 < found[1, 1]


def test_after_weighting_label_and_segment_are_independent_and_margins_stay() -> None:
    counts = np.array(COUNTS, dtype=float)
    weighted = weights(Reweighing(), crossed(COUNTS), SEGMENTS) * counts
    np.testing.assert_allclose(weighted.sum(0), counts.sum(0), rtol=1e-6)
    np.testing.assert_allclose(weighted.sum(1), counts.sum(1), rtol=1e-6)
    rates = weighted[:, 1] / weighted.sum(1)
    np.testing.assert_allclose(rates, counts[:, 1].sum() / counts.sum(), rtol=1e-6)


@pytest.mark.parametrize("segments", [SEGMENTS, (*SEGMENTS, "nobody")])
def test_a_cell_without_training_rows_weighs_1(segments: tuple[str, ...]) -> None:
    counts = [[0, 0], [40, 0], [20, 20], [1, 30], [0, 0]][: len(segments) + 1]
    found = weights(Reweighing(), crossed(counts), segments)
    empty = np.array(counts) == 0
    assert (found[empty] == 1).all()
    assert (found[~empty] != 1).all()


def test_rows_that_are_independent_already_weigh_1() -> None:
    found = weights(Reweighing(), crossed([[0, 0], [10, 5], [30, 15], [2, 1]]), SEGMENTS)
    np.testing.assert_allclose(found, 1, rtol=1e-6)
