"""Positives of which some are not recorded: against the closed form, with a known share."""

from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.pu_prior import PuPrior
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

ROWS, RECORDED = 60_000, 0.4


def simulated() -> tuple[Batch, NDArray[np.float64]]:
    """Rows, of whose positives 40 % are recorded, and p(y = 1 | x) of each."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 3))
    truth = 1 / (1 + np.exp(-(1.5 * x[:, 0] - x[:, 1] - 1)))
    recorded = (draw.random(ROWS) < truth) & (draw.random(ROWS) < RECORDED)
    batch = Batch(
        sample_id=torch.arange(ROWS),
        features=torch.from_numpy(x).float(),
        ids=torch.empty((ROWS, 0), dtype=torch.int64),
        label=torch.from_numpy(recorded).float(),
    )
    return batch, truth


@cache
def found() -> tuple[Batch, NDArray[np.float64], NDArray[np.float64]]:
    """Rows, p(y = 1 | x), and soft labels."""
    batch, truth = simulated()
    training = {"members": 8, "hidden": (16,), "bins": 0, "epochs": 8}
    method = PuPrior.model_validate({"prior": truth.mean(), "training": training})
    facts = TrainFacts(dim=3, rows=ROWS, positives=int(batch.label.sum()))
    few = batch.rows(torch.arange(100))
    model = fit_in_memory([method], facts, batch, few, batch_size=512)[0][method.name].model()
    with torch.inference_mode():
        assert (model(batch) == 1).all()
        return batch, truth, model.soft_label(EnsembleOutputs(batch)).double().numpy()


def test_an_unrecorded_row_is_positive_by_bayes_rule_and_a_recorded_one_surely() -> None:
    batch, truth, labels = found()
    recorded = batch.label.numpy() == 1
    assert (labels[recorded] == 1).all()
    # P(y = 1 | x, not recorded), without a detour by g.
    wanted = (1 - RECORDED) * truth / (1 - RECORDED * truth)
    assert np.abs(labels - wanted)[~recorded].mean() < 0.03
    assert np.corrcoef(labels[~recorded], wanted[~recorded])[0, 1] > 0.98


def test_the_mean_soft_label_is_the_prior() -> None:
    batch, truth, labels = found()
    assert labels.mean() == pytest.approx(truth.mean(), rel=0.05)
    assert batch.label.mean() < truth.mean() / 2


@pytest.mark.parametrize("prior", [0.1, 0.25])
def test_a_prior_that_leaves_no_hidden_positives_is_refused_with_both_numbers(prior: float) -> None:
    facts = TrainFacts(dim=3, rows=100, positives=25)
    with pytest.raises(TrainingError, match="leaves no unrecorded positives") as caught:
        PuPrior(prior=prior).model(facts)
    assert "above 0.25" in str(caught.value)
    assert f"got:      {prior}" in str(caught.value)
    PuPrior(prior=0.26).model(facts)


@pytest.mark.parametrize("prior", [0, 1, -0.1, 1.5])
def test_a_prior_that_is_no_share_is_refused(prior: float) -> None:
    with pytest.raises(ValidationError, match=r"prior\n.*(greater|less) than [01]"):
        PuPrior.model_validate({"prior": prior})
