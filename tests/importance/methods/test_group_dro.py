"""Group DRO: q follows the losses of the global batch, on one rank and on two."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from two_ranks import on_two_ranks

from reweight.importance.artifact import ModelArtifact
from reweight.importance.batch import Batch
from reweight.importance.methods.group_dro import GroupDro, GroupDroLearner, GroupDroTraining
from reweight.importance.training import Checkpoints, TrainFacts
from reweight.training.in_memory import fit_in_memory
from reweight.training.loop import Trainer

FACTS = TrainFacts(
    dim=3, cardinalities=(4,), rows=60, positives=30, seed=2, segments=("a", "b", "c")
)
FAST = GroupDroTraining(hidden=(6,), embedding=2, eta=10.0, learning_rate=0.01)


def batch_of(rows: int = 60, seed: int = 1) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    return Batch(
        sample_id=torch.arange(rows),
        features=torch.randn((rows, 3), generator=draw),
        ids=torch.randint(0, 4, (rows, 1), generator=draw),
        label=(torch.rand(rows, generator=draw) < 0.5).float(),
        extra={"segment": torch.randint(0, 4, (rows,), generator=draw).float()},
    )


def trainer_of(training: GroupDroTraining = FAST) -> tuple[Trainer, GroupDroLearner]:
    trainer = Trainer.of([GroupDro(training=training)], FACTS, torch.device("cpu"))
    assert isinstance(trainer.learner, GroupDroLearner)
    return trainer, trainer.learner


def q_of(learner: GroupDroLearner) -> Tensor:
    return learner.log_q.exp()


def test_q_is_multiplied_by_exp_of_eta_times_the_groups_mean_loss() -> None:
    trainer, learner = trainer_of()
    wanted = np.full(4, 0.25)
    for seed in range(3):
        batch = batch_of(seed=seed)
        losses, segment = learner.losses(batch).detach().numpy(), batch.extra["segment"].numpy()
        trainer.step(batch, 1)
        means = np.array([losses[segment == g].mean() for g in range(4)])
        wanted = wanted * np.exp(FAST.eta * means)
        wanted /= wanted.sum()
        np.testing.assert_allclose(q_of(learner), wanted, rtol=1e-5)
    assert np.ptp(wanted) > 0.01


def test_the_descended_loss_weighs_groups_by_q_over_their_share() -> None:
    trainer, learner = trainer_of()
    batch = batch_of()
    losses, segment = learner.losses(batch).detach(), batch.extra["segment"].long()
    # Equal q and no counts yet: the plain mean.
    assert learner.loss(batch, 60)[0].item() == pytest.approx(losses.mean().item(), rel=1e-6)
    rows = segment.bincount(minlength=4)
    learner.seen.copy_(10_000 * rows)
    learner.log_q.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    means = torch.stack([losses[segment == g].mean() for g in range(4)])
    wanted = (torch.tensor([0.1, 0.2, 0.3, 0.4]) * means).sum().item()
    assert learner.loss(batch, 60)[0].item() == pytest.approx(wanted, rel=1e-3)
    before = learner.seen.clone()
    trainer.step(batch, 1)
    assert torch.equal(learner.seen, before + rows)


def test_a_group_that_is_absent_keeps_its_q_and_the_others_what_they_share() -> None:
    trainer, learner = trainer_of()
    trainer.step(batch_of(), 1)
    before, batch = q_of(learner), batch_of(seed=5)
    trainer.step(batch.rows((batch.extra["segment"] != 2).nonzero()[:, 0]), 1)
    after = q_of(learner)
    assert after[2] == before[2]
    assert after.sum().item() == pytest.approx(1)
    assert (after != before).sum() == 3


def test_only_a_step_moves_q() -> None:
    trainer, learner = trainer_of()
    trainer.step(batch_of(), 1)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    trainer.measure(batch_of(seed=7), 1)
    learner.loss(batch_of(seed=7), 60)
    for name, value in learner.state_dict().items():
        assert torch.equal(value, before[name]), name
    trainer.step(batch_of(seed=7), 1)
    assert not torch.equal(learner.log_q, before["log_q"])


def test_a_training_that_is_taken_up_again_goes_on_with_its_q() -> None:
    whole, learner = trainer_of()
    for seed in range(2):
        whole.step(batch_of(seed=seed), 1)
    again, other = trainer_of()
    other.load_state_dict(learner.state_dict())
    again.optimizer.load_state_dict(deepcopy(whole.optimizer.state_dict()))
    for trainer in (whole, again):
        trainer.step(batch_of(seed=2), 1)
    for name, wanted in learner.state_dict().items():
        assert torch.equal(other.state_dict()[name], wanted), name


def test_q_stays_finite_and_above_0_whatever_the_losses() -> None:
    trainer, learner = trainer_of()
    batch = batch_of()
    far = replace(batch, features=1e6 * batch.features)
    for _ in range(3):
        trainer.step(far, 1)
    assert learner.log_q.isfinite().all()
    assert q_of(learner).sum().item() == pytest.approx(1)


def steps(rows: Tensor, world: int) -> dict[str, Tensor]:
    """What three steps leave behind."""
    trainer, learner = trainer_of()
    for seed in range(3):
        trainer.step(batch_of(seed=seed).rows(rows), world)
    return learner.state_dict()


def on_half(rank: int) -> dict[str, Tensor]:
    return steps(torch.arange(rank, 60, 2), 2)


@pytest.mark.usefixtures("starts_processes")
def test_two_ranks_have_the_q_and_the_network_of_one(tmp_path: Path) -> None:
    segment = batch_of().extra["segment"].long()
    assert not torch.equal(segment[::2].bincount(), segment[1::2].bincount())
    whole = steps(torch.arange(60), 1)
    for found in on_two_ranks(on_half, tmp_path):
        assert found.keys() == whole.keys()
        for name, wanted in whole.items():
            torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-6)


# Fitted


def planted(rows: int = 900) -> Batch:
    """Segment b, a third of the rows, has labels by chance; those of a follow x. None is c."""
    draw = torch.Generator().manual_seed(3)
    features = torch.randn((rows, 3), generator=draw)
    noisy = torch.rand(rows, generator=draw) < 1 / 3
    chance = (torch.rand(rows, generator=draw) < 0.5).float()
    return Batch(
        sample_id=torch.arange(rows),
        features=features,
        ids=torch.zeros((rows, 1), dtype=torch.int64),
        label=torch.where(noisy, chance, (features[:, 0] > 0).float()),
        extra={"segment": 1.0 + noisy},
    )


def fitted(eta: float, keep: int = 2) -> ModelArtifact:
    training = FAST.model_copy(update={"eta": eta, "epochs": 8})
    method = GroupDro(training=training, keep=Checkpoints(count=keep))
    batch = planted()
    stored, _ = fit_in_memory([method], FACTS, batch, batch, batch_size=100)
    return stored["group_dro"]


def scores(stored: ModelArtifact, batch: Batch) -> Tensor:
    with torch.inference_mode():
        return stored.model()(batch)


def test_the_group_of_the_higher_loss_gains_weight_and_the_mean_stays_1() -> None:
    batch = planted()
    found = scores(fitted(eta=0.05), batch)
    noisy = batch.extra["segment"] == 2
    share = noisy.float().mean().item()
    hard, easy = found[noisy].unique().item(), found[~noisy].unique().item()
    # By its share alone it would have 1 / (2 * 1/3) = 1.5.
    assert hard > 1.2 / (2 * share)
    assert easy < 0.8 / (2 * (1 - share))
    assert found.mean().item() == pytest.approx(1, rel=1e-5)


def test_with_eta_0_groups_of_training_rows_weigh_the_same_in_all() -> None:
    batch = planted()
    segment = batch.extra["segment"]
    found = scores(fitted(eta=0.0), batch)
    for group in (1, 2):
        share = (segment == group).float().mean().item()
        assert found[segment == group].unique().item() == pytest.approx(1 / (2 * share), rel=1e-5)


def test_segments_without_training_rows_weigh_1() -> None:
    batch = planted(4)
    batch.extra["segment"].copy_(torch.tensor([0.0, 3.0, 0.0, 3.0]))
    assert scores(fitted(eta=0.05), batch).tolist() == [1.0] * 4


def test_importance_is_the_mean_q_of_the_kept_epochs_over_the_share() -> None:
    stored, batch = fitted(eta=0.05, keep=3), planted()
    assert stored.epochs == (6, 7, 8)
    kept = []
    for learner in stored.model().checkpoints():
        assert isinstance(learner, GroupDroLearner)
        kept.append(q_of(learner)[1:3])
    assert not torch.equal(kept[0], kept[2])
    q = torch.stack(kept).mean(0)
    shares = batch.extra["segment"].long().bincount(minlength=3)[1:] / len(batch)
    wanted = (q / q.sum() / shares).float()
    found = scores(stored, batch)
    torch.testing.assert_close(found, wanted[batch.extra["segment"].long() - 1])
