"""TracIn equals inner products of gradients taken row by row."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from blobs import FACTS, QUICK, TRAINING, Array, Said, built, planted, rows_of, scores
from torch import Tensor
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.tracin import TracIn, TracInModel
from reweight.importance.training import Checkpoints, Learner

EPOCHS = (1, 2, 3)
METHOD = TracIn(training=TRAINING, keep=Checkpoints(which="spread", count=3))


def gradient(learner: Learner, batch: Batch) -> Tensor:
    """Of the summed loss, of each member, float32 [M, parameters of a member]."""
    z = learner.logits(batch)
    label = batch.label[:, None].expand_as(z)
    loss = functional.binary_cross_entropy_with_logits(z, label, reduction="sum")
    parts = torch.autograd.grad(loss, list(learner.parameters()))
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def by_autograd(model: TracInModel, train: Batch, batch: Batch) -> Array:
    total = np.zeros((len(batch), TRAINING.members))
    targets = train.rows(train.extra["target"] == 1)
    for learner in model.checkpoints():
        mean = gradient(learner, targets) / len(targets)
        for i in range(len(batch)):
            own = gradient(learner, batch.rows(torch.tensor([i])))
            total[i] += TRAINING.learning_rate * (own * mean).sum(1).double().numpy()
    return Said.of(model, batch).mean(total)


def looked(method: TracIn, batches: list[Batch]) -> TracInModel:
    model = built(method, EPOCHS)
    assert isinstance(model, TracInModel)
    with torch.no_grad():
        for batch in batches:
            model.observe(EnsembleOutputs(batch), "train")
            model.observe(EnsembleOutputs(rows_of(20, seed=8)), "validation")
    return model


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_it_equals_inner_products_of_gradients_taken_row_by_row(hidden: tuple[int, ...]) -> None:
    training = TRAINING.model_copy(update={"hidden": hidden})
    train, batch = rows_of(40), rows_of(15, seed=2)
    model = looked(METHOD.model_copy(update={"training": training}), [train])
    model.finish(0)
    wanted = by_autograd(model, train, batch)
    assert (wanted > 0).any() and (wanted < 0).any()
    assert scores(model, batch) == pytest.approx(wanted, rel=1e-4, abs=1e-7)


def test_the_target_is_summed_over_batches_and_ranks() -> None:
    train, batch = rows_of(60), rows_of(15, seed=2)
    whole = looked(METHOD, [train])
    ranks = [looked(METHOD, [train.rows(torch.arange(r, 60, 4))]) for r in range(4)]
    # A rank without a target row has as many sums as the others.
    ranks.append(looked(METHOD, [replace(train, extra={"target": torch.zeros(60)})]))
    for parts in zip(*[model.sums() for model in ranks], strict=True):
        total = torch.stack(parts).sum(0)
        for part in parts:
            part.copy_(total)
    for model in (whole, *ranks):
        model.finish(0)
    for model in ranks:
        assert scores(model, batch) == pytest.approx(scores(whole, batch), rel=1e-4, abs=1e-8)


def test_the_target_goes_with_the_stored_model() -> None:
    model, batch = looked(METHOD, [rows_of(40)]), rows_of(15, seed=2)
    model.finish(0)
    stored = ModelArtifact.of(METHOD, FACTS, model)
    assert np.array_equal(Scorer({"t": stored})(batch)["t"].numpy(), scores(model, batch))
    # New rows need no column to be scored, but for the label.
    assert np.array_equal(scores(model, replace(batch, extra={})), scores(model, batch))


def test_without_a_target_the_error_says_what_it_is_and_how_to_set_it() -> None:
    train = rows_of(30)
    model = looked(METHOD, [replace(train, extra={"target": torch.zeros(30)})])
    with pytest.raises(TrainingError, match=r"target = 1(.|\n)*splits\.target"):
        model.finish(0)


def test_wrong_labels_harm_a_target_of_right_ones() -> None:
    found = planted(TracIn(training=QUICK))
    assert found.auroc("tracin") < 0.02
    assert np.median(found.scores["tracin"][found.flipped]) < 0
    assert TracIn().polarity == "valuable"
