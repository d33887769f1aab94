"""Training: what every rank runs, with checkpoints, and the loop that it runs.

All methods of a run are trained in one pass over the feed per epoch: reading the rows is what
costs. The gradient is that of the global batch, whatever the number of ranks.
"""

import json
import os
import time
import traceback
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reweight.batch import Batch, Feed
from reweight.files import write_whole
from reweight.heartbeat import Heartbeat
from reweight.importance import ImportanceMethod, ImportanceModel, Method, TrainFacts
from reweight.importance.stored import StoredModel
from reweight.section import Seconds, Section


class Fitting(Section):
    """The section ``fitting``.

    Attributes:
        ranks: training processes, one Spark task each.
        shards: into how many parts the rows are dealt; a multiple of ``ranks``. The result depends
            on it, and not on ``ranks``.
        batch_size: rows of a step, over all ranks.
        validation_rows: how many rows of the validation split the loss curve is measured on.
        use_gpu: one GPU per rank.
        timeout: longest time in which no rank gets on before the training is ended.
        retries: how often a training that a lost or hanging rank ended is taken up again.
    """

    ranks: int = Field(default=1, ge=1)
    shards: int = Field(default=4, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    validation_rows: int = Field(default=20_000, ge=1)
    use_gpu: bool = False
    timeout: Seconds = 600
    retries: int = Field(default=2, ge=0)

    def identity(self) -> str:
        """What of the section the result depends on."""
        return self.model_dump_json(include={"shards", "batch_size", "validation_rows"})


class FitPlan(Section):
    """All that a rank needs, as plain values.

    Attributes:
        methods: to train.
        facts: of the training rows.
        fitting: the section.
        train: folder of the snapshot.
        validation: folder of the snapshot for the loss curve.
        folder: for checkpoints, progress and errors; every rank sees it.
        key: identity of rows and settings: a checkpoint of another key is not taken up.
        seed: of the order of rows.
    """

    methods: tuple[Method, ...]
    facts: TrainFacts
    fitting: Fitting
    train: str
    validation: str
    folder: str
    key: str
    seed: int


# Method name -> one entry per epoch: {"epoch", "train", "validation", "seconds"}.
Curves = dict[str, list[dict[str, float]]]


@dataclass
class Trainer:
    """A method in training.

    Attributes:
        method: its hyperparameters.
        model: what is trained.
        objective: gives a batch's share of the loss; synchronises gradients between ranks.
        optimizer: Adam over the model's parameters.
    """

    method: ImportanceMethod
    model: ImportanceModel
    objective: nn.Module
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, method: ImportanceMethod, facts: TrainFacts, device: torch.device) -> "Trainer":
        """A trainer at epoch 0; in a process group the ranks share their gradients."""
        model = method.build(facts).to(device)
        objective: nn.Module = _Objective(model)
        if dist.is_initialized():
            objective = DistributedDataParallel(objective)
        optimizer = torch.optim.Adam(model.parameters(), lr=method.learning_rate)
        return cls(method, model, objective, optimizer)

    def step(self, batch: Batch, world: int) -> Tensor:
        """One step; returns this rank's share of the loss, per member."""
        self.optimizer.zero_grad()
        share: Tensor = self.objective(batch, len(batch) * world)
        # Ranks *average* gradients, and the shares are to be added.
        (share * world).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return share.detach() / self.model.members

    @torch.inference_mode()
    def measure(self, batch: Batch, world: int) -> Tensor:
        """This rank's share of the loss, per member, without a step."""
        return self.model.loss(batch, len(batch) * world) / self.model.members


class _Objective(nn.Module):
    """A model whose forward is its loss, so that gradient synchronisation hooks into it."""

    def __init__(self, model: ImportanceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, rows: int) -> Tensor:
        return self.model.loss(batch, rows)


def fit(
    trainers: Sequence[Trainer],
    train: Feed,
    validation: Feed,
    *,
    start: int = 0,
    curves: Curves | None = None,
    after_epoch: Callable[[int, Curves], None] = lambda epoch, curves: None,
) -> Curves:
    """Trains all methods side by side, each for its own number of epochs.

    Args:
        trainers: the methods; those that have had their epochs stand by.
        train: this rank's training batches.
        validation: this rank's batches for the loss curve.
        start: epochs that were done before.
        curves: what those epochs measured.
        after_epoch: called with the number of epochs done and the curves.

    Returns:
        The loss curves.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    curves = curves or {t.method.name: [] for t in trainers}
    for epoch in range(start, max(t.method.epochs for t in trainers)):
        active = [t for t in trainers if epoch < t.method.epochs]
        begin = time.monotonic()
        losses = _one_pass(active, train(epoch), lambda t, b: t.step(b, world))
        checks = _one_pass(active, validation(epoch), lambda t, b: t.measure(b, world))
        seconds = time.monotonic() - begin
        for trainer, loss, check in zip(active, losses, checks, strict=True):
            entry = {"epoch": epoch + 1, "train": loss, "validation": check, "seconds": seconds}
            curves[trainer.method.name].append(entry)
        after_epoch(epoch + 1, curves)
    return curves


def train_rank(plan_json: str) -> None:
    """What every rank runs: joins the others, trains from the last checkpoint on, leaves models.

    An error is written to ``<folder>/errors/rank-<n>.txt`` before it is raised: what the launcher
    passes on says only that something failed.
    """
    plan = FitPlan.model_validate_json(plan_json)
    folder, rank = Path(plan.folder), int(os.environ["RANK"])
    with (
        _reported(folder, rank),
        Heartbeat(folder, rank).beating() as heartbeat,
        _process_group(plan.fitting),
    ):
        device = _device(plan.fitting)
        trainers = [Trainer.of(m, plan.facts, device) for m in plan.methods]
        checkpoint = folder / "checkpoint.pt"
        start, curves = _restore(checkpoint, plan.key, trainers)

        def save(epoch: int, curves: Curves) -> None:
            heartbeat.now(epoch, "at the checkpoint")
            if rank == 0:
                _checkpoint(checkpoint, plan.key, epoch, curves, trainers)
                write_whole(folder / "curves.json", json.dumps(curves).encode())

        train = _feed(plan, plan.train, device, shuffle=True)
        validation = _feed(plan, plan.validation, device, shuffle=False)
        curves = fit(
            trainers,
            _watched(train, heartbeat, "training"),
            _watched(validation, heartbeat, "validating"),
            start=start,
            curves=curves,
            after_epoch=save,
        )
        if rank == 0:
            write_whole(folder / "curves.json", json.dumps(curves).encode())
            for trainer in trainers:
                stored = StoredModel.of(trainer.method, plan.facts, trainer.model)
                stored.write(folder / trainer.method.name)
        dist.barrier()


def _one_pass(
    trainers: Sequence[Trainer], batches: Any, visit: Callable[[Trainer, Batch], Tensor]
) -> list[float]:
    """Mean over the steps of the loss of the global batch, per trainer."""
    totals, steps = torch.zeros(len(trainers), dtype=torch.float64), 0
    for batch in batches:
        totals += torch.stack([visit(t, batch) for t in trainers]).double().cpu()
        steps += 1
    if dist.is_initialized():
        dist.all_reduce(totals)
    return [float(x) for x in totals / max(1, steps)]


def _feed(plan: FitPlan, folder: str, device: torch.device, *, shuffle: bool) -> Feed:
    from reweight.feed import SnapshotFeed

    feed = SnapshotFeed(
        folder=folder,
        batch_size=plan.fitting.batch_size,
        shards=plan.fitting.shards,
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        seed=plan.seed,
        shuffle=shuffle,
    )
    return lambda epoch: (batch.to(device) for batch in feed(epoch))


def _watched(feed: Feed, heartbeat: Heartbeat, doing: str) -> Feed:
    """The same batches; the heartbeat tells whether the rank waits for rows or for other ranks."""

    def batches(epoch: int) -> Iterator[Batch]:
        heartbeat.now(epoch + 1, f"{doing}, reading a batch")
        for batch in feed(epoch):
            heartbeat.now(epoch + 1, f"{doing}, computing a step")
            yield batch
            heartbeat.now(epoch + 1, f"{doing}, reading a batch")
        heartbeat.now(epoch + 1, f"{doing}, adding up losses")

    return batches


def _device(fitting: Fitting) -> torch.device:
    if fitting.use_gpu and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


@contextmanager
def _process_group(fitting: Fitting) -> Generator[None]:
    torch.set_num_threads(1)
    backend = "nccl" if _device(fitting).type == "cuda" else "gloo"
    # The driver ends a training that hangs, and says who hung; this is for when it is gone.
    dist.init_process_group(backend, timeout=timedelta(seconds=2 * fitting.timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _reported(folder: Path, rank: int) -> Generator[None]:
    try:
        yield
    except Exception:
        path = folder / "errors" / f"rank-{rank}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(traceback.format_exc())
        raise


def _checkpoint(
    path: Path, key: str, epoch: int, curves: Curves, trainers: Sequence[Trainer]
) -> None:
    state = {
        "key": key,
        "epoch": epoch,
        "curves": curves,
        "models": [t.model.state_dict() for t in trainers],
        "optimizers": [t.optimizer.state_dict() for t in trainers],
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _restore(path: Path, key: str, trainers: Sequence[Trainer]) -> tuple[int, Curves | None]:
    """Takes up a checkpoint of the same rows and settings; returns epochs done and curves.

    One that is of others, or that was cut short (a full or failing disk), is as good as none.
    """
    if not path.exists():
        return 0, None
    if not zipfile.is_zipfile(path):
        print(f"the checkpoint {path.name} is cut short: training begins anew", flush=True)
        return 0, None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["key"] != key:
        print(f"the checkpoint {path.name} is of other rows or settings: not used", flush=True)
        return 0, None
    for trainer, model, optimizer in zip(
        trainers, state["models"], state["optimizers"], strict=True
    ):
        trainer.model.load_state_dict(model)
        trainer.optimizer.load_state_dict(optimizer)
    return state["epoch"], state["curves"]
