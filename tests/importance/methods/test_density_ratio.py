"""Density ratios: against Gaussians whose ratio is known, and 1 where nothing moved."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.methods.density_ratio import (
    DensityRatio,
    DensityRatioModel,
    DomainTraining,
    domain_auc,
)
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

SHIFT = torch.tensor([1.0, -0.5, 0.0])
TRAINING = DomainTraining(epochs=8, hidden=(16,), bins=0, learning_rate=0.01)


def rows_of(rows: int, shift: Tensor, target: float = 0.25, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    domain = (torch.rand(rows, generator=draw) < target).float()
    features = torch.randn((rows, 3), generator=draw) + domain[:, None] * shift
    ids = torch.empty((rows, 0), dtype=torch.int64)
    label = (torch.rand(rows, generator=draw) < 0.5).float()
    return Batch(torch.arange(rows) * 17, features, ids, label, {"target": domain})


def fitted(batch: Batch, method: DensityRatio) -> tuple[Tensor, DensityRatioModel]:
    facts = TrainFacts(dim=3, rows=len(batch), positives=int(batch.label.sum()), seed=1)
    stored, _ = fit_in_memory([method], facts, batch, batch, batch_size=100)
    model = stored[method.name].model()
    assert isinstance(model, DensityRatioModel)
    with torch.inference_mode():
        return model(batch), model


def test_ratios_are_those_of_two_gaussians() -> None:
    batch = rows_of(4000, SHIFT)
    found, model = fitted(batch, DensityRatio(training=TRAINING, clip=1000))
    wanted = batch.features @ SHIFT - (SHIFT @ SHIFT) / 2
    log_ratio = found.log()
    assert np.corrcoef(log_ratio.numpy(), wanted.numpy())[0, 1] > 0.97
    assert (log_ratio - wanted).abs().mean() < 0.25
    # Of two Gaussians that lie d apart: Phi(d / sqrt 2).
    distance = SHIFT.norm().item()
    assert model.auc.item() == pytest.approx((1 + math.erf(distance / 2)) / 2, abs=0.03)


def test_weighting_the_rest_by_the_ratio_moves_its_mean_to_that_of_the_target() -> None:
    batch = rows_of(4000, SHIFT)
    found, _ = fitted(batch, DensityRatio(training=TRAINING))
    rest = batch.extra["target"] == 0
    weight = found[rest]
    moved = (weight[:, None] * batch.features[rest]).sum(0) / weight.sum()
    torch.testing.assert_close(moved, SHIFT, rtol=0, atol=0.2)
    assert weight.mean().item() == pytest.approx(1, abs=0.1)


def test_ratios_are_clipped_on_both_sides() -> None:
    found, _ = fitted(rows_of(2000, SHIFT), DensityRatio(training=TRAINING, clip=1.5))
    assert found.min().item() == pytest.approx(1 / 1.5)
    assert found.max().item() == pytest.approx(1.5)


def test_without_a_shift_every_row_gets_1() -> None:
    found, model = fitted(rows_of(3000, torch.zeros(3)), DensityRatio(training=TRAINING))
    assert torch.equal(found, torch.ones(3000))
    assert abs(model.auc.item() - 0.5) < 0.05
    assert model.error.item() > 0


def test_folds_that_differ_in_their_share_of_target_rows_do_not_move_the_auc() -> None:
    batch = rows_of(300, torch.zeros(3))
    batch.features.zero_()
    found, model = fitted(batch, DensityRatio(training=TRAINING))
    logits = torch.stack([learner.logits(batch)[0] for learner in model.checkpoints()])
    assert logits.std() > 0.001
    assert model.auc.item() == 0.5
    assert torch.equal(found, torch.ones(300))


@pytest.mark.parametrize(("target", "came"), [(0.0, "0 target rows of 60"), (1.0, "60 target")])
def test_no_target_or_nothing_else_is_an_error(target: float, came: str) -> None:
    with pytest.raises(TrainingError, match=came):
        fitted(rows_of(60, SHIFT, target), DensityRatio(training=TRAINING))


def test_the_auc_is_the_mean_over_folds_weighted_by_pairs() -> None:
    draw = np.random.default_rng(0)
    counts, wanted, pairs = torch.zeros((2, 2, 50), dtype=torch.float64), 0.0, 0.0
    for fold, (zeros, ones) in enumerate([(300, 80), (200, 40)]):
        score = np.concatenate([draw.integers(0, 40, zeros), draw.integers(10, 50, ones)])
        domain = np.repeat([0, 1], [zeros, ones])
        np.add.at(counts.numpy(), (fold, domain, score), 1)
        wanted += zeros * ones * roc_auc_score(domain, score)
        pairs += zeros * ones
    assert domain_auc(counts)[0] == pytest.approx(wanted / pairs, abs=1e-12)


def test_the_standard_error_is_that_of_hanley_and_mcneil() -> None:
    # A = 3/4 from one tie in two pairs: Q1 = A / (2 - A), Q2 = 2 A^2 / (1 + A).
    counts = torch.zeros((1, 2, 3), dtype=torch.float64)
    counts[0, 0] = torch.tensor([50.0, 50.0, 0.0])
    counts[0, 1] = torch.tensor([0.0, 40.0, 0.0])
    auc, error = domain_auc(counts)
    a, q_one, q_two = 0.75, 0.6, 1.125 / 1.75
    variance = (a * (1 - a) + 39 * (q_one - a**2) + 99 * (q_two - a**2)) / 4000
    assert auc == pytest.approx(a)
    assert error == pytest.approx(math.sqrt(variance))


def test_by_chance_the_auc_lies_a_standard_error_off_about_as_often_as_it_should() -> None:
    draw = np.random.default_rng(1)
    off = 0
    for _ in range(400):
        counts = torch.zeros((5, 2, 200), dtype=torch.float64)
        for fold in range(5):
            for domain, rows in ((0, 60), (1, 30)):
                scores = draw.integers(0, 200, rows)
                np.add.at(counts.numpy(), (fold, domain, scores), 1)
        auc, error = domain_auc(counts)
        off += abs(auc - 0.5) > error
    # Under the normal law 32 %.
    assert 0.25 < off / 400 < 0.39
