"""Focal weights are a power of 1 - p(given label), and rows of wrong labels gain weight."""

import pytest
import torch
from blobs import QUICK, TRAINING, Said, built, planted, rows_of, scores
from torch.nn import functional

from reweight.importance.methods.focal import Focal


@pytest.mark.parametrize("gamma", [2.0, 0.0, 0.5])
def test_times_the_log_loss_it_is_the_focal_loss(gamma: float) -> None:
    model, batch = built(Focal(training=TRAINING, gamma=gamma)), rows_of()
    said = Said.of(model, batch)
    logits = torch.from_numpy(said.z)
    label = batch.label.double()[:, None].expand_as(logits)
    loss = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    # Lin et al.: FL = -(1 - p_t)^gamma log p_t, in which log p_t is -loss.
    focal = (1 - (-loss).exp()) ** gamma * loss
    wanted = said.mean((focal / loss).numpy()).mean(0)
    assert scores(model, batch) == pytest.approx(wanted, rel=1e-5)


def test_the_default_is_the_papers() -> None:
    assert Focal().gamma == 2


def test_wrong_labels_gain_most() -> None:
    found = planted(Focal(training=QUICK))
    assert found.auroc("focal") > 0.98
    assert Focal().polarity == "hard"
