"""Training: the gradient of the global batch, checkpoints, and what a failed rank leaves behind."""

import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.core.run_folder import ModelsFolder
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch, Feed
from reweight.importance.cross_network import DeepNetwork
from reweight.importance.deep_settings import DeepSettings
from reweight.importance.methods.importance_mlp import ImportanceMlp, ImportanceMlpLearner
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.tracin import TracIn
from reweight.importance.methods.uniform import Uniform
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory
from reweight.training.loop import Curves, Trainer, fit, trainers_of
from reweight.training.plan import FitPlan, Fitting
from reweight.training.rank import failed_ranks, train_rank

CPU = torch.device("cpu")
FACTS = TrainFacts(dim=5, cardinalities=(3,), rows=240, positives=80, seed=4)
REFERENCE = ImportanceMlp.model_validate(
    {
        "preset": "reference",
        "training": {"hidden": (8, 4), "epochs": 4},
        "k": 2,
        "lambda": 0.001,
    }
)
ROBUST = ImportanceMlp.model_validate({"training": {"hidden": (8,), "epochs": 3}, "cross_fit": 3})
HALVES = {"members": 4, "hidden": (6,), "epochs": 4, "bins": 0, "embedding": 2}
BEST = SelfConfidence.model_validate({"training": HALVES, "keep": {"which": "best", "count": 2}})
# Of the same training as BEST.
SPREAD = SelfConfidence.model_validate(
    {"name": "spread", "training": HALVES, "keep": {"which": "spread", "count": 2}}
)
# Of that training, too; it looks at the target rows once more afterwards.
TRACING = TracIn.model_validate({"training": HALVES, "keep": {"which": "spread", "count": 2}})
# A network on rows with weights, which ends when its validation loss does not fall.
DEEP = DeepNetwork.of("thirds", DeepSettings(epochs=6, patience=2, hidden=(6,), embedding=2))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def batch_of(rows: int, seed: int, dim: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((rows, dim), generator=generator)
    noise = torch.randn(rows, generator=generator)
    return Batch(
        sample_id=torch.randint(-(2**63), 2**63 - 1, (rows,), generator=generator),
        features=features,
        ids=torch.randint(0, 3, (rows, 1), generator=generator),
        label=(features[:, 0] + noise > 0.5).float(),
    )


def listed(*batches: Batch) -> Feed:
    """The same batches each epoch, beginning with another one each time."""

    def feed(epoch: int) -> Iterator[Batch]:
        turn = epoch % len(batches)
        return iter(batches[turn:] + batches[:turn])

    return feed


def network_of(learner: ImportanceMlpLearner, member: int = 0) -> nn.Sequential:
    """torch's own layers with the parameters of a member."""
    layers: list[nn.Module] = []
    for weight, bias in zip(learner.ensemble.weights, learner.ensemble.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data = weight[member].detach().T.clone()
        linear.bias.data = bias[member, 0].detach().clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def assert_same_parameters(
    network: nn.Sequential, learner: ImportanceMlpLearner, member: int
) -> None:
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer, linear in enumerate(linears):
        found = learner.ensemble.weights[layer][member], learner.ensemble.biases[layer][member, 0]
        torch.testing.assert_close(found[0], linear.weight.T, rtol=0, atol=1e-5)
        torch.testing.assert_close(found[1], linear.bias, rtol=0, atol=1e-5)


def learner_of(trainer: Trainer) -> ImportanceMlpLearner:
    assert isinstance(trainer.learner, ImportanceMlpLearner)
    return trainer.learner


def trainer_of(method: ImportanceMethod, facts: TrainFacts = FACTS) -> Trainer:
    (trainer,) = trainers_of((method,), facts, CPU)
    return trainer


def test_the_reference_preset_trains_as_plain_torch_does() -> None:
    method = ImportanceMlp.model_validate(
        {"preset": "reference", "training": {"epochs": 3}, "k": 10, "lambda": 0.0005}
    )
    facts = TrainFacts(dim=100, rows=192, positives=60, seed=1)
    train = listed(*[batch_of(64, seed, dim=100) for seed in range(3)])
    validation = listed(batch_of(50, 9, dim=100))
    trainer = trainer_of(method, facts)
    network = network_of(learner_of(trainer))
    assert [tuple(p.shape) for p in network.parameters()][::2] == [(256, 100), (128, 256), (1, 128)]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)

    def loss_of(batch: Batch) -> Tensor:
        f = torch.sigmoid(network(batch.features))[:, 0]
        return functional.mse_loss(f, batch.label) + 0.0005 * ((10 * f - 1) ** 2).sum()

    wanted = []
    for epoch in range(3):
        losses = []
        for batch in train(epoch):
            optimizer.zero_grad()
            loss = loss_of(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            wanted.append((float(np.mean(losses)), loss_of(next(validation(epoch))).item()))
    curve = fit([trainer], train, validation)["importance_mlp_reference"]
    assert [(entry["train"], entry["validation"]) for entry in curve] == [
        pytest.approx(pair, abs=1e-5) for pair in wanted
    ]
    assert wanted[-1][0] < wanted[0][0]
    assert_same_parameters(network, learner_of(trainer), 0)


def test_cross_fitting_trains_as_separate_networks_on_their_own_rows_do() -> None:
    method = ImportanceMlp.model_validate(
        {
            "training": {"hidden": (16, 8), "epochs": 3},
            "cross_fit": 3,
            "k": 2,
            "class_weights": True,
        }
    )
    facts = TrainFacts(dim=5, rows=180, positives=60, seed=2)
    train, validation = listed(*[batch_of(60, s) for s in range(3)]), listed(batch_of(30, 7))
    trainer = trainer_of(method, facts)
    networks = [network_of(learner_of(trainer), member) for member in range(3)]
    totals = np.zeros(3)
    for member, network in enumerate(networks):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
        for epoch in range(3):
            for batch in train(epoch):
                seen = learner_of(trainer).unseen(batch.sample_id)[:, member] == 0
                z, y = network(batch.features[seen])[:, 0], batch.label[seen]
                weight = torch.where(y == 1, 180 / 120, 180 / 240)
                error = functional.binary_cross_entropy_with_logits(z, y, weight, reduction="sum")
                loss = (error + 0.01 * ((2 * z.sigmoid() - 1) ** 2).sum()) / (60 * 2 / 3)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                totals[epoch] += loss.item() / 3 / 3  # steps, members
    curve = fit([trainer], train, validation)["importance_mlp_robust"]
    assert [entry["train"] for entry in curve] == pytest.approx(totals.tolist(), abs=1e-5)
    for member, network in enumerate(networks):
        assert_same_parameters(network, learner_of(trainer), member)


@pytest.mark.parametrize("method", [REFERENCE, ROBUST, BEST], ids=lambda method: method.name)
@pytest.mark.parametrize("world", [2, 4])
def test_the_mean_of_the_ranks_gradients_is_that_of_the_global_batch(
    method: ImportanceMethod, world: int
) -> None:
    batch = batch_of(40, 3)

    def step(rows: slice, ranks: int) -> tuple[Tensor, list[Tensor]]:
        trainer = trainer_of(method)
        columns = (batch.sample_id, batch.features, batch.ids, batch.label)
        share = trainer.step(Batch(*[column[rows] for column in columns]), ranks)
        return share, [p.grad for p in trainer.learner.parameters() if p.grad is not None]

    loss, wanted = step(slice(None), 1)
    assert all(gradient.any() for gradient in wanted)
    shares = [step(slice(rank, None, world), world) for rank in range(world)]
    found = torch.stack([share for share, _ in shares]).sum(0)
    torch.testing.assert_close(found, loss, equal_nan=True)
    for place, gradient in enumerate(wanted):
        mean = torch.stack([own[place] for _, own in shares]).mean(0)
        torch.testing.assert_close(mean, gradient, rtol=1e-5, atol=1e-6)


def test_methods_side_by_side_train_as_each_does_alone() -> None:
    train, validation = listed(batch_of(32, 0), batch_of(32, 1)), listed(batch_of(20, 2))
    together = trainers_of((REFERENCE, ROBUST), FACTS, CPU)
    curves = fit(together, train, validation)
    for method, trainer in zip((REFERENCE, ROBUST), together, strict=True):
        alone = trainer_of(method)
        curve = fit([alone], train, validation)[method.name]
        assert [e["epoch"] for e in curves[method.name]] == list(
            range(1, method.training.epochs + 1)
        )
        for part in ("train", "validation"):
            assert [e[part] for e in curves[method.name]] == [e[part] for e in curve]
        for one, other in zip(
            trainer.learner.parameters(), alone.learner.parameters(), strict=True
        ):
            assert torch.equal(one, other)


def test_after_each_epoch_the_caller_is_told() -> None:
    told: list[tuple[int, list[int]]] = []

    def after(epoch: int, curves: Curves) -> None:
        told.append((epoch, [len(curve) for curve in curves.values()]))

    trainers = trainers_of((REFERENCE, ROBUST), FACTS, CPU)
    feed = listed(batch_of(16, 0))
    fit(trainers, feed, feed, after_epoch=after)
    assert told == [(1, [1, 1]), (2, [2, 2]), (3, [3, 3]), (4, [4, 3])]


def test_the_validation_loss_is_that_of_the_model_after_the_epoch() -> None:
    trainer, validation = trainer_of(REFERENCE), batch_of(25, 8)
    curves = fit([trainer], listed(batch_of(32, 0)), listed(validation))
    with torch.no_grad():
        wanted = trainer.learner.loss(validation, 25)[0].item()
    assert curves[REFERENCE.name][-1]["validation"] == pytest.approx(wanted, rel=1e-6)


# Trainings that are shared, and the epochs that are kept of them


def test_methods_of_equal_trainings_are_trained_once() -> None:
    trainers = trainers_of((Uniform(), BEST, ROBUST, SPREAD), FACTS, CPU)
    assert [[m.name for m in t.methods] for t in trainers] == [
        [BEST.name, SPREAD.name],
        [ROBUST.name],
    ]
    assert [trainer.name for trainer in trainers] == [BEST.name, ROBUST.name]
    other = {"name": "other", "training": HALVES | {"members": 5}}
    methods = (BEST, SelfConfidence.model_validate(other))
    assert len(trainers_of(methods, FACTS, CPU)) == 2
    assert trainers_of((Uniform(),), FACTS, CPU) == []


def test_methods_that_share_a_training_get_what_each_gets_alone() -> None:
    rows, check = batch_of(96, 0), batch_of(32, 1)
    together, curves = fit_in_memory((BEST, SPREAD), FACTS, rows, check, batch_size=32)
    assert curves.keys() == {BEST.name}
    for method in (BEST, SPREAD):
        alone, _ = fit_in_memory((method,), FACTS, rows, check, batch_size=32)
        assert alone[method.name] == together[method.name]
    assert together[BEST.name].epochs != together[SPREAD.name].epochs


def test_without_anything_to_train_models_are_made_all_the_same() -> None:
    rows = batch_of(32, 0)
    stored, curves = fit_in_memory((Uniform(),), FACTS, rows, rows, batch_size=32)
    assert curves == {}
    assert torch.equal(stored["uniform"].model()(rows), torch.ones(32))


def scripted(trainer: Trainer, losses: list[float]) -> list[set[int]]:
    """Keeps epochs as if these had been their losses; what is held after each of them."""
    held, curve = [], []
    for epoch, loss in enumerate(losses, 1):
        curve.append({"epoch": float(epoch), "train": loss, "out_of_bag": loss})
        trainer.save(epoch, curve)
        held.append(set(trainer.checkpoints))
    for method in trainer.methods:
        assert set(trainer.wanted(method, curve)) <= held[-1]
    return held


def keeping(*keeps: dict[str, object], epochs: int) -> Trainer:
    methods = [
        SelfConfidence.model_validate(
            {"name": f"m{n}", "training": HALVES | {"epochs": epochs}, "keep": keep}
        )
        for n, keep in enumerate(keeps)
    ]
    (trainer,) = trainers_of(methods, FACTS, CPU)
    return trainer


def test_of_the_best_epochs_only_those_are_held_that_can_still_be_wanted() -> None:
    losses = [9.0, 8, 7, 6, 5, 6, 7, 8, 9, 9]
    held = scripted(keeping({"which": "best", "count": 3}, epochs=10), losses)
    # While the loss falls, the window can still begin with the epoch before.
    assert held[3] == {2, 3, 4}
    assert held[-1] == {4, 5, 6} | {8, 9, 10}
    assert max(map(len, held)) <= 6


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 12])
def test_no_epoch_is_dropped_that_is_wanted_at_the_end(count: int) -> None:
    draw = np.random.default_rng(count)
    for _ in range(8):
        trainer = keeping(
            {"which": "best", "count": count},
            {"which": "last", "count": 2},
            {"which": "early", "count": 2},
            {"which": "spread", "count": 3},
            epochs=10,
        )
        losses = [float(x) for x in draw.integers(0, 6, 10)]
        losses[:2] = [float("nan")] * 2
        scripted(trainer, losses)


def test_what_is_held_is_the_learner_as_it_was_at_that_epoch() -> None:
    method = SPREAD.model_copy(update={"keep": SPREAD.keep.model_copy(update={"count": 4})})
    rows = listed(batch_of(64, 0))
    (trainer,) = trainers_of((method,), FACTS, CPU)
    states: list[dict[str, Tensor]] = []

    def note(epoch: int, curves: Curves) -> None:
        states.append({k: v.clone() for k, v in trainer.learner.state_dict().items()})

    fit([trainer], rows, rows, after_epoch=note)
    assert list(trainer.checkpoints) == [1, 2, 3, 4]
    for epoch, state in enumerate(states, 1):
        found = trainer.at(epoch, FACTS).state_dict()
        assert all(torch.equal(found[name], state[name]) for name in state)
    assert not torch.equal(*[s["ensemble.biases.0"] for s in states[:2]])


def test_the_epochs_around_the_lowest_out_of_bag_loss_are_taken() -> None:
    # So fast that it overshoots: the best epoch is neither the first nor the last.
    training = HALVES | {"epochs": 30, "learning_rate": 0.05, "hidden": (32,)}
    method = SelfConfidence.model_validate(
        {"training": training, "keep": {"which": "best", "count": 3}}
    )
    rows = batch_of(120, 0)
    stored, curves = fit_in_memory((method,), FACTS, rows, batch_of(30, 1), batch_size=40)
    losses = [entry["out_of_bag"] for entry in curves[method.name]]
    best = losses.index(min(losses)) + 1
    assert 1 < best < 30
    assert stored[method.name].epochs == (best - 1, best, best + 1)


def test_a_training_that_runs_away_ends_with_its_name_and_the_epoch() -> None:
    batch = batch_of(32, 0)
    wild = Batch(batch.sample_id, batch.features * 1e30, batch.ids, batch.label)
    wild_steps = {"hidden": (8, 8), "learning_rate": 1e20}
    hasty = ImportanceMlp.model_validate(
        {"preset": "reference", "name": "hasty", "training": wild_steps}
    )
    with pytest.raises(TrainingError, match="'hasty' diverged") as caught:
        fit([trainer_of(hasty)], listed(wild, batch), listed(batch))
    for part in ("NaN or infinity at step 1", "lower its learning_rate"):
        assert part in str(caught.value)


# What follows runs whole ranks on a snapshot, as an executor does.


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of four row groups, for up to four shards."""
    folder = tmp_path_factory.mktemp("fitting") / "snapshot"
    folder.mkdir()
    for number, rows in enumerate((64, 61, 63, 60)):
        batch = batch_of(rows, number)
        table = pa.table(
            {
                "sample_id": pa.array(batch.sample_id.tolist(), pa.int64()),
                "features": pa.array(batch.features.tolist(), pa.list_(pa.float32())),
                "ids": pa.array(batch.ids.tolist(), pa.list_(pa.int32())),
                "label": pa.array(batch.label.tolist(), pa.float32()),
                "target": pa.array([float(n % 3 == 0) for n in range(rows)], pa.float32()),
                "weight_thirds": pa.array([float(n % 3) for n in range(rows)], pa.float32()),
            }
        )
        pq.write_table(table, folder / f"part-{number}.parquet")
    return folder


def plan_of(
    snapshot: Path, folder: Path, *methods: ImportanceMethod, key: str = "k", shards: int = 2
) -> FitPlan:
    folder.mkdir(parents=True, exist_ok=True)
    return FitPlan(
        methods=methods,  # type: ignore[arg-type]
        facts=FACTS,
        extra=tuple(sorted({column for method in methods for column in method.columns()})),
        fitting=Fitting(shards=shards, batch_size=32, timeout=60),
        train=str(snapshot),
        validation=str(snapshot),
        folder=str(folder),
        key=key,
        seed=11,
    )


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def environment(rank: int, world: int, port: str) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }


@pytest.fixture
def one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(0, 1, free_port()).items():
        monkeypatch.setenv(name, value)


def train(plan: FitPlan) -> None:
    train_rank(plan.model_dump_json(by_alias=True))


def epochs(method: ImportanceMlp, number: int) -> ImportanceMlp:
    training = method.training.model_copy(update={"epochs": number})
    return method.model_copy(update={"training": training})


def parameters(folder: Path, method: ImportanceMethod) -> dict[str, Tensor]:
    return ModelArtifact.read(folder / method.name).model().state_dict()


def assert_equal_runs(one: Path, other: Path, *methods: ImportanceMethod, atol: float) -> None:
    for method in methods:
        found, wanted = parameters(one, method), parameters(other, method)
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=atol)


def curves_of(folder: Path) -> Curves:
    curves: Curves = json.loads((folder / "curves.json").read_text())
    return curves


@pytest.mark.usefixtures("starts_processes")
def test_two_ranks_train_what_one_rank_trains(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    methods = (REFERENCE, ROBUST, BEST, SPREAD, TRACING, Uniform(), DEEP)
    plan = plan_of(snapshot, tmp_path / "two", *methods)
    code = "import sys; from reweight.training.rank import train_rank; train_rank(sys.argv[1])"
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, plan.model_dump_json(by_alias=True)],
            env=os.environ | environment(rank, 2, port),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    train(plan_of(snapshot, tmp_path / "one", *methods))
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert_equal_runs(tmp_path / "two", tmp_path / "one", *methods, atol=1e-5)
    one, two = curves_of(tmp_path / "one"), curves_of(tmp_path / "two")
    # BEST, SPREAD and TRACING are one training.
    assert list(one) == list(two) == [REFERENCE.name, ROBUST.name, BEST.name, DEEP.name]
    for name, curve in one.items():
        for part in ("train", "validation", "out_of_bag"):
            found, wanted = ([e[part] for e in c] for c in (two[name], curve))
            assert found == pytest.approx(wanted, abs=1e-5, nan_ok=True)
    for folder in (tmp_path / "one", tmp_path / "two"):
        assert ModelArtifact.read(folder / SPREAD.name).epochs == (2, 4)


def test_training_that_ends_early_ends_at_the_same_epoch_where_it_was_halted(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    hasty = DeepSettings(epochs=40, patience=2, hidden=(32,), embedding=2, learning_rate=0.05)
    method = DeepNetwork.of("thirds", hasty)
    train(plan_of(snapshot, tmp_path / "straight", method))
    losses = [entry["validation"] for entry in curves_of(tmp_path / "straight")[method.name]]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 40
    assert ModelArtifact.read(tmp_path / "straight" / method.name).epochs == (best,)
    (tmp_path / "halted" / "curves.json").mkdir(parents=True)
    for _ in range(2):
        with pytest.raises(OSError, match="curves"):
            train(plan_of(snapshot, tmp_path / "halted", method))
    (tmp_path / "halted" / "curves.json").rmdir()
    train(plan_of(snapshot, tmp_path / "halted", method))
    assert_equal_runs(tmp_path / "halted", tmp_path / "straight", method, atol=0)
    assert len(curves_of(tmp_path / "halted")[method.name]) == len(losses)


def test_training_taken_up_from_a_checkpoint_ends_as_if_it_had_not_stopped(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    train(plan_of(snapshot, tmp_path / "straight", REFERENCE, ROBUST))
    train(plan_of(snapshot, tmp_path / "halted", epochs(REFERENCE, 2), epochs(ROBUST, 2)))
    halted = curves_of(tmp_path / "halted")
    train(plan_of(snapshot, tmp_path / "halted", REFERENCE, ROBUST))
    assert_equal_runs(tmp_path / "halted", tmp_path / "straight", REFERENCE, ROBUST, atol=0)
    ended = curves_of(tmp_path / "halted")
    assert [len(ended[method.name]) for method in (REFERENCE, ROBUST)] == [4, 3]
    # Its first epochs are those of before, to the second, and were not done again.
    assert {name: curve[:2] for name, curve in ended.items()} == halted


def test_training_that_stops_after_every_epoch_keeps_the_same_epochs(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    methods = (BEST, SPREAD, TRACING)
    train(plan_of(snapshot, tmp_path / "straight", *methods))
    plan = plan_of(snapshot, tmp_path / "halting", *methods)
    curves = tmp_path / "halting" / "curves.json"
    for _ in range(3):
        # The curves cannot be written, so each try ends after the checkpoint of one more epoch.
        curves.mkdir()
        with pytest.raises(OSError, match="curves"):
            train(plan)
        curves.rmdir()
    train(plan)
    assert_equal_runs(tmp_path / "halting", tmp_path / "straight", *methods, atol=0)
    for method in methods:
        one, other = (
            ModelArtifact.read(tmp_path / f / method.name) for f in ("halting", "straight")
        )
        assert one.epochs == other.epochs
        assert len(one.epochs) == 2
    assert [entry["epoch"] for entry in curves_of(tmp_path / "halting")[BEST.name]] == [1, 2, 3, 4]


def test_a_checkpoint_of_other_rows_or_settings_is_not_taken_up(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    method = epochs(ROBUST, 1)
    train(plan_of(snapshot, tmp_path / "fresh", method, key="two"))
    train(plan_of(snapshot, tmp_path / "used", ROBUST, key="one"))
    # What the weight policy learnt of a model is not that of the next one.
    policy = ModelsFolder(tmp_path / "used").policy(method.name)
    policy.touch()
    train(plan_of(snapshot, tmp_path / "used", method, key="two"))
    assert len(curves_of(tmp_path / "used")[method.name]) == 1
    assert not policy.exists()
    assert_equal_runs(tmp_path / "used", tmp_path / "fresh", method, atol=0)
    policy.touch()
    train(plan_of(snapshot, tmp_path / "used", method, key="two"))
    assert policy.exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_checkpoint_that_was_cut_short_is_as_good_as_none(
    snapshot: Path, tmp_path: Path, one_rank: None, share: float
) -> None:
    train(plan_of(snapshot, tmp_path / "fresh", ROBUST))
    train(plan_of(snapshot, tmp_path / "cut", epochs(ROBUST, 2)))
    checkpoint = tmp_path / "cut" / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: int(share * len(whole))])
    train(plan_of(snapshot, tmp_path / "cut", ROBUST))
    assert len(curves_of(tmp_path / "cut")[ROBUST.name]) == 3
    assert_equal_runs(tmp_path / "cut", tmp_path / "fresh", ROBUST, atol=0)


def test_an_error_of_a_rank_is_left_in_a_file(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    with pytest.raises(TrainingError, match="too few row groups"):
        train(plan_of(snapshot, tmp_path, ROBUST, shards=5))
    said = (tmp_path / "errors" / "rank-0.txt").read_text()
    assert "TrainingError: the snapshot has too few row groups" in said
    assert "Traceback" in said
    (message,) = failed_ranks(ModelsFolder(tmp_path)).values()
    assert message.startswith(
        "reweight.core.errors.TrainingError: the snapshot has too few row groups"
    )
    # All that it says, on one line.
    assert all(part in message for part in ("; expected: ", "; got: ", "; fix: "))
    # A full disk has no room for it.
    (tmp_path / "errors" / "rank-1.txt").touch()
    assert "could not be written" in failed_ranks(ModelsFolder(tmp_path))["rank-1"]


class Poison:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_would_run_code_is_refused(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    plan = plan_of(snapshot, tmp_path / "run", epochs(ROBUST, 1))
    state = {"key": "k", "epoch": 1, "curves": {}, "learners": [Poison(tmp_path / "made")]}
    torch.save(state, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        train(plan)
    assert not (tmp_path / "made").exists()
    assert "UnpicklingError" in (tmp_path / "run" / "errors" / "rank-0.txt").read_text()
    # It does what it says where nothing holds it back.
    torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)
    assert (tmp_path / "made").exists()


def test_a_finished_run_leaves_whole_files_and_models_that_score(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    train(plan_of(snapshot, tmp_path, epochs(ROBUST, 2)))
    assert not list(tmp_path.rglob("*.part"))
    assert not (tmp_path / "errors").exists()
    batch = batch_of(64, 0)
    with torch.inference_mode():
        scores = ModelArtifact.read(tmp_path / ROBUST.name).model()(batch)
        begin = ROBUST.build(FACTS)(batch)
    assert scores.isfinite().all()
    assert not torch.allclose(scores, begin, atol=1e-3)
