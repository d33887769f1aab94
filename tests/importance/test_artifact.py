"""Stored models: folders that stand alone, without pickle."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.batch import Batch
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.uniform import Uniform
from reweight.importance.training import TrainFacts

FACTS = TrainFacts(dim=3, cardinalities=(4,), rows=50, positives=10, seed=5)
METHOD = ImportanceMlp.model_validate(
    {"training": {"hidden": (6,), "embedding": 2}, "k": 3.0, "lambda": 0.25, "cross_fit": 2}
)


def batch_of(rows: int = 30) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        sample_id=torch.arange(rows),
        features=torch.randn((rows, 3), generator=generator),
        ids=torch.randint(0, 4, (rows, 1), generator=generator),
        label=torch.zeros(rows),
    )


@pytest.fixture
def stored() -> ModelArtifact:
    model = METHOD.build(FACTS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return ModelArtifact.of(METHOD, FACTS, model)


def test_what_is_read_is_what_was_written(stored: ModelArtifact, tmp_path: Path) -> None:
    stored.write(tmp_path / "a" / "b")
    again = ModelArtifact.read(tmp_path / "a" / "b")
    assert again.tensors == stored.tensors
    assert json.loads(again.method) == json.loads(stored.method)
    assert json.loads(again.facts) == json.loads(stored.facts)
    assert torch.equal(again.model()(batch_of()), stored.model()(batch_of()))


def test_the_model_has_the_stored_tensors_and_not_those_of_the_seed(stored: ModelArtifact) -> None:
    assert not torch.equal(stored.model()(batch_of()), METHOD.build(FACTS)(batch_of()))
    for name, value in METHOD.build(FACTS).named_parameters():
        torch.testing.assert_close(stored.model().state_dict()[name], 1.5 * value.data)


def test_the_folder_holds_plain_json_and_safetensors(stored: ModelArtifact, tmp_path: Path) -> None:
    stored.write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors"}
    values = json.loads((tmp_path / "model.json").read_text())
    assert values["method"]["lambda"] == 0.25
    assert values["facts"]["cardinalities"] == [4]
    tensors = load_file(tmp_path / "model.safetensors")
    assert values["epochs"] == [10]
    assert tensors["learners.10.ensemble.weights.0"].shape == (2, 5, 6)


def test_a_stored_model_can_be_sent_to_executors(stored: ModelArtifact) -> None:
    sent: ModelArtifact = pickle.loads(pickle.dumps(stored))
    assert sent == stored
    assert torch.equal(sent.model()(batch_of()), stored.model()(batch_of()))


def test_a_stored_model_is_ready_to_score(stored: ModelArtifact) -> None:
    assert not stored.model().training


def test_a_model_without_tensors_is_stored_as_well(tmp_path: Path) -> None:
    ModelArtifact.of(Uniform(), FACTS, Uniform().build(FACTS)).write(tmp_path)
    assert torch.equal(ModelArtifact.read(tmp_path).model()(batch_of()), torch.ones(30))


def test_tensors_of_another_shape_are_refused(stored: ModelArtifact) -> None:
    other = METHOD.model_copy(
        update={"training": METHOD.training.model_copy(update={"hidden": (7,)})}
    )
    said = other.model_dump_json(by_alias=True)
    mixed = ModelArtifact(said, stored.facts, stored.epochs, stored.tensors)
    with pytest.raises(RuntimeError, match="size mismatch"):
        mixed.model()


def test_a_folder_without_its_json_is_no_model(stored: ModelArtifact, tmp_path: Path) -> None:
    stored.write(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        ModelArtifact.read(tmp_path)


def test_a_pickle_in_place_of_tensors_is_refused(stored: ModelArtifact, tmp_path: Path) -> None:
    stored.write(tmp_path)
    torch.save(stored.model().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(SafetensorError):
        ModelArtifact.read(tmp_path).model()


# Many models at once

KEPT = SelfConfidence.model_validate(
    {
        "training": {"members": 3, "hidden": (4,), "bins": 0, "embedding": 2},
        "keep": {"which": "spread", "count": 3},
    }
)
MARGIN = KEPT.model_copy(update={"name": "margin", "margin": True})


def fitted(method: SelfConfidence, seed: int) -> ModelArtifact:
    """As if it were trained: parameters that depend on the seed, and other ones at every epoch."""
    model = method.build(FACTS, (7, 14, 20))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return ModelArtifact.of(method, FACTS, model)


def test_every_kept_epoch_is_stored() -> None:
    stored = fitted(KEPT, 0)
    assert stored.epochs == (7, 14, 20)
    biases = [learner.ensemble.biases[-1] for learner in stored.model().checkpoints()]
    assert not torch.equal(biases[0], biases[1])
    assert not torch.equal(biases[1], biases[2])


def test_learners_of_models_that_share_memory_are_stored_whole(tmp_path: Path) -> None:
    model = KEPT.build(FACTS, (7, 20))
    model.learners["20"] = model.learners["7"]
    ModelArtifact.of(KEPT, FACTS, model).write(tmp_path)
    with torch.inference_mode():
        assert torch.equal(ModelArtifact.read(tmp_path).model()(batch_of()), model(batch_of()))


def test_models_of_one_training_are_scored_by_the_same_members() -> None:
    stored = {"one": fitted(KEPT, 0), "margin": fitted(MARGIN, 0), "mlp": of(METHOD)}
    scorer = Scorer(stored)
    one, margin, mlp = scorer.models.values()
    assert [a is b for a, b in zip(one.checkpoints(), margin.checkpoints(), strict=True)] == [
        True
    ] * 3
    assert mlp.checkpoints()[0] not in one.checkpoints()
    found = scorer(batch_of())
    for name, own in stored.items():
        assert torch.equal(found[name], Scorer({name: own})(batch_of())[name])


def test_models_of_equal_settings_on_other_rows_keep_their_own_members() -> None:
    stored = {"one": fitted(KEPT, 0), "other": fitted(KEPT, 1)}
    found = Scorer(stored)(batch_of())
    assert not torch.equal(found["one"], found["other"])
    for name, own in stored.items():
        assert torch.equal(found[name], own.model()(batch_of()))


def test_no_model_is_no_score() -> None:
    assert Scorer({})(batch_of()) == {}


def of(method: ImportanceMlp) -> ModelArtifact:
    return ModelArtifact.of(method, FACTS, method.build(FACTS))
