"""What every importance method promises, for each member of the union."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from reweight.batch import Batch
from reweight.importance import ImportanceMethod, ImportanceModel, Method, TrainFacts
from reweight.importance.base import Polarity
from reweight.importance.stored import StoredModel

MEMBERS: tuple[type[ImportanceMethod], ...] = get_args(get_args(Method)[0])
TRAINED = tuple(member for member in MEMBERS if member().epochs)
FACTS = TrainFacts(dim=4, cardinalities=(5, 3), rows=200, positives=40, seed=3)
ROWS = 64


@pytest.fixture(params=MEMBERS, ids=lambda member: member.__name__)
def method(request: pytest.FixtureRequest) -> ImportanceMethod:
    made: ImportanceMethod = request.param()
    return made


@pytest.fixture
def model(method: ImportanceMethod) -> ImportanceModel:
    """A model a few steps away from where it starts, so that it is not what ``build`` gives."""
    model = method.build(FACTS)
    if method.epochs:
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for seed in range(3):
            optimizer.zero_grad()
            model.loss(batch_of(seed), ROWS).backward()
            optimizer.step()
    return model.eval()


def batch_of(seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        sample_id=torch.randint(-(2**63), 2**63 - 1, (ROWS,), generator=generator),
        features=torch.randn((ROWS, 4), generator=generator),
        ids=torch.stack(
            [torch.randint(0, size, (ROWS,), generator=generator) for size in (5, 3)], dim=1
        ),
        label=(torch.rand(ROWS, generator=generator) < 0.4).float(),
    )


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    return Batch(batch.sample_id[rows], batch.features[rows], batch.ids[rows], batch.label[rows])


@torch.inference_mode()
def scores(model: ImportanceModel, batch: Batch) -> Tensor:
    return model(batch)


def test_scores_are_finite_floats_one_per_row(model: ImportanceModel) -> None:
    found = scores(model, batch_of(7))
    assert found.shape == (ROWS,)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_scores_stay_finite_for_features_far_away(model: ImportanceModel) -> None:
    batch = batch_of(7)
    for factor in (0.0, 1e6):
        assert scores(model, replace(batch, features=factor * batch.features)).isfinite().all()


def test_two_models_of_the_same_facts_score_alike(method: ImportanceMethod) -> None:
    one = scores(method.build(FACTS), batch_of(7))
    torch.manual_seed(99)
    torch.testing.assert_close(scores(method.build(FACTS), batch_of(7)), one, rtol=0, atol=0)


def test_a_row_scores_the_same_alone_and_in_a_batch(model: ImportanceModel) -> None:
    batch = batch_of(7)
    whole = scores(model, batch)
    alone = torch.cat([scores(model, rows_of(batch, torch.tensor([i]))) for i in range(ROWS)])
    torch.testing.assert_close(alone, whole, rtol=1e-5, atol=1e-6)


def test_a_row_scores_the_same_in_another_order(model: ImportanceModel) -> None:
    batch, order = batch_of(7), torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    again = scores(model, rows_of(batch, order))
    torch.testing.assert_close(again, scores(model, batch)[order], rtol=1e-5, atol=1e-6)


def test_a_stored_model_scores_as_the_one_that_was_stored(
    method: ImportanceMethod, model: ImportanceModel, tmp_path: Path
) -> None:
    StoredModel.of(method, FACTS, model).write(tmp_path / "m")
    loaded = StoredModel.read(tmp_path / "m").model()
    batch = batch_of(7)
    torch.testing.assert_close(scores(loaded, batch), scores(model, batch), rtol=0, atol=0)


@pytest.mark.parametrize("member", TRAINED, ids=lambda member: member.__name__)
def test_training_moves_every_parameter(member: type[ImportanceMethod]) -> None:
    model = member().build(FACTS)
    loss = model.loss(batch_of(), ROWS)
    assert loss.shape == ()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("member", TRAINED, ids=lambda member: member.__name__)
def test_shares_of_a_batch_add_up_to_its_loss(member: type[ImportanceMethod]) -> None:
    model, batch = member().build(FACTS), batch_of(5)
    whole = model.loss(batch, ROWS)
    parts = [torch.arange(0, 5), torch.arange(5, 40), torch.arange(40, ROWS)]
    shares = [model.loss(rows_of(batch, part), ROWS) for part in parts]
    torch.testing.assert_close(torch.stack(shares).sum(), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "member", sorted(set(MEMBERS) - set(TRAINED), key=str), ids=lambda member: member.__name__
)
def test_a_method_without_epochs_has_nothing_to_train(member: type[ImportanceMethod]) -> None:
    model = member().build(FACTS)
    assert list(model.parameters()) == []
    with pytest.raises(NotImplementedError, match="nothing to train"):
        model.loss(batch_of(), ROWS)


def test_a_method_survives_json(method: ImportanceMethod) -> None:
    adapter: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)
    again = adapter.validate_json(method.model_dump_json(by_alias=True))
    assert type(again) is type(method)
    assert again == method


def test_an_unknown_hyperparameter_is_an_error(method: ImportanceMethod) -> None:
    adapter: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)
    values = method.model_dump(by_alias=True) | {"learning_rat": 0.1}
    with pytest.raises(ValidationError, match="learning_rat"):
        adapter.validate_python(values)


def test_a_method_declares_what_it_is(method: ImportanceMethod) -> None:
    kind = type(method)
    assert kind.polarity in get_args(Polarity)
    assert kind.assumes.strip()
    assert "\n" not in kind.assumes
    assert kind.__doc__
    module = inspect.getmodule(kind)
    assert module is not None
    assert module.__doc__
    assert f"`{kind.model_fields['method'].default}`" in module.__doc__


def test_the_label_matters_just_where_the_method_says_so(
    method: ImportanceMethod, model: ImportanceModel
) -> None:
    batch = batch_of(7)
    flipped = scores(model, replace(batch, label=1 - batch.label))
    assert (not torch.equal(flipped, scores(model, batch))) == method.uses_label


def test_names_in_a_config_are_unique() -> None:
    names = [member.model_fields["method"].default for member in MEMBERS]
    assert len(set(names)) == len(names) >= 4
