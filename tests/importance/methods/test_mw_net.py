"""Meta-Weight-Net: V's gradient is that through the unrolled step, on one rank and on two."""

from pathlib import Path

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from two_ranks import on_two_ranks

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.methods.mw_net import MwNet, MwNetLearner, MwNetTraining
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory
from reweight.training.loop import Trainer

FACTS = TrainFacts(dim=3, cardinalities=(4,), rows=40, positives=20, seed=2)
SMALL = MwNetTraining(hidden=(6,), curve=5, embedding=2, alpha=0.7)


def batch_of(rows: int = 40) -> Batch:
    draw = torch.Generator().manual_seed(1)
    return Batch(
        sample_id=torch.arange(rows),
        features=torch.randn((rows, 3), generator=draw),
        ids=torch.randint(0, 4, (rows, 1), generator=draw),
        label=(torch.rand(rows, generator=draw) < 0.5).float(),
        extra={"target": (torch.rand(rows, generator=draw) < 0.3).float()},
    )


def learner_of(training: MwNetTraining = SMALL) -> MwNetLearner:
    learner = training.build(FACTS)
    assert isinstance(learner, MwNetLearner)
    # Away from where a ReLU of V hides its inputs.
    with torch.no_grad():
        learner.curve.slope.abs_()
    return learner


def unrolled(learner: MwNetLearner, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Gradients of V by differentiating the target loss through a step of the network."""
    theta = {n: p.detach().requires_grad_() for n, p in learner.network.named_parameters()}
    phi = {n: p.detach().requires_grad_() for n, p in learner.curve.named_parameters()}

    def losses(parameters: dict[str, Tensor]) -> Tensor:
        logits = functional_call(learner.network, parameters, (batch,))[:, 0]
        return functional.binary_cross_entropy_with_logits(logits, batch.label, reduction="none")

    own = losses(theta)
    weights = functional_call(learner.curve, phi, (own.detach(),))
    inner = (weights * own).mean()
    step = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
    ahead = {n: p - learner.alpha * g for (n, p), g in zip(theta.items(), step, strict=True)}
    target = batch.extra["target"] == 1
    meta = losses(ahead)[target].mean()
    found = torch.autograd.grad(meta, list(phi.values()))
    return inner.detach(), dict(zip(phi, found, strict=True))


def test_the_gradient_of_v_is_that_through_the_unrolled_step() -> None:
    learner, batch = learner_of(), batch_of()
    loss, _ = learner.loss(batch, 40)
    loss.backward()
    inner, wanted = unrolled(learner, batch)
    torch.testing.assert_close(loss.detach(), inner)
    for name, parameter in learner.curve.named_parameters():
        assert wanted[name].abs().max() > 1e-7
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-3, atol=1e-8)


def test_the_gradient_of_the_network_is_that_of_the_weighted_loss() -> None:
    learner, batch = learner_of(), batch_of()
    learner.loss(batch, 40)[0].backward()
    found = [p.grad for p in learner.network.parameters()]
    losses = learner.losses(batch)
    weighted = (learner.curve(losses).detach() * losses).mean()
    wanted = torch.autograd.grad(weighted, list(learner.network.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_batch_without_target_rows_teaches_v_nothing() -> None:
    learner, batch = learner_of(), batch_of()
    batch.extra["target"].zero_()
    learner.loss(batch, 40)[0].backward()
    for parameter in learner.curve.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


def gradients(rows: Tensor, world: int) -> list[Tensor]:
    """Of a step as training takes it: a tenth of each is in the first moments."""
    trainer = Trainer.of([MwNet(training=SMALL)], FACTS, torch.device("cpu"))
    assert isinstance(trainer.learner, MwNetLearner)
    with torch.no_grad():
        trainer.learner.curve.slope.abs_()
    trainer.step(batch_of().rows(rows), world)
    return [10 * first for first, _ in trainer.optimizer.moments]


def on_half(rank: int) -> list[Tensor]:
    return gradients(torch.arange(rank, 40, 2), 2)


@pytest.mark.usefixtures("starts_processes")
def test_two_ranks_have_the_gradient_of_one(tmp_path: Path) -> None:
    target = batch_of().extra["target"]
    assert target[::2].sum() != target[1::2].sum()
    whole = gradients(torch.arange(40), 1)
    for found in on_two_ranks(on_half, tmp_path):
        for one, wanted in zip(found, whole, strict=True):
            torch.testing.assert_close(one, wanted, rtol=1e-4, atol=1e-7)


def planted(rows: int = 1500) -> tuple[Batch, Tensor]:
    """Clean target rows; of the others 30 % have the wrong label."""
    draw = torch.Generator().manual_seed(3)
    features = torch.randn((rows, 3), generator=draw)
    truth = (features[:, 0] - features[:, 1] > 0).float()
    target = (torch.rand(rows, generator=draw) < 0.2).float()
    flipped = (torch.rand(rows, generator=draw) < 0.3) & (target == 0)
    label = torch.where(flipped, 1 - truth, truth)
    ids = torch.zeros((rows, 1), dtype=torch.int64)
    return Batch(torch.arange(rows), features, ids, label, {"target": target}), flipped


def fitted(batch: Batch) -> Tensor:
    method = MwNet(training=MwNetTraining(epochs=15, hidden=(16,), learning_rate=0.005))
    stored, _ = fit_in_memory([method], FACTS, batch, batch, batch_size=100)
    with torch.inference_mode():
        return stored["mw_net"].model()(batch)


def test_flipped_rows_get_lower_weights_than_right_ones() -> None:
    batch, flipped = planted()
    found = fitted(batch)
    assert ((found > 0) & (found < 1)).all()
    assert roc_auc_score(~flipped, found) > 0.9
    assert found[flipped].mean() < 0.5 * found[~flipped].mean()


def test_training_without_target_rows_is_an_error() -> None:
    batch, _ = planted(100)
    batch.extra["target"].zero_()
    with pytest.raises(TrainingError, match="0 target rows of 100"):
        fitted(batch)
