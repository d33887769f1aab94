"""Data-OOB: the same values as a loop that fits one learner after another."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleLearner
from reweight.importance.methods.data_oob import BaggedTraining, DataOob
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory


def rows_of(rows: int, dim: int = 5, flips: float = 0.1) -> tuple[Batch, Tensor]:
    draw = torch.Generator().manual_seed(0)
    features = torch.randn((rows, dim), generator=draw)
    noise = torch.randn(rows, generator=draw)
    label = (features[:, 0] - features[:, 1] + 0.3 * noise > 0).float()
    flipped = torch.rand(rows, generator=draw) < flips
    ids = torch.empty((rows, 0), dtype=torch.int64)
    given = torch.where(flipped, 1 - label, label)
    return Batch(torch.arange(rows) * 31, features, ids, given), flipped


def facts_of(batch: Batch) -> TrainFacts:
    rows, dim = batch.features.shape
    return TrainFacts(dim=dim, rows=rows, positives=int(batch.label.sum()), seed=5)


def fitted(method: DataOob, batch: Batch, batch_size: int) -> tuple[Tensor, EnsembleLearner]:
    stored, _ = fit_in_memory([method], facts_of(batch), batch, batch, batch_size=batch_size)
    model = stored[method.name].model()
    (learner,) = model.checkpoints()
    assert isinstance(learner, EnsembleLearner)
    with torch.inference_mode():
        return model(batch), learner


def test_values_are_those_of_scikit_learns_regression_fitted_bag_by_bag() -> None:
    batch, flipped = rows_of(300)
    training = BaggedTraining(members=60, epochs=100, learning_rate=0.01, weight_decay=0.0)
    found, learner = fitted(DataOob(training=training), batch, 100)
    # scikit-learn 1.3 wants one type for all three.
    x, y = batch.features.double().numpy(), batch.label.numpy()
    bags = learner.ensemble.multiplicity(batch.sample_id).double().numpy()
    assert bags.max() >= 3
    right, out = np.zeros(300), np.zeros(300)
    for bag in bags.T:
        model = LogisticRegression(C=1e6, solver="newton-cholesky").fit(x, y, sample_weight=bag)
        right += (bag == 0) * (model.predict(x) == y)
        out += bag == 0
    wanted = right / out
    assert spearmanr(found.numpy(), wanted).statistic > 0.9
    assert np.abs(found.numpy() - wanted).mean() < 0.03
    assert roc_auc_score(flipped, -found.numpy()) > 0.95


def test_the_value_is_a_share_of_the_members_that_did_not_see_the_row() -> None:
    batch, _ = rows_of(80)
    found, learner = fitted(DataOob(training=BaggedTraining(members=7, epochs=2)), batch, 40)
    logits = learner.logits(batch)
    seen = learner.ensemble.multiplicity(batch.sample_id)
    for row in range(80):
        # A row that all have seen is scored by all.
        scorers = [m for m in range(7) if seen[row, m] == 0] or list(range(7))
        right = sum(bool(logits[row, m] > 0) == bool(batch.label[row]) for m in scorers)
        # Exactly: rows of equal shares must tie.
        assert found[row] == torch.tensor(right / len(scorers))


def test_a_thousand_members_on_a_hundred_features_run() -> None:
    batch, flipped = rows_of(600, dim=100)
    training = BaggedTraining(members=1000, epochs=5)
    found, learner = fitted(DataOob(training=training), batch, 100)
    assert learner.members == 1000
    assert len(found.unique()) > 100
    assert roc_auc_score(flipped, -found.numpy()) > 0.7


def test_the_defaults_are_linear_members_on_bootstraps() -> None:
    training = DataOob().training
    assert (training.hidden, training.membership, training.bins) == ((), "poisson", 0)
    assert training.members == 200
    changed = DataOob.model_validate({"training": {"members": 1000}}).training
    assert (changed.hidden, changed.membership, changed.members) == ((), "poisson", 1000)
    with pytest.raises(ValidationError, match="members"):
        DataOob.model_validate({"training": {"members": 1}})
