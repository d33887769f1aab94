"""The norm of each row's gradient in closed form is what autograd finds row by row."""

import pytest
import torch
from blobs import FACTS, QUICK, TRAINING, Said, built, planted, rows_of, scores
from torch import Tensor
from torch.nn import functional

from reweight.importance.batch import Batch
from reweight.importance.ensemble import Ensemble
from reweight.importance.methods.grand import Grand


def norms_by_autograd(ensemble: Ensemble, batch: Batch) -> Tensor:
    """One backward pass for each row; members are slices of the parameters, float32 [B, M]."""
    parameters, found = list(ensemble.parameters()), []
    for i in range(len(batch)):
        row = batch.rows(torch.tensor([i]))
        z = ensemble(row)
        loss = functional.binary_cross_entropy_with_logits(
            z, row.label[:, None].expand_as(z), reduction="sum"
        )
        gradients = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([g.flatten(1) for g in gradients], dim=1).norm(dim=1))
    return torch.stack(found)


@pytest.mark.parametrize("bins", [0, 2])
@pytest.mark.parametrize("hidden", [(), (5,), (7, 4), (6, 5, 4)])
@pytest.mark.parametrize("cardinalities", [(), (4, 6)])
def test_norms_equal_those_of_a_backward_pass_for_each_row(
    cardinalities: tuple[int, ...], hidden: tuple[int, ...], bins: int
) -> None:
    facts = FACTS.model_copy(update={"cardinalities": cardinalities})
    ensemble = Ensemble(facts, members=3, membership="all", hidden=hidden, embedding=2, bins=bins)
    batch = rows_of(12)
    with torch.no_grad():
        found = ensemble.gradient_norms(batch, batch.label)
    assert found.shape == (12, 3)
    torch.testing.assert_close(found, norms_by_autograd(ensemble, batch), rtol=1e-5, atol=1e-6)


def test_of_a_linear_member_it_is_the_error_times_the_length_of_the_row() -> None:
    facts = FACTS.model_copy(update={"cardinalities": ()})
    ensemble, batch = (
        Ensemble(facts, members=2, membership="all", hidden=(), embedding=1),
        rows_of(8),
    )
    with torch.no_grad():
        error = (ensemble(batch).sigmoid() - batch.label[:, None]).abs()
        length = (batch.features.square().sum(1, keepdim=True) + 1).sqrt()
        torch.testing.assert_close(ensemble.gradient_norms(batch, batch.label), error * length)


def test_importance_is_the_mean_over_epochs_of_members_that_did_not_see_the_row() -> None:
    model, batch = built(Grand(training=TRAINING)), rows_of(10)
    said = Said.of(model, batch)
    norms = [norms_by_autograd(learner.ensemble, batch).numpy() for learner in model.checkpoints()]
    wanted = sum(said.mean(own) for own in norms) / len(norms)
    assert scores(model, batch) == pytest.approx(wanted, rel=1e-5)


def test_wrong_labels_are_the_hardest_rows() -> None:
    assert planted(Grand(training=QUICK)).auroc("grand") > 0.98
    assert Grand().polarity == "hard"
