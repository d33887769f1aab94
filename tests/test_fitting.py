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

from reweight.batch import Batch, Feed
from reweight.errors import TrainingError
from reweight.fitting import Curves, FitPlan, Fitting, Trainer, fit, train_rank
from reweight.importance import ImportanceMethod, TrainFacts
from reweight.importance.importance_mlp import ImportanceMlp, ImportanceMlpModel
from reweight.importance.stored import StoredModel

CPU = torch.device("cpu")
FACTS = TrainFacts(dim=5, cardinalities=(3,), rows=240, positives=80, seed=4)
REFERENCE = ImportanceMlp.model_validate(
    {"preset": "reference", "hidden": (8, 4), "epochs": 4, "k": 2, "lambda": 0.001}
)
ROBUST = ImportanceMlp.model_validate({"hidden": (8,), "epochs": 3, "cross_fit": 3})


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


def network_of(model: ImportanceMlpModel, member: int = 0) -> nn.Sequential:
    """torch's own layers with the parameters of a member."""
    layers: list[nn.Module] = []
    for weight, bias in zip(model.ensemble.weights, model.ensemble.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data = weight[member].detach().T.clone()
        linear.bias.data = bias[member, 0].detach().clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def assert_same_parameters(network: nn.Sequential, model: ImportanceMlpModel, member: int) -> None:
    linears = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer, linear in enumerate(linears):
        found = model.ensemble.weights[layer][member], model.ensemble.biases[layer][member, 0]
        torch.testing.assert_close(found[0], linear.weight.T, rtol=0, atol=1e-5)
        torch.testing.assert_close(found[1], linear.bias, rtol=0, atol=1e-5)


def model_of(trainer: Trainer) -> ImportanceMlpModel:
    assert isinstance(trainer.model, ImportanceMlpModel)
    return trainer.model


def test_the_reference_preset_trains_as_plain_torch_does() -> None:
    method = ImportanceMlp.model_validate(
        {"preset": "reference", "epochs": 3, "k": 10, "lambda": 0.0005}
    )
    facts = TrainFacts(dim=100, rows=192, positives=60, seed=1)
    train = listed(*[batch_of(64, seed, dim=100) for seed in range(3)])
    validation = listed(batch_of(50, 9, dim=100))
    trainer = Trainer.of(method, facts, CPU)
    network = network_of(model_of(trainer))
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
    assert_same_parameters(network, model_of(trainer), 0)


def test_cross_fitting_trains_as_separate_networks_on_their_own_rows_do() -> None:
    method = ImportanceMlp.model_validate(
        {"hidden": (16, 8), "epochs": 3, "cross_fit": 3, "k": 2, "class_weights": True}
    )
    facts = TrainFacts(dim=5, rows=180, positives=60, seed=2)
    train, validation = listed(*[batch_of(60, s) for s in range(3)]), listed(batch_of(30, 7))
    trainer = Trainer.of(method, facts, CPU)
    ensemble = model_of(trainer).ensemble
    networks = [network_of(model_of(trainer), member) for member in range(3)]
    totals = np.zeros(3)
    for member, network in enumerate(networks):
        optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
        for epoch in range(3):
            for batch in train(epoch):
                seen = ensemble.unseen(batch.sample_id)[:, member] == 0
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
        assert_same_parameters(network, model_of(trainer), member)


@pytest.mark.parametrize("method", [REFERENCE, ROBUST], ids=lambda method: method.preset)
@pytest.mark.parametrize("world", [2, 4])
def test_the_mean_of_the_ranks_gradients_is_that_of_the_global_batch(
    method: ImportanceMlp, world: int
) -> None:
    batch = batch_of(40, 3)

    def step(rows: slice, ranks: int) -> tuple[Tensor, list[Tensor]]:
        trainer = Trainer.of(method, FACTS, CPU)
        columns = (batch.sample_id, batch.features, batch.ids, batch.label)
        share = trainer.step(Batch(*[column[rows] for column in columns]), ranks)
        return share, [p.grad for p in trainer.model.parameters() if p.grad is not None]

    loss, wanted = step(slice(None), 1)
    assert all(gradient.any() for gradient in wanted)
    shares = [step(slice(rank, None, world), world) for rank in range(world)]
    torch.testing.assert_close(torch.stack([share for share, _ in shares]).sum(), loss)
    for place, gradient in enumerate(wanted):
        mean = torch.stack([own[place] for _, own in shares]).mean(0)
        torch.testing.assert_close(mean, gradient, rtol=1e-5, atol=1e-6)


def test_methods_side_by_side_train_as_each_does_alone() -> None:
    train, validation = listed(batch_of(32, 0), batch_of(32, 1)), listed(batch_of(20, 2))
    together = [Trainer.of(method, FACTS, CPU) for method in (REFERENCE, ROBUST)]
    curves = fit(together, train, validation)
    for method, trainer in zip((REFERENCE, ROBUST), together, strict=True):
        alone = Trainer.of(method, FACTS, CPU)
        curve = fit([alone], train, validation)[method.name]
        assert [e["epoch"] for e in curves[method.name]] == list(range(1, method.epochs + 1))
        for part in ("train", "validation"):
            assert [e[part] for e in curves[method.name]] == [e[part] for e in curve]
        for one, other in zip(trainer.model.parameters(), alone.model.parameters(), strict=True):
            assert torch.equal(one, other)


def test_after_each_epoch_the_caller_is_told() -> None:
    told: list[tuple[int, list[int]]] = []

    def after(epoch: int, curves: Curves) -> None:
        told.append((epoch, [len(curve) for curve in curves.values()]))

    trainers = [Trainer.of(method, FACTS, CPU) for method in (REFERENCE, ROBUST)]
    feed = listed(batch_of(16, 0))
    fit(trainers, feed, feed, after_epoch=after)
    assert told == [(1, [1, 1]), (2, [2, 2]), (3, [3, 3]), (4, [4, 3])]


def test_the_validation_loss_is_that_of_the_model_after_the_epoch() -> None:
    trainer, validation = Trainer.of(REFERENCE, FACTS, CPU), batch_of(25, 8)
    curves = fit([trainer], listed(batch_of(32, 0)), listed(validation))
    with torch.no_grad():
        wanted = trainer.model.loss(validation, 25).item()
    assert curves[REFERENCE.name][-1]["validation"] == pytest.approx(wanted, rel=1e-6)


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
    return method.model_copy(update={"epochs": number})


def parameters(folder: Path, method: ImportanceMethod) -> dict[str, Tensor]:
    return StoredModel.read(folder / method.name).model().state_dict()


def assert_equal_runs(one: Path, other: Path, *methods: ImportanceMethod, atol: float) -> None:
    for method in methods:
        found, wanted = parameters(one, method), parameters(other, method)
        assert found.keys() == wanted.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=atol)


def curves_of(folder: Path) -> Curves:
    curves: Curves = json.loads((folder / "curves.json").read_text())
    return curves


def test_two_ranks_train_what_one_rank_trains(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    plan = plan_of(snapshot, tmp_path / "two", REFERENCE, ROBUST)
    code = "import sys; from reweight.fitting import train_rank; train_rank(sys.argv[1])"
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
    train(plan_of(snapshot, tmp_path / "one", REFERENCE, ROBUST))
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    assert_equal_runs(tmp_path / "two", tmp_path / "one", REFERENCE, ROBUST, atol=1e-5)
    one, two = curves_of(tmp_path / "one"), curves_of(tmp_path / "two")
    for method in (REFERENCE, ROBUST):
        for part in ("train", "validation"):
            assert [e[part] for e in two[method.name]] == pytest.approx(
                [e[part] for e in one[method.name]], abs=1e-5
            )


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


def test_a_checkpoint_of_other_rows_or_settings_is_not_taken_up(
    snapshot: Path, tmp_path: Path, one_rank: None
) -> None:
    method = epochs(ROBUST, 1)
    train(plan_of(snapshot, tmp_path / "fresh", method, key="two"))
    train(plan_of(snapshot, tmp_path / "used", ROBUST, key="one"))
    train(plan_of(snapshot, tmp_path / "used", method, key="two"))
    assert len(curves_of(tmp_path / "used")[method.name]) == 1
    assert_equal_runs(tmp_path / "used", tmp_path / "fresh", method, atol=0)


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
    state = {"key": "k", "epoch": 1, "curves": {}, "models": [Poison(tmp_path / "made")]}
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
        scores = StoredModel.read(tmp_path / ROBUST.name).model()(batch)
        begin = ROBUST.build(FACTS)(batch)
    assert scores.isfinite().all()
    assert not torch.allclose(scores, begin, atol=1e-3)
