"""EL2N is the length of a softmax's error, and wrong labels have long ones."""

import numpy as np
import pytest
from blobs import QUICK, TRAINING, Said, built, planted, rows_of, scores
from scipy.special import softmax

from reweight.importance.methods.el2n import El2n


def test_it_is_the_length_of_the_error_of_a_softmax_over_two_classes() -> None:
    model, batch = built(El2n(training=TRAINING)), rows_of()
    said = Said.of(model, batch)
    probabilities = softmax(np.stack([np.zeros_like(said.z), said.z], axis=-1), axis=-1)
    onehot = np.eye(2)[said.y.astype(int)][:, None]
    lengths = np.linalg.norm(probabilities - onehot, axis=-1)
    assert scores(model, batch) == pytest.approx(said.mean(lengths).mean(0), rel=1e-5)


def test_it_reads_the_first_epochs() -> None:
    assert El2n().checkpoint_choice().epochs(20, {7: 0.1}) == (1, 2, 3, 4, 5)


def test_wrong_labels_are_the_hardest_rows() -> None:
    assert planted(El2n(training=QUICK)).auroc("el2n") > 0.98
    assert El2n().polarity == "hard"
