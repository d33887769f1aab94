"""Product: what the parts give a row, multiplied, wherever they are scored together."""

from pathlib import Path

import pytest
import torch
from blobs import FACTS, TRAINING, rows_of
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from reweight.core.errors import ConfigError
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.base import ImportanceMethod, columns_scored_by
from reweight.importance.batch import Batch
from reweight.importance.methods import Method
from reweight.importance.methods.class_balanced import ClassBalanced
from reweight.importance.methods.delayed_feedback import DelayedFeedback
from reweight.importance.methods.mature_only import MatureOnly
from reweight.importance.methods.product import Product
from reweight.importance.methods.r_ce import RCe
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.uniform import Uniform
from reweight.training.in_memory import fit_in_memory

PARTS = (SelfConfidence(training=TRAINING), ClassBalanced(), RCe(training=TRAINING))
PRODUCT = Product(of=("self_confidence", "class_balanced", "r_ce"))
TRAIN, NEW = rows_of(60), rows_of(20, seed=4)


def fitted(*methods: ImportanceMethod) -> dict[str, ModelArtifact]:
    return fit_in_memory(methods, FACTS, TRAIN, NEW, batch_size=20)[0]


@pytest.fixture(scope="module")
def stored() -> dict[str, ModelArtifact]:
    # It stands before its parts.
    return fitted(PRODUCT, *PARTS)


def alone(stored: dict[str, ModelArtifact], name: str, batch: Batch = NEW) -> Tensor:
    return Scorer({name: stored[name]})(batch)[name]


def test_it_is_the_product_of_what_each_part_gives_alone(stored: dict[str, ModelArtifact]) -> None:
    found = Scorer(stored)(NEW)
    wanted = torch.ones(len(NEW))
    for part in PARTS:
        assert torch.equal(found[part.name], alone(stored, part.name))
        wanted = wanted * found[part.name]
    torch.testing.assert_close(found["product"], wanted)
    assert wanted.unique().numel() == len(NEW)


def test_of_two_parts_just_two_are_multiplied(stored: dict[str, ModelArtifact]) -> None:
    pair = Product(of=("r_ce", "class_balanced"), name="pair")
    found = Scorer(stored | fitted(pair))(NEW)
    assert torch.equal(found["pair"], found["r_ce"] * found["class_balanced"])


def test_scores_come_in_the_order_of_the_models_whatever_the_order_of_scoring(
    stored: dict[str, ModelArtifact],
) -> None:
    names = list(stored)
    found = {
        name: Scorer({n: stored[n] for n in order})(NEW)
        for name, order in {
            "as fitted": names,
            "turned": names[::-1],
        }.items()
    }
    assert list(found["as fitted"]) == names
    assert list(found["turned"]) == names[::-1]
    for name in names:
        assert torch.equal(found["as fitted"][name], found["turned"][name])


def test_batches_do_not_share_their_scores(stored: dict[str, ModelArtifact]) -> None:
    scorer, turned = Scorer(stored), NEW.rows(torch.arange(len(NEW) - 1, -1, -1))
    first = scorer(NEW)["product"]
    torch.testing.assert_close(scorer(turned)["product"], first.flip(0))


def test_parts_of_one_training_hold_it_once(stored: dict[str, ModelArtifact]) -> None:
    models = Scorer(stored).models
    one, other = models["self_confidence"], models["r_ce"]
    assert all(a in other.checkpoints() for a in one.checkpoints())
    assert not models["product"].learners


def test_it_is_stored_without_its_parts_and_scores_the_same_when_loaded(
    stored: dict[str, ModelArtifact], tmp_path: Path
) -> None:
    for name, model in stored.items():
        model.write(tmp_path / name)
    loaded = {name: ModelArtifact.read(tmp_path / name) for name in stored}
    assert loaded["product"].read_method() == PRODUCT
    assert torch.equal(Scorer(loaded)(NEW)["product"], Scorer(stored)(NEW)["product"])
    assert len((tmp_path / "product" / "model.safetensors").read_bytes()) < 100


def test_without_one_of_its_parts_it_is_an_error_that_names_it(
    stored: dict[str, ModelArtifact],
) -> None:
    some = {name: stored[name] for name in ("product", "self_confidence", "class_balanced")}
    with pytest.raises(ConfigError, match=r"none from \['r_ce'\]"):
        Scorer(some)(NEW)
    with pytest.raises(ConfigError, match="'product' multiplies"):
        stored["product"].model()(NEW)


def test_it_trains_nothing_and_asks_for_nothing() -> None:
    assert PRODUCT.combines() == ("self_confidence", "class_balanced", "r_ce")
    assert not PRODUCT.trained
    assert PRODUCT.columns() == ()
    assert Uniform().combines() == ()


def test_its_importance_depends_on_the_columns_of_its_parts() -> None:
    run = (
        Product(of=("class_balanced", "mature_only"), name="settled"),
        Product(of=("class_balanced", "delayed_feedback"), name="arrived"),
        ClassBalanced(),
        MatureOnly(),
        DelayedFeedback(),
    )
    found = columns_scored_by(run)
    assert found["class_balanced"] == {*ClassBalanced().columns()}
    assert found["settled"] == {"mature"}
    assert found["arrived"] == found["delayed_feedback"] >= {"elapsed", "delay"}


def test_it_survives_json_and_refuses_what_is_no_product() -> None:
    adapter: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)
    assert adapter.validate_json(PRODUCT.model_dump_json(by_alias=True)) == PRODUCT
    for of, said in (
        (["r_ce"], "at least 2"),
        (["r_ce", "r_ce"], "'r_ce'.* more than once"),
        (["r_ce", "a b"], "pattern"),
    ):
        with pytest.raises(ValidationError, match=said):
            adapter.validate_python({"method": "product", "of": of})
    with pytest.raises(ValidationError, match="Field required"):
        adapter.validate_python({"method": "product"})
    with pytest.raises(ValidationError, match="parts"):
        adapter.validate_python({"method": "product", "of": ["a", "b"], "parts": 2})
