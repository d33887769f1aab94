"""Rows that were right and are wrong again are counted, and never learnt rows are the worst."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from blobs import FACTS, QUICK, TRAINING, Said, built, planted, rows_of, scores

from reweight.importance.methods.forgetting import Forgetting
from reweight.importance.training import Checkpoints


def test_counts_equal_those_of_walking_each_members_path() -> None:
    model, batch = built(Forgetting(training=TRAINING), (1, 2, 3, 4, 5)), rows_of(60)
    said = Said.of(model, batch)
    epochs, rows, members = said.z.shape
    counts, seen = np.zeros((rows, members)), set()
    for i in range(rows):
        for m in range(members):
            path = [bool(said.given[e, i, m] > 0.5) for e in range(epochs)]
            events = sum(before and not after for before, after in pairwise(path))
            counts[i, m] = events if any(path) else epochs
            seen.add(int(counts[i, m]))
    assert seen == {0, 1, 2, 5}
    assert scores(model, batch) == pytest.approx(said.mean(counts), rel=1e-5)


def path_of(right: list[bool]) -> float:
    """The importance of a positive that all members get right at some epochs."""
    method = Forgetting(training=TRAINING)
    model = method.build(FACTS, range(1, len(right) + 1))
    with torch.no_grad():
        for learner, own in zip(model.checkpoints(), right, strict=True):
            learner.ensemble.weights[-1].zero_()
            learner.ensemble.biases[-1].fill_(1.0 if own else -1.0)
    batch = rows_of(20)
    found = scores(model, batch)[batch.label.numpy() == 1]
    assert np.ptp(found) < 1e-6
    return float(found[0])


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("111111", 0), ("000001", 0), ("111110", 1), ("101010", 3), ("010100", 2), ("000000", 6)],
)
def test_known_paths(path: str, wanted: int) -> None:
    assert path_of([right == "1" for right in path]) == pytest.approx(wanted, rel=1e-6)


def test_a_single_epoch_knows_only_what_was_learnt() -> None:
    assert [path_of([True]), path_of([False])] == pytest.approx([0, 1])


def test_wrong_labels_are_among_the_hardest_rows() -> None:
    keep = Checkpoints(which="spread", count=10)
    found = planted(Forgetting(training=QUICK, keep=keep))
    assert found.auroc("forgetting") > 0.98
    assert Forgetting().polarity == "hard"
