"""What every importance method promises, for each member of the union."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from sklearn.metrics import roc_auc_score
from torch import Tensor
from union import MEMBERS, columns_of, facts_of, planted, small

from reweight.importance import batch as rows_of_torch
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.attribution import attributions
from reweight.importance.base import ImportanceMethod, ImportanceModel, Polarity
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods import Method
from reweight.importance.valuation import ValuationMethod
from reweight.training.in_memory import fit_in_memory


def kind_of(member: type[ImportanceMethod]) -> str:
    return str(member.model_fields["method"].default)


# Members that read the label and are not asked to tell which labels are wrong, and why.
OTHER_AIM = {
    "class_balanced": "knows how many rows each class has, and nothing of a row",
    "rake": "weighs whole cells of segment and label",
    "reweighing": "weighs whole cells of segment and label",
    "t_ce": "drops rows with label 1 alone: wrong zeros weigh as much as right ones",
    "value_weighted": "knows what a positive brought, and not whether it is one",
    "delayed_feedback": "takes settled rows to be right, and says of open ones what they stand for",
    "self_training": "takes settled rows to be right, and says of open ones what to expect",
    "doubly_robust": "takes recorded positives to be right, and says of the others how likely",
    "ipw_position": "takes recorded positives to be right, and says of the others how likely",
    "pu_prior": "takes recorded positives to be right, and says of the others how likely",
}

# Members that promise nothing alone, and why; tests of their own say what they promise.
NOT_ALONE = {"product": "is made of the scores of other methods of its run"}

METHODS = tuple(small(member) for member in MEMBERS if kind_of(member) not in NOT_ALONE)
EXTRA = columns_of(METHODS)
TRAIN, FLIPPED = planted(extra=EXTRA)
VALIDATION, _ = planted(200, seed=1, flips=0.0, extra=EXTRA)
NEW, _ = planted(64, seed=2, extra=EXTRA)
FACTS = facts_of(TRAIN)
TRAINED = tuple(method for method in METHODS if method.learns())
Fitted = dict[str, ModelArtifact]


def fitted() -> Fitted:
    return fit_in_memory(METHODS, FACTS, TRAIN, VALIDATION, batch_size=64)[0]


def named(method: ImportanceMethod) -> str:
    return method.name


@pytest.fixture(scope="module")
def stored() -> Fitted:
    return fitted()


@pytest.fixture(scope="module")
def again(stored: Fitted) -> Fitted:
    """The same once more, with torch's own random numbers elsewhere."""
    torch.manual_seed(99)
    return fitted()


@pytest.fixture(params=METHODS, ids=named)
def method(request: pytest.FixtureRequest) -> ImportanceMethod:
    found: ImportanceMethod = request.param
    return found


@pytest.fixture
def model(method: ImportanceMethod, stored: Fitted) -> ImportanceModel:
    return stored[method.name].model()


@torch.inference_mode()
def scores(model: ImportanceModel, batch: Batch) -> Tensor:
    return model(batch)


def told(method: ImportanceMethod, model: ImportanceModel, batch: Batch) -> Tensor:
    """What a method says of rows that differs between them: labels where it has its own."""
    return labels(model, batch) if method.soft else scores(model, batch)


@torch.inference_mode()
def labels(model: ImportanceModel, batch: Batch) -> Tensor:
    return model.soft_label(EnsembleOutputs(batch))


def assert_same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * wanted.abs().max().item())


def test_scores_are_finite_floats_one_per_row(model: ImportanceModel) -> None:
    for batch in (TRAIN, NEW):
        found = scores(model, batch)
        assert found.shape == (len(batch),)
        assert found.dtype == torch.float32
        assert found.isfinite().all()


def test_scores_stay_finite_for_features_far_away(model: ImportanceModel) -> None:
    for factor in (0.0, 1e6):
        assert scores(model, replace(NEW, features=factor * NEW.features)).isfinite().all()


def test_the_same_rows_and_seed_give_the_same_model(
    method: ImportanceMethod, stored: Fitted, again: Fitted
) -> None:
    assert again[method.name] == stored[method.name]


def test_a_row_scores_the_same_alone_and_in_a_batch(model: ImportanceModel) -> None:
    alone = [scores(model, NEW.rows(torch.tensor([i]))) for i in range(len(NEW))]
    assert_same(torch.cat(alone), scores(model, NEW))


def test_a_row_scores_the_same_in_another_order(model: ImportanceModel) -> None:
    order = torch.randperm(len(NEW), generator=torch.Generator().manual_seed(1))
    assert_same(scores(model, NEW.rows(order)), scores(model, NEW)[order])


def test_a_stored_model_scores_as_the_one_that_was_stored(
    method: ImportanceMethod, model: ImportanceModel, tmp_path: Path
) -> None:
    ModelArtifact.of(method, FACTS, model).write(tmp_path / "m")
    loaded = ModelArtifact.read(tmp_path / "m")
    assert loaded.read_method() == method
    assert torch.equal(scores(loaded.model(), NEW), scores(model, NEW))


def test_a_method_scores_the_same_alone_with_its_own_columns_and_beside_all_others(
    method: ImportanceMethod, stored: Fitted
) -> None:
    own = replace(NEW, extra={name: NEW.extra[name] for name in method.columns()})
    alone = Scorer({method.name: stored[method.name]})(own)[method.name]
    assert torch.equal(Scorer(stored)(NEW)[method.name], alone)


def test_rows_are_scored_in_parts_as_they_are_together(
    stored: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(stored)
    whole = scorer.scored(NEW)
    monkeypatch.setattr(rows_of_torch, "_PART", 7)
    parts = scorer.scored(NEW)
    for field in ("importance", "soft_labels", "in_sample"):
        together, in_parts = getattr(whole, field), getattr(parts, field)
        assert together.keys() == in_parts.keys() != set()
        for name, values in together.items():
            torch.testing.assert_close(in_parts[name], values, rtol=1e-5, atol=1e-6)
    assert scorer.scored(NEW.rows(torch.arange(0))).importance["uniform"].shape == (0,)


def test_the_importance_of_every_method_can_be_attributed(stored: Fitted) -> None:
    scorer = Scorer(stored)
    parts = attributions(scorer.scores, NEW, steps=2)
    for name, whole in scorer(NEW).items():
        assert parts[name].isfinite().all(), name
        assert_same(parts[name].sum(1), whole)


def test_a_soft_label_is_a_probability_and_1_for_recorded_positives(
    method: ImportanceMethod, model: ImportanceModel
) -> None:
    found = labels(model, TRAIN)
    assert found.dtype == torch.float32
    assert found.shape == (len(TRAIN),)
    assert ((found >= 0) & (found <= 1)).all()
    if not method.soft:
        assert torch.equal(found, TRAIN.label)
        return
    assert (found[TRAIN.label == 1] == 1).all()
    assert found[TRAIN.label == 0].std() > 0.001
    alone = [labels(model, NEW.rows(torch.tensor([i]))) for i in range(len(NEW))]
    assert_same(torch.cat(alone), labels(model, NEW))


def test_soft_labels_are_of_the_whole_log_but_where_the_user_says_of_which() -> None:
    of_these_rows = {m.name for m in METHODS if m.soft and not m.needs_all_negatives}
    assert of_these_rows == {"pu_prior"}


def test_importance_is_below_0_only_where_the_method_says_so(
    method: ImportanceMethod, model: ImportanceModel
) -> None:
    if not method.signed:
        assert (scores(model, TRAIN) >= 0).all()


@pytest.mark.parametrize(
    "method", [m for m in METHODS if m.uses_label and kind_of(type(m)) not in OTHER_AIM], ids=named
)
def test_wrong_labels_score_on_the_side_that_the_polarity_says(
    method: ImportanceMethod, model: ImportanceModel
) -> None:
    found = roc_auc_score(FLIPPED.numpy(), scores(model, TRAIN).numpy())
    if method.polarity == "valuable":
        found = 1 - found
    assert found > 0.8


# A valuation gathers the rows of all ranks itself, for a table of them: nothing is added up.
ADDING = [m for m in METHODS if m.passes and not isinstance(m, ValuationMethod)]


@pytest.mark.parametrize("method", ADDING, ids=named)
def test_what_is_seen_of_the_rows_after_training_adds_up_over_ranks(
    method: ImportanceMethod, stored: Fitted
) -> None:
    whole = stored[method.name]

    def looked(ranks: int) -> ImportanceModel:
        models = [method.build(FACTS, whole.epochs).eval() for _ in range(ranks)]
        for model in models:
            model.learners.load_state_dict(whole.model().learners.state_dict())
        for number in range(method.passes):
            if models[0].done:
                break
            for rank, model in enumerate(models):
                for split, rows in (("train", TRAIN), ("validation", VALIDATION)):
                    own = rows.rows(torch.arange(rank, len(rows), ranks))
                    model.observe(EnsembleOutputs(own), split)
            for parts in zip(*[model.sums() for model in models], strict=True):
                total = torch.stack(parts).sum(0)
                for part in parts:
                    part.copy_(total)
            for model in models:
                model.finish(number)
        return models[-1]

    with torch.no_grad():
        one, three = looked(1), looked(3)
    wanted = told(method, one, NEW)
    assert wanted.unique().numel() > 1
    assert_same(told(method, three, NEW), wanted)
    assert_same(told(method, stored[method.name].model(), NEW), wanted)


@pytest.mark.parametrize("method", TRAINED, ids=named)
def test_training_moves_every_parameter(method: ImportanceMethod) -> None:
    training = method.learns()
    assert training is not None
    learner = training.build(FACTS)
    loss, out_of_bag = learner.loss(TRAIN, len(TRAIN))
    assert loss.shape == out_of_bag.shape == ()
    assert not out_of_bag.requires_grad
    loss.backward()
    for name, parameter in learner.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("method", TRAINED, ids=named)
def test_shares_of_a_batch_add_up_to_its_losses(method: ImportanceMethod) -> None:
    training = method.learns()
    assert training is not None
    learner, rows = training.build(FACTS), len(TRAIN)

    def losses(batch: Batch) -> Tensor:
        return torch.stack([loss.detach() for loss in learner.loss(batch, rows)])

    parts = [torch.arange(0, 5), torch.arange(5, 140), torch.arange(140, rows)]
    shares = torch.stack([losses(TRAIN.rows(part)) for part in parts]).sum(0)
    torch.testing.assert_close(shares, losses(TRAIN), rtol=1e-5, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("method", TRAINED, ids=named)
def test_members_agree_with_their_learner_on_shapes(method: ImportanceMethod) -> None:
    training = method.learns()
    assert training is not None
    learner = training.build(FACTS)
    assert learner.logits(NEW).shape == (len(NEW), learner.members)
    unseen = learner.unseen(NEW.sample_id)
    assert unseen.shape == (len(NEW), learner.members)
    torch.testing.assert_close(unseen.sum(1), torch.ones(len(NEW)))
    # In sample: no member can be left out of the score, or all would be.
    seen = learner.multiplicity(NEW.sample_id) > 0
    assert torch.equal(learner.in_sample(NEW.sample_id), seen.sum(1) == learner.members)
    assert not (unseen[seen & ~seen.all(1, keepdim=True)]).any()


@pytest.mark.parametrize("method", [m for m in METHODS if not m.learns()], ids=named)
def test_a_method_that_trains_nothing_has_no_parameters(
    method: ImportanceMethod, model: ImportanceModel
) -> None:
    assert list(model.parameters()) == []
    assert method.trained == bool(method.passes)


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


def test_a_hidden_layer_has_units(method: ImportanceMethod) -> None:
    values = method.model_dump(by_alias=True)
    if "hidden" not in values.get("training", {}):
        pytest.skip("it has no hidden layers")
    for width in (0, -3):
        wrong = values | {"training": values["training"] | {"hidden": [8, width]}}
        with pytest.raises(ValidationError, match=r"hidden\.1"):
            type(method).model_validate(wrong)


def test_a_method_declares_what_it_is(method: ImportanceMethod) -> None:
    kind = type(method)
    assert method.polarity in get_args(Polarity)
    for line in (kind.assumes, kind.cost):
        assert line.strip()
        assert "\n" not in line
    assert kind.__doc__
    module = inspect.getmodule(kind)
    assert module is not None
    assert module.__doc__
    assert f"`{kind_of(kind)}`" in module.__doc__


def test_the_label_matters_just_where_the_method_says_so(
    method: ImportanceMethod, model: ImportanceModel
) -> None:
    flipped = told(method, model, replace(NEW, label=1 - NEW.label))
    assert (not torch.equal(flipped, told(method, model, NEW))) == method.uses_label


def test_names_in_a_config_are_unique() -> None:
    kinds, names = [kind_of(type(m)) for m in METHODS], [m.name for m in METHODS]
    assert len(set(kinds)) == len(set(names)) == len(MEMBERS) - len(NOT_ALONE) >= 5
    assert set(OTHER_AIM) <= set(kinds)
    assert set(NOT_ALONE) == {kind_of(member) for member in MEMBERS} - set(kinds)
