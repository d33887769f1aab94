"""Training that starts from fitted models: what is trained, what is taken over, what is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from reweight.core.errors import RunError, TrainingError
from reweight.core.files import write_json
from reweight.core.left_out import Refusals
from reweight.core.run_folder import ModelsFolder, RunFolder
from reweight.fit_importance.starting_models import check_features, check_models, models_read
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.methods.group_dro import GroupDro
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.mw_net import MwNet
from reweight.importance.methods.random import Random
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.training import TrainFacts
from reweight.training.checkpoint import restore_checkpoint, save_checkpoint
from reweight.training.in_memory import fit_in_memory
from reweight.training.known_ids import ids_of_rows, new_ids, occurring, read_ids, write_ids
from reweight.training.loop import Trainer, fit, trainers_of
from reweight.training.update import Extent
from reweight.training.warm_start import StartFolder, StartingModels, WarmStart, wrong_start

CPU = torch.device("cpu")
FACTS = TrainFacts(
    dim=4, cardinalities=(7,), rows=200, positives=90, seed=3, segments=("a",), names=tuple("wxyz")
)
SHAPE: Mapping[str, Any] = {"hidden": (6, 5), "embedding": 2}
HALVES = SelfConfidence.model_validate(
    {"training": {**SHAPE, "members": 3, "bins": 0, "epochs": 2, "weight_decay": 0.1}}
)
MLP = ImportanceMlp.model_validate({"cross_fit": 3, "training": {**SHAPE, "epochs": 2}})
DRO = GroupDro.model_validate({"training": {**SHAPE, "epochs": 2}})
MWNET = MwNet.model_validate({"training": {**SHAPE, "epochs": 2, "curve": 4}})
METHODS: tuple[ImportanceMethod, ...] = (HALVES, MLP, DRO, MWNET)
RANDOM = Random(name="random")
KNOWN = torch.tensor([1, 1, 1, 1, 0, 0, 0]).bool()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def rows(seed: int, ids: int = 7, count: int = 200) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn((count, 4), generator=draw)
    return Batch(
        sample_id=torch.randint(-(2**63), 2**63 - 1, (count,), generator=draw),
        features=features,
        ids=torch.randint(0, ids, (count, 1), generator=draw),
        label=(features[:, 0] > 0.1).float(),
        extra={"segment": torch.ones(count), "target": (features[:, 1] > 0).float()},
    )


@pytest.fixture(scope="module")
def yesterday() -> dict[str, ModelArtifact]:
    models, _ = fit_in_memory(METHODS, FACTS, rows(1, 4), rows(2, 4), batch_size=50)
    return models


def started(
    models: dict[str, ModelArtifact], method: ImportanceMethod, update: Extent, rank: int = 2
) -> Trainer:
    start = StartingModels(models, "monday", update, rank, (torch.tensor([4, 6]),))
    (trainer,) = trainers_of((method,), FACTS, CPU, start)
    return trainer


def parameters(trainer: Trainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trainer.learner.named_parameters()}


def stepped(trainer: Trainer, steps: int = 3) -> set[str]:
    """The parameters that steps change."""
    before = parameters(trainer)
    for step in range(steps):
        trainer.step(rows(step, count=60), 1)
    after = parameters(trainer)
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_what_the_update_names_is_trained(
    yesterday: dict[str, ModelArtifact], method: ImportanceMethod
) -> None:
    changed = {
        update: stepped(started(yesterday, method, update)) for update in ("all", "low_rank")
    }
    assert changed["all"] == set(parameters(started(yesterday, method, "all")))
    # Of the two hidden layers the first one changes, by a little; the second one does not.
    assert {n.split(".", 1)[1] for n in changed["all"] - changed["low_rank"]} == {"weights.1"}
    trainer = started(yesterday, method, "head")
    before = parameters(trainer)
    changed_by_head = stepped(trainer)
    first = {n.split(".", 1)[1] for n in changed["low_rank"] - changed_by_head}
    assert first == {"weights.0"}
    (table,) = (name for name in before if name.endswith("tables.0"))
    rows_of = parameters(trainer)[table] != before[table]
    assert rows_of.any(2).any(0).tolist() == [i in (4, 6) for i in range(7)]


def test_the_share_of_the_parameters_is_that_of_last_layer_biases_and_new_ids(
    yesterday: dict[str, ModelArtifact],
) -> None:
    members, last, biases, new = 3, 5, 6 + 5 + 1, 2 * 2
    head = members * (last + biases + new)
    assert started(yesterday, HALVES, "head").update.size == head
    low_rank = members * 2 * (4 + 2 + 6)
    assert started(yesterday, HALVES, "low_rank").update.size == head + low_rank


def test_a_low_rank_update_changes_the_first_layer_by_no_more_than_its_rank(
    yesterday: dict[str, ModelArtifact],
) -> None:
    trainer = started(yesterday, HALVES, "low_rank", rank=2)
    before = parameters(trainer)["ensemble.weights.0"]
    stepped(trainer, 5)
    change = parameters(trainer)["ensemble.weights.0"] - before
    values = torch.linalg.svdvals(change)
    assert (values[:, 1] > 1e-4).all()
    assert (values[:, 2:] < 1e-5).all()


def test_the_gradients_of_a_low_rank_update_are_those_of_autograd(
    yesterday: dict[str, ModelArtifact],
) -> None:
    trainer = started(yesterday, HALVES, "low_rank")
    stepped(trainer)
    part: Any = trainer.update.parts[-1]
    down, up = (p.detach().clone().requires_grad_() for p in (part.down, part.up))
    batch = rows(9)
    change = {"ensemble.weights.0": part.start + down @ up}
    share = torch.func.functional_call(
        _Loss(trainer.learner), {f"learner.{k}": v for k, v in change.items()}, (batch,)
    )
    torch.autograd.backward(share)
    trainer.learner.zero_grad()
    torch.autograd.backward(trainer.learner.loss(batch, len(batch))[0])
    trainer.update.before_step()
    torch.testing.assert_close(part.down.grad, down.grad)
    torch.testing.assert_close(part.up.grad, up.grad)


class _Loss(torch.nn.Module):
    def __init__(self, learner: Any) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Batch) -> Tensor:
        share: Tensor = self.learner.loss(batch, len(batch))[0]
        return share


def test_all_parameters_begin_as_they_ended_and_nothing_else_does(
    yesterday: dict[str, ModelArtifact],
) -> None:
    trainer = started(yesterday, DRO, "all")
    (ended,) = yesterday[DRO.name].model().checkpoints()[-1:]
    for name, value in ended.named_parameters():
        assert torch.equal(parameters(trainer)[name], value), name
    fresh = DRO.learns()
    assert fresh is not None
    buffers = dict(trainer.learner.named_buffers())
    # The rows that the loss has seen.
    assert dict(ended.named_buffers())["seen"].sum() == 2 * FACTS.rows
    for name, buffer in fresh.build(FACTS).named_buffers():
        assert torch.equal(buffers[name], buffer), name
    assert trainer.optimizer.steps == 0
    assert not any(part.any() for moments in trainer.optimizer.moments for part in moments)
    assert trainer.checkpoints == {}


def test_epochs_and_curves_begin_anew(yesterday: dict[str, ModelArtifact]) -> None:
    start = StartingModels(yesterday)
    again = HALVES.model_copy(update={"training": HALVES.training.model_copy(update={"epochs": 1})})
    models, curves = fit_in_memory((again,), FACTS, rows(3), rows(4), batch_size=50, start=start)
    assert [entry["epoch"] for entry in curves[again.name]] == [1]
    assert models[again.name].epochs == (1,)


def test_the_last_checkpoint_of_any_method_of_a_training_is_what_it_starts_from() -> None:
    early = SelfConfidence.model_validate(
        {"name": "early", "training": HALVES.training, "keep": {"which": "early", "count": 1}}
    )
    last = HALVES.model_copy(update={"name": "last"})
    models, _ = fit_in_memory((early, last), FACTS, rows(1), rows(2), batch_size=50)
    (trainer,) = trainers_of((early, last), FACTS, CPU, StartingModels(models))
    ended = models["last"].model().checkpoints()[-1]
    kept = zip(trainer.learner.parameters(), ended.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in kept)


@pytest.mark.parametrize("update", ["head", "low_rank"])
def test_an_interrupted_warm_start_ends_where_an_uninterrupted_one_does(
    yesterday: dict[str, ModelArtifact], tmp_path: Path, update: Extent
) -> None:
    def feed(epoch: int) -> Iterator[Batch]:
        return iter([rows(epoch), rows(epoch + 10)])

    whole = started(yesterday, HALVES, update)
    path = tmp_path / "checkpoint.pt"

    def save(epoch: int, curves: Any) -> None:
        if epoch == 1:
            save_checkpoint(path, "key", epoch, curves, [whole])

    fit([whole], feed, feed, after_epoch=save)
    resumed = started(yesterday, HALVES, update)
    begun, curves = restore_checkpoint(path, "key", [resumed])
    assert begun == 1
    fit([resumed], feed, feed, start=begun, curves=curves)
    for name, value in parameters(whole).items():
        assert torch.equal(parameters(resumed)[name], value), name


OTHER_SHAPE = {**SHAPE, "members": 3, "bins": 0, "hidden": (8,)}
REFUSED: list[tuple[ImportanceMethod, dict[str, Any], tuple[str, str, str]]] = [
    (
        SelfConfidence.model_validate({"training": OTHER_SHAPE}),
        {},
        ("hidden: (6, 5)", "hidden: (8,)", "as in run 'monday'"),
    ),
    (
        MLP.model_copy(update={"name": "self_confidence"}),
        {},
        ("a model of the method 'importance_mlp'", "one of 'self_confidence'", "same names"),
    ),
    (
        HALVES.model_copy(update={"name": "unknown"}),
        {},
        ("a fitted model 'unknown' of run 'monday'", "none", "leave 'unknown' out"),
    ),
    (HALVES, {"seed": 4}, ("the seed of run 'monday', 3", "seed: 4", "write seed: 3")),
    (HALVES, {"names": tuple("wxyq")}, ("features of run 'monday'", "other names", "features")),
    (HALVES, {"cardinalities": (9,)}, ("features of", "other cardinalities", "features")),
    (RANDOM, {}, ("trains a network", "'random', which trains none", "leave warm_start out")),
]


@pytest.mark.parametrize(("method", "facts", "fields"), REFUSED)
def test_what_does_not_fit_is_refused_before_training(
    yesterday: dict[str, ModelArtifact],
    method: ImportanceMethod,
    facts: dict[str, Any],
    fields: tuple[str, str, str],
) -> None:
    start = StartingModels(yesterday, "monday")
    training = method.learns() or HALVES.training
    learner = training.build(FACTS)
    with pytest.raises(TrainingError) as caught:
        start.begin(learner, [method], FACTS.model_copy(update=facts))
    error = caught.value
    assert method.name in error.what
    for part, said in zip(fields, (error.expected, error.got, error.fix), strict=True):
        assert part in said


def test_a_rank_that_is_not_low_is_refused(yesterday: dict[str, ModelArtifact]) -> None:
    with pytest.raises(TrainingError) as caught:
        started(yesterday, HALVES, "low_rank", rank=6)
    assert "a rank below 6" in caught.value.expected


def of_hidden(hidden: tuple[int, ...]) -> SelfConfidence:
    training = {**HALVES.training.model_dump(), "hidden": hidden}
    return HALVES.model_copy(update={"training": type(HALVES.training).model_validate(training)})


def test_a_network_without_hidden_layers_is_trained_whole_by_any_update() -> None:
    linear = of_hidden(())
    models, _ = fit_in_memory((linear,), FACTS, rows(1, 4), rows(2, 4), batch_size=50)
    head = started(models, linear, "head")
    trainer = started(models, linear, "low_rank", rank=6)
    assert trainer.update.size == head.update.size
    assert "ensemble.weights.0" in stepped(trainer)


@pytest.mark.parametrize(
    ("run_id", "models", "methods", "said"),
    [
        ("tuesday", None, (HALVES,), None),
        ("tuesday", "sunday", (HALVES,), "model_run_id: sunday"),
        ("monday", None, (HALVES,), "got this one, 'monday'"),
        ("tuesday", "tuesday", (HALVES,), "model_run_id: expected another run, got this one"),
        ("tuesday", None, (RANDOM,), "none of ['random'] trains a network"),
    ],
)
def test_a_config_says_what_cannot_start(
    run_id: str, models: str | None, methods: tuple[ImportanceMethod, ...], said: str | None
) -> None:
    wrong = wrong_start(WarmStart(run_id="monday"), run_id, models, methods)
    assert wrong is None if said is None else said in (wrong or "")


def test_the_models_of_the_earlier_run_are_checked_before_any_work(
    yesterday: dict[str, ModelArtifact], tmp_path: Path
) -> None:
    folder, section = RunFolder.of(tmp_path, "monday"), WarmStart(run_id="monday", update="head")
    methods = (RANDOM, HALVES, DRO)
    with pytest.raises(RunError) as caught:
        check_models(section, folder, methods, 3, Refusals())
    assert caught.value.got == "no such run"
    for name in (HALVES.name, DRO.name):
        yesterday[name].write(folder.models.model(name))
        write_json(folder.models.features(name), STATS)
    write_json(folder.models.fitted, "key")
    with pytest.raises(TrainingError, match="not known on which ids"):
        check_models(section, folder, methods, 3, Refusals())
    write_ids(folder.models, [KNOWN])
    check_models(section, folder, methods, 3, Refusals())
    # A rank that one of them cannot have leaves it out.
    narrow = of_hidden((1,)).model_copy(update={"name": "narrow"})
    ModelArtifact.of(narrow, FACTS, narrow.build(FACTS, [2])).write(folder.models.model("narrow"))
    refusals = Refusals(strict=False)
    low_rank = section.model_copy(update={"update": "low_rank"})
    check_models(low_rank, folder, (*methods, narrow), 3, refusals)
    assert refusals.errors.keys() == {"narrow"}
    assert refusals.errors["narrow"].fix == "write warm_start: {update: all}"
    # A method that the earlier run left out may have an older model.
    write_json(folder.left_out, {"fit_importance": {DRO.name: "no segments"}})
    refusals = Refusals(strict=False)
    check_models(section, folder, methods, 3, refusals)
    assert refusals.errors.keys() == {DRO.name}
    features = tmp_path / "features.json"
    write_json(features, {**STATS, "scaling": {"w": (1.0, 1.0)}})
    refusals = Refusals(strict=False)
    check_features(section, folder.models, methods, features, refusals)
    assert refusals.errors.keys() == {HALVES.name, DRO.name}


STATS = {"names": list("wxyz"), "scaling": {}, "vocabulary": {}, "cardinalities": {"item": 7}}


def test_the_version_of_what_is_read_follows_models_and_ids_but_not_their_policy(
    yesterday: dict[str, ModelArtifact], tmp_path: Path
) -> None:
    folder = ModelsFolder(tmp_path)
    start = StartFolder(run_id="monday", folder=str(tmp_path))
    yesterday[DRO.name].write(folder.model(DRO.name))
    first = models_read(start, (DRO, RANDOM))
    assert first.keys() == {"group_dro of monday", "ids of monday"}
    write_json(folder.policy(DRO.name), {})
    assert models_read(start, (DRO, RANDOM)) == first
    replace(yesterday[DRO.name], epochs=(9,)).write(folder.model(DRO.name))
    assert models_read(start, (DRO, RANDOM)) != first


def test_new_ids_are_those_of_the_rows_that_the_models_do_not_know(tmp_path: Path) -> None:
    values = [[0, 5], [3, 1], [6, 5]]
    ids = pa.array(values, pa.list_(pa.int64()))
    for number, part in enumerate((ids[:2], ids[2:])):
        pq.write_table(pa.table({"ids": part}), tmp_path / f"part-{number}.parquet")
    there = ids_of_rows(tmp_path, (7, 6))
    expected = occurring(torch.tensor(values), (7, 6))
    assert all(torch.equal(a, b) for a, b in zip(there, expected, strict=True))
    write_ids(ModelsFolder(tmp_path), [KNOWN, torch.ones(6).bool()])
    new = new_ids(there, read_ids(ModelsFolder(tmp_path)))
    assert [part.tolist() for part in new] == [[6], []]
