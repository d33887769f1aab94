"""The published method: its presets, its loss, and scores by members that did not see the row."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from reweight.importance.batch import Batch
from reweight.importance.methods.importance_mlp import (
    ImportanceMlp,
    ImportanceMlpLearner,
    ImportanceMlpModel,
)
from reweight.importance.training import TrainFacts
from reweight.training.loop import fit, trainers_of
from reweight.training.models import fitted

FACTS = TrainFacts(dim=3, cardinalities=(4,), rows=60, positives=15, seed=2)
CPU = torch.device("cpu")


def method_of(**values: Any) -> ImportanceMlp:
    training = {"hidden": (8,), "embedding": 2} | values.pop("training", {})
    return ImportanceMlp.model_validate({"training": training} | values)


def model_of(method: ImportanceMlp, facts: TrainFacts = FACTS) -> ImportanceMlpModel:
    model = method.build(facts)
    assert isinstance(model, ImportanceMlpModel)
    return model


def learner_of(model: ImportanceMlpModel) -> ImportanceMlpLearner:
    (learner,) = model.checkpoints()
    assert isinstance(learner, ImportanceMlpLearner)
    return learner


def loss_of(model: ImportanceMlpModel, batch: Batch, rows: int) -> Tensor:
    return learner_of(model).loss(batch, rows)[0]


def batch_of(rows: int = 60, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        sample_id=torch.arange(rows) * 7 - 100,
        features=torch.randn((rows, 3), generator=generator),
        ids=torch.randint(0, 4, (rows, 1), generator=generator),
        label=(torch.rand(rows, generator=generator) < 0.3).float(),
    )


def trained(method: ImportanceMlp, batch: Batch) -> Tensor:
    """Scores of the rows after training on just these rows."""

    def feed(epoch: int) -> Iterator[Batch]:
        return iter([batch])

    trainers = trainers_of((method,), FACTS, CPU)
    curves = fit(trainers, feed, feed)
    stored = fitted((method,), trainers, FACTS, feed, feed, curves, CPU)[method.name]
    with torch.inference_mode():
        scores: Tensor = stored.model()(batch)
    return scores


def test_the_reference_preset_is_the_published_method() -> None:
    method = ImportanceMlp.model_validate({"preset": "reference"})
    assert (method.k, method.training.hidden, method.loss, method.penalty) == (
        10,
        (256, 128),
        "mse",
        "sum",
    )
    assert (method.training.epochs, method.training.learning_rate) == (50, 0.001)
    assert (method.cross_fit, method.class_weights) == (0, False)
    assert method.keeps_scale
    model = model_of(method, TrainFacts(dim=100, rows=10, positives=5))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == (100 * 256 + 256) + (256 * 128 + 128) + (128 + 1)


def test_the_robust_preset_differs_where_the_method_does_harm() -> None:
    method = ImportanceMlp()
    assert method.preset == "robust"
    assert (method.loss, method.penalty, method.cross_fit) == ("cross_entropy", "mean", 5)
    assert not method.keeps_scale


def test_values_of_the_config_go_before_those_of_the_preset() -> None:
    method = ImportanceMlp.model_validate(
        {"preset": "reference", "training": {"epochs": 3}, "penalty": "mean"}
    )
    assert (method.training.epochs, method.penalty, method.loss) == (3, "mean", "mse")


def test_the_name_tells_the_preset_and_can_be_given() -> None:
    assert ImportanceMlp().name == "importance_mlp_robust"
    assert ImportanceMlp.model_validate({"preset": "reference"}).name == "importance_mlp_reference"
    assert ImportanceMlp.model_validate({"name": "mine"}).name == "mine"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"k": 0}, "k"),
        ({"k": -1}, "k"),
        ({"lambda": -0.1}, "lambda"),
        ({"lambda_": 0.1}, "lambda_"),
        ({"cross_fit": 1}, "at least 2 folds"),
        ({"cross_fit": -1}, "cross_fit"),
        ({"training": {"epochs": 0}}, "epochs"),
        ({"epochs": 5}, "write training: {epochs: 5}"),
        ({"training": {"embedding": 0}}, "embedding"),
        ({"loss": "hinge"}, "loss"),
        ({"preset": "best"}, "preset"),
    ],
)
def test_values_that_cannot_be_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ImportanceMlp.model_validate(values)


def test_importance_is_k_times_the_networks_probability() -> None:
    batch = batch_of()
    one = model_of(method_of(preset="reference", k=1))(batch)
    ten = model_of(method_of(preset="reference", k=10))(batch)
    assert ((one > 0) & (one < 1)).all()
    torch.testing.assert_close(ten, 10 * one)
    logits = learner_of(model_of(method_of(preset="reference"))).logits(batch)[:, 0]
    torch.testing.assert_close(one, 1 / (1 + torch.exp(-logits)))


@pytest.mark.parametrize("class_weights", [False, True])
@pytest.mark.parametrize("penalty", ["sum", "mean"])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_loss_is_the_formula(loss: str, penalty: str, class_weights: bool) -> None:
    method = method_of(
        preset="reference", loss=loss, penalty=penalty, class_weights=class_weights, k=3
    )
    method = method.model_copy(update={"lambda_": 0.2})
    model, batch = model_of(method), batch_of()
    y = batch.label.double().numpy()
    f = learner_of(model).ensemble(batch)[:, 0].sigmoid().detach().double().numpy()
    c = np.where(y == 1, 60 / 30, 60 / 90) if class_weights else np.ones(60)
    error = (f - y) ** 2 if loss == "mse" else -np.log(np.where(y == 1, f, 1 - f))
    pull = (3 * f - 1) ** 2
    wanted = (c * error).mean() + 0.2 * (pull.sum() if penalty == "sum" else pull.mean())
    assert loss_of(model, batch, 60).item() == pytest.approx(wanted, rel=1e-5)


def test_the_loss_of_folds_is_the_sum_over_members_of_the_rows_that_they_see() -> None:
    method = method_of(cross_fit=3, k=2).model_copy(update={"lambda_": 0.5})
    model, batch = model_of(method), batch_of()
    y = batch.label.double().numpy()
    f = learner_of(model).ensemble(batch).sigmoid().detach().double().numpy()
    seen = learner_of(model).ensemble.multiplicity(batch.sample_id).numpy() == 1
    assert 0 < seen.sum() < seen.size
    wanted = 0.0
    for member in range(3):
        own, truth = f[seen[:, member], member], y[seen[:, member]]
        error = -np.log(np.where(truth == 1, own, 1 - own))
        wanted += (error.sum() + 0.5 * ((2 * own - 1) ** 2).sum()) / (60 * 2 / 3)
    assert loss_of(model, batch, 60).item() == pytest.approx(wanted, rel=1e-5)


def test_a_row_is_scored_by_the_member_that_did_not_see_it() -> None:
    model, batch = model_of(method_of(cross_fit=4, k=2)), batch_of()
    f = learner_of(model).ensemble(batch).sigmoid()
    seen = learner_of(model).ensemble.multiplicity(batch.sample_id)
    scorer = seen.argmin(1)
    assert not seen.gather(1, scorer[:, None]).any()
    torch.testing.assert_close(model(batch), 2 * f.gather(1, scorer[:, None])[:, 0])


def test_with_folds_the_label_of_a_row_does_not_reach_its_own_score() -> None:
    method = method_of(cross_fit=3, training={"epochs": 15, "learning_rate": 0.02})
    batch = batch_of()
    before = trained(method, batch)
    for row in (0, 17, 42):
        label = batch.label.clone()
        label[row] = 1 - label[row]
        moved = (trained(method, replace(batch, label=label)) - before).abs()
        assert moved[row] <= 1e-6
        # Rows of the other folds have been scored by members that saw it.
        assert (moved > 1e-4).sum() >= 20


def test_with_folds_the_features_of_a_row_do_not_train_the_member_that_scores_it() -> None:
    model, batch = model_of(method_of(cross_fit=3)), batch_of(1)
    loss_of(model, batch, 1).backward()
    scorer = int(learner_of(model).unseen(batch.sample_id).argmax())
    for parameter in model.parameters():
        assert parameter.grad is not None
        moved = parameter.grad.flatten(1).any(1).tolist()
        assert moved == [member != scorer for member in range(3)]


def test_without_folds_the_label_of_a_row_reaches_its_own_score() -> None:
    method = method_of(cross_fit=0, training={"epochs": 15, "learning_rate": 0.02})
    batch = batch_of()
    label = batch.label.clone()
    label[17] = 1 - label[17]
    moved = trained(method, replace(batch, label=label)) - trained(method, batch)
    assert moved[17].abs() > 1e-3


def test_embeddings_are_trained_where_an_id_occurs() -> None:
    model, batch = model_of(method_of(preset="reference")), batch_of()
    batch = replace(batch, ids=torch.tensor([1, 3] * 30)[:, None])
    loss_of(model, batch, 60).backward()
    table = learner_of(model).ensemble.tables[0]
    assert table.grad is not None
    assert table.grad[0].any(1).tolist() == [False, True, False, True]


@pytest.mark.parametrize("penalty", ["sum", "mean"])
@pytest.mark.parametrize("k", [0.5, 2.0, 10.0])
def test_training_reaches_the_optimum_that_is_known_for_equal_rows(penalty: str, k: float) -> None:
    # For rows with the same x: w = (k p + L k^2) / (1 + L k^2), where it is below k.
    rows, lambda_ = 20, 0.002
    label = (torch.arange(rows) < 6).float()
    batch = Batch(
        torch.arange(rows), torch.ones(rows, 1), torch.zeros(rows, 0, dtype=torch.int64), label
    )
    method = ImportanceMlp.model_validate(
        {
            "preset": "reference",
            "training": {"hidden": ()},
            "k": k,
            "lambda": lambda_,
            "penalty": penalty,
        }
    )
    model = model_of(method, TrainFacts(dim=1, rows=rows, positives=6))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        loss_of(model, batch, rows).backward()
        optimizer.step()
    pull = lambda_ * (rows if penalty == "sum" else 1)
    wanted = (k * 0.3 + pull * k**2) / (1 + pull * k**2)
    torch.testing.assert_close(model(batch), torch.full((rows,), wanted), rtol=1e-3, atol=1e-3)


def test_the_class_weights_of_a_member_count_as_the_formula_says_in_its_own_loss() -> None:
    plain, weighted = (learner_of(model_of(method_of(class_weights=w))) for w in (False, True))
    assert plain.class_weight.tolist() == [1.0, 1.0]
    assert weighted.class_weight.tolist() == pytest.approx([60 / 90, 60 / 30])


@pytest.mark.parametrize("cross_fit", [0, 5])
def test_a_training_is_plain_adam_on_features_as_they_are(cross_fit: int) -> None:
    training = method_of(cross_fit=cross_fit).learns()
    assert (training.weight_decay, training.quantile_bins) == (0.0, 0)
    assert training.members == max(1, cross_fit)  # type: ignore[attr-defined]
    assert training.membership == ("folds" if cross_fit else "all")  # type: ignore[attr-defined]
