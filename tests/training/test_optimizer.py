"""Lazy steps of large tables: the numbers of torch's AdamW, at the cost of what a batch touches."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from two_ranks import on_two_ranks

from reweight.core.sequences import SequenceShape
from reweight.importance.batch import Batch, Sequences
from reweight.importance.cross_network import DeepNetwork
from reweight.importance.deep_settings import DeepSettings
from reweight.importance.embedding_tables import EmbeddingTables, Places
from reweight.importance.methods.delayed_feedback import DelayedFeedback
from reweight.importance.methods.group_dro import GroupDro
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.mw_net import MwNet
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.training import TrainFacts
from reweight.training import lazy_tables
from reweight.training.adamw import FADED
from reweight.training.checkpoint import restore_checkpoint, save_checkpoint
from reweight.training.loop import Curves, Trainer, fit, trainers_of
from reweight.training.optimizer import Optimizer

ITEMS, USERS, KINDS, ROWS = 300, 40, 50, 24
SHAPE = SequenceShape(length=3, fields={"kind": KINDS, "item": ITEMS}, shared={"item": 0})
FACTS = TrainFacts(
    dim=2, cardinalities=(ITEMS, USERS), rows=ROWS, positives=9, segments=("a",), sequence=SHAPE
)
SMALL = {"epochs": 2, "hidden": (4,), "embedding": 2, "bins": 0}
METHODS = (
    ImportanceMlp.model_validate({"cross_fit": 3, "training": {"epochs": 2, "hidden": (4,)}}),
    # Its network looks the items up by their column and by the events.
    SelfConfidence.model_validate(
        {"training": SMALL | {"members": 4, "network": "gru", "sequence_width": 3}}
    ),
    MwNet.model_validate({"training": SMALL}),
    GroupDro.model_validate({"training": SMALL}),
    DelayedFeedback.model_validate({"training": SMALL | {"members": 2}}),
    DeepNetwork.of("x", DeepSettings(epochs=2, hidden=(4,), embedding=2)),
)


def batch_of(seed: int, rows: int = ROWS) -> Batch:
    draw = torch.Generator().manual_seed(seed)

    def ids(size: int, *shape: int) -> Tensor:
        """A few of many, and one often."""
        often = torch.randint(0, 2, shape, generator=draw)
        return torch.randint(0, size, shape, generator=draw) * often

    label = (torch.rand(rows, generator=draw) < 0.4).float()
    return Batch(
        sample_id=torch.randint(-(2**62), 2**62, (rows,), generator=draw),
        features=torch.randn((rows, 2), generator=draw),
        ids=torch.stack([ids(ITEMS, rows), ids(USERS, rows)], dim=1),
        label=label,
        extra={
            "target": (torch.rand(rows, generator=draw) < 0.5).float(),
            "segment": torch.randint(0, 2, (rows,), generator=draw).float(),
            "weight_x": torch.rand(rows, generator=draw),
            "mature": torch.ones(rows),
            "elapsed": torch.ones(rows),
            "delay": torch.where(label > 0.5, torch.rand(rows, generator=draw), torch.nan),
        },
        sequence=Sequences(
            torch.stack([ids(KINDS, rows, 3), ids(ITEMS, rows, 3)], dim=2),
            torch.rand((rows, 3), generator=draw) * 3 - 1,
        ),
    )


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def feed(epoch: int) -> Iterator[Batch]:
    return iter([batch_of(10 * epoch + step) for step in range(6)])


def trainers(large: int) -> list[Trainer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy_tables, "LARGE", large)
        return trainers_of(METHODS, FACTS, torch.device("cpu"))


def states(trained: list[Trainer]) -> dict[str, Tensor]:
    return {
        f"{trainer.name}: {name}": value.clone()
        for trainer in trained
        for name, value in trainer.learner.state_dict().items()
    }


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert torch.equal(value, wanted[name]), name


def losses(curves: Curves) -> list[list[float]]:
    return [[entry["train"], entry["validation"]] for c in curves.values() for entry in c]


def test_lazy_steps_give_the_numbers_of_whole_steps_to_the_last_bit() -> None:
    whole, lazy = trainers(large=1 << 30), trainers(large=1)
    assert not any(trainer.optimizer.tables() for trainer in whole)
    assert [len(trainer.optimizer.tables()) for trainer in lazy] == [2, 3, 2, 2, 4, 2]
    start = states(lazy)
    found, wanted = fit(lazy, feed, feed), fit(whole, feed, feed)
    assert_equal(states(lazy), states(whole))
    assert losses(found) == losses(wanted)
    for name, value in states(lazy).items():
        if "tables" in name:
            assert value.shape == start[name].shape
            assert not torch.equal(value, start[name])


def test_a_step_is_given_only_the_rows_that_the_batch_touches() -> None:
    (trainer, *_), batch = trainers(large=1), batch_of(1)
    renumbered = trainer.optimizer.begin(batch)
    items, users = trainer.optimizer.tables()
    for field, table in enumerate((items, users)):
        touched = torch.unique(batch.ids[:, field])
        assert table.shape[-2] == len(touched) < len(batch)
        assert torch.equal(touched[renumbered.ids[:, field]], batch.ids[:, field])
    trainer.optimizer.settle()
    assert [table.shape[-2] for table in trainer.optimizer.tables()] == [ITEMS, USERS]


class Lookup(nn.Module):
    """A table of numbers, and a number of each row of it towards which they are drawn."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(1)
        self.tables = EmbeddingTables([torch.rand((ITEMS, 2), generator=draw)], [Places(0)])
        self.scale = nn.Parameter(torch.ones(()))

    def loss(self, batch: Batch, ids: Tensor) -> Tensor:
        rows = self.tables[0][ids]
        loss: Tensor = (self.scale * (rows - batch.features).square()).mean()
        return loss


def test_whole_steps_are_those_of_torch_to_the_last_bit() -> None:
    ours, torchs = Lookup(), Lookup()
    optimizer = Optimizer(ours, tuple(ours.parameters()), 0.01, 0.1)
    adamw = torch.optim.AdamW(torchs.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(20):
        batch = batch_of(step)
        adamw.zero_grad()
        torch.autograd.backward(torchs.loss(batch, batch.ids[:, 0]))
        adamw.step()
        torch.autograd.backward(ours.loss(batch, optimizer.begin(batch).ids[:, 0]))
        optimizer.step()
    assert torch.equal(ours.tables[0], torchs.tables[0])
    assert torch.equal(ours.scale, torchs.scale)


def test_a_rank_does_not_wait_for_the_import_of_torchs_compiler() -> None:
    code = """
import sys, test_optimizer
trainers = test_optimizer.trainers_of(test_optimizer.METHODS[:1], test_optimizer.FACTS, "cpu")
test_optimizer.fit(trainers, test_optimizer.feed, test_optimizer.feed)
print(*sys.modules)
"""
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch._dynamo", "scipy.optimize"} & set(done.stdout.split())


def test_rows_that_are_seldom_touched_go_where_whole_steps_take_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy_tables, "LARGE", 1)
    lazy, whole = Lookup(), Lookup()
    ours, torchs = (
        Optimizer(lazy, tuple(lazy.parameters()), 0.01, 0.1),
        torch.optim.AdamW(whole.parameters(), lr=0.01, weight_decay=0.1),
    )
    steps = 3 * FADED
    for step in range(steps):
        # Every fifth step touches rows that are not touched again, or long after.
        batch = batch_of(step % (2 * FADED + 5) if step % 5 == 0 else 0, rows=6)
        torchs.zero_grad()
        torch.autograd.backward(whole.loss(batch, batch.ids[:, 0]))
        torchs.step()
        renumbered = ours.begin(batch)
        torch.autograd.backward(lazy.loss(batch, renumbered.ids[:, 0]))
        ours.step()
    behind = steps - ours.spaces[0].taken
    assert (behind == steps).any()
    assert ((behind > FADED) & (behind < steps)).any()
    ours.settle()
    torch.testing.assert_close(lazy.tables[0], whole.tables[0], rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(lazy.scale, whole.scale, rtol=2e-6, atol=0)


def test_lazy_steps_taken_up_from_a_checkpoint_go_on_as_if_they_had_not_stopped(
    tmp_path: Path,
) -> None:
    straight, halted, later = (trainers(large=1) for _ in range(3))
    fit(straight, feed, feed)

    def stop(epoch: int, curves: Curves) -> None:
        save_checkpoint(tmp_path / "c.pt", "k", epoch, curves, halted)
        if epoch == 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(halted, feed, feed, after_epoch=stop)
    start, curves = restore_checkpoint(tmp_path / "c.pt", "k", later)
    assert start == 1
    fit(later, feed, feed, start=start, curves=curves)
    assert_equal(states(later), states(straight))


def on_half(rank: int) -> dict[str, Tensor]:
    """The states after training on every second row, lazily; they are those of whole steps."""

    def half(epoch: int) -> Iterator[Batch]:
        return (batch.map(lambda values: values[rank::2]) for batch in feed(epoch))

    torch.set_num_threads(1)
    whole, lazy = trainers(large=1 << 30), trainers(large=1)
    fit(whole, half, half)
    fit(lazy, half, half)
    assert_equal(states(lazy), states(whole))
    return states(lazy)


@pytest.mark.usefixtures("starts_processes")
def test_two_ranks_take_the_lazy_steps_of_one(tmp_path: Path) -> None:
    first, second = on_two_ranks(on_half, tmp_path)
    assert_equal(first, second)
    alone = trainers(large=1)
    fit(alone, feed, feed)
    for name, value in states(alone).items():
        torch.testing.assert_close(first[name], value, rtol=0, atol=1e-5)
