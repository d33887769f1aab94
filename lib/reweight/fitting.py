"""Training: what every rank runs, with checkpoints, and the loop that it runs.

All trainings of a run are done in one pass over the feed per epoch, since reading the rows is what
costs; methods that declare the same training share it. The gradient is that of the global batch,
whatever the number of ranks.
"""

import json
import math
import os
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.distributed as dist
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reweight.batch import Batch, Feed
from reweight.errors import TrainingError
from reweight.files import write_whole
from reweight.heartbeat import Heartbeat
from reweight.importance import ImportanceMethod, ImportanceModel, Method, TrainFacts
from reweight.importance.evidence import Evidence
from reweight.importance.stored import StoredModel
from reweight.importance.training import Learner, Training
from reweight.readers import Reading
from reweight.section import Seconds, Section


class Fitting(Section):
    """The section ``fitting``.

    Attributes:
        ranks: training processes, one Spark task each.
        shards: into how many parts the rows are dealt; a multiple of ``ranks``. The result depends
            on it, and not on ``ranks``.
        batch_size: rows of a step, over all ranks.
        validation_rows: how many rows of the validation split the loss curve is measured on.
        feed: what reads the training rows, ``petastorm`` or ``arrow``, which give the same batches;
            ``auto`` is Petastorm where it is installed and can take the path of ``root``.
        use_gpu: one GPU per rank.
        timeout: longest time in which no rank gets on before the training is ended.
        retries: how often a training that a lost or hanging rank ended is taken up again.
    """

    # How it is trained: no result depends on these.
    how: ClassVar[set[str]] = {"ranks", "feed", "use_gpu", "timeout", "retries"}

    ranks: int = Field(default=1, ge=1)
    shards: int = Field(default=4, ge=1)
    batch_size: int = Field(default=1024, ge=1)
    validation_rows: int = Field(default=20_000, ge=1)
    feed: Reading = "auto"
    use_gpu: bool = False
    timeout: Seconds = 600
    retries: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _ranks_share_evenly(self) -> Self:
        if self.shards % self.ranks:
            raise ValueError(
                "the ranks cannot share the shards evenly: expected a multiple of ranks; "
                f"came shards={self.shards}, ranks={self.ranks}"
            )
        return self

    def identity(self) -> str:
        """What of the section the result depends on."""
        return self.model_dump_json(exclude=self.how)


class FitPlan(Section):
    """All that a rank needs, as plain values.

    Attributes:
        methods: to train.
        facts: of the training rows.
        extra: further columns of the snapshots.
        fitting: the section.
        train: folder of the snapshot.
        validation: folder of the snapshot for the loss curve.
        folder: for checkpoints, progress and errors; every rank sees it.
        key: identity of rows, settings and code: a checkpoint of another key is not taken up.
        seed: of the order of rows.
    """

    methods: tuple[Method, ...]
    facts: TrainFacts
    extra: tuple[str, ...] = ()
    fitting: Fitting
    train: str
    validation: str
    folder: str
    key: str
    seed: int


# Name of a training -> one entry per epoch: {"epoch", "train", "out_of_bag", "validation",
# "seconds"}.
Curves = dict[str, list[dict[str, float]]]
State = dict[str, Tensor]


@dataclass
class Trainer:
    """A training under way, for all methods that declared it.

    Attributes:
        name: of the first of its methods.
        methods: that read what is trained.
        training: its hyperparameters.
        learner: what is trained.
        objective: gives a batch's share of the losses; synchronises gradients between ranks.
        optimizer: AdamW over the learner's parameters.
        kept: parameters at epochs that a method may want, by epoch.
    """

    name: str
    methods: tuple[ImportanceMethod, ...]
    training: Training
    learner: Learner
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    kept: dict[int, State] = field(default_factory=dict)

    @classmethod
    def of(
        cls, methods: Sequence[ImportanceMethod], facts: TrainFacts, device: torch.device
    ) -> "Trainer":
        """A trainer at epoch 0 of methods with equal trainings.

        In a process group the ranks share their gradients.
        """
        training = methods[0].learns()
        assert training is not None
        training.check(facts)
        learner = training.build(facts).to(device)
        objective: nn.Module = _Objective(learner)
        if dist.is_initialized():
            objective = DistributedDataParallel(objective)
        optimizer = torch.optim.AdamW(
            learner.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        return cls(methods[0].name, tuple(methods), training, learner, objective, optimizer)

    def step(self, batch: Batch, world: int) -> Tensor:
        """One step; returns this rank's shares of the losses, float32 [2]."""
        self.optimizer.zero_grad()
        share, out_of_bag = self.objective(batch, len(batch) * world)
        # Ranks *average* gradients, and the shares are to be added.
        (share * world).backward()
        self.optimizer.step()
        self.learner.stepped()
        return torch.stack([share.detach() / self.learner.members, out_of_bag])

    @torch.no_grad()
    def measure(self, batch: Batch, world: int) -> Tensor:
        """This rank's shares of the losses without a step, float32 [2]."""
        share, out_of_bag = self.learner.loss(batch, len(batch) * world)
        return torch.stack([share / self.learner.members, out_of_bag])

    def keep(self, epoch: int, curve: Sequence[Mapping[str, float]]) -> None:
        """Keeps the parameters of this epoch, and drops those that no method can want any more.

        Raises:
            TrainingError: parameters that are not finite.
        """
        state = {name: value.detach().cpu() for name, value in self.learner.state_dict().items()}
        if not all(value.isfinite().all() for value in state.values()):
            came = f"NaN or infinity after epoch {epoch}; loss {curve[-1]['train']:.4g}"
            raise _run_away(self.name, "finite parameters after every epoch", came)
        self.kept[epoch] = {name: value.clone() for name, value in state.items()}
        wanted = set().union(*[self.wanted(m, curve) for m in self.methods])
        # The window of `best` may move on to epochs that have not been the best yet.
        recent = max(m.keeps().count for m in self.methods)
        self.kept = {e: s for e, s in self.kept.items() if e in wanted or e > epoch - recent}

    def at(self, epoch: int, facts: TrainFacts) -> Learner:
        """The learner with the parameters that were kept at an epoch."""
        learner = self.training.build(facts)
        learner.load_state_dict(self.kept[epoch])
        return learner

    def wanted(
        self, method: ImportanceMethod, curve: Sequence[Mapping[str, float]]
    ) -> tuple[int, ...]:
        """The epochs that a method wants, as things stand."""
        losses = {int(entry["epoch"]): entry["out_of_bag"] for entry in curve}
        finite = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
        return method.keeps().epochs(self.training.epochs, finite)


class _Objective(nn.Module):
    """A learner whose forward is its loss, so that gradient synchronisation hooks into it."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        return self.learner.loss(batch, rows)


def trainers_of(
    methods: Sequence[ImportanceMethod], facts: TrainFacts, device: torch.device
) -> list[Trainer]:
    """A trainer for each distinct training of the methods."""
    groups: dict[str, list[ImportanceMethod]] = {}
    for method in methods:
        # What a method refuses it must refuse before hours of training.
        method.model(facts)
        if (training := method.learns()) is not None:
            groups.setdefault(training.key, []).append(method)
    return [Trainer.of(group, facts, device) for group in groups.values()]


def fit(
    trainers: Sequence[Trainer],
    train: Feed,
    validation: Feed,
    *,
    start: int = 0,
    curves: Curves | None = None,
    after_epoch: Callable[[int, Curves], None] = lambda epoch, curves: None,
) -> Curves:
    """Runs all trainings side by side, each for its own number of epochs.

    Args:
        trainers: those that have had their epochs stand by.
        train: this rank's training batches.
        validation: this rank's batches for the loss curve.
        start: epochs that were done before.
        curves: what those epochs measured.
        after_epoch: called with the number of epochs done and the curves.

    Returns:
        The loss curves.

    Raises:
        TrainingError: a training that does not stay finite.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    curves = curves or {t.name: [] for t in trainers}
    for epoch in range(start, max((t.training.epochs for t in trainers), default=0)):
        active = [t for t in trainers if epoch < t.training.epochs]
        begin = time.monotonic()
        now = f"epoch {epoch + 1}"
        losses = _one_pass(active, train(epoch), lambda t, b: t.step(b, world), now)
        now = f"the validation rows after epoch {epoch + 1}"
        checks = _one_pass(active, validation(epoch), lambda t, b: t.measure(b, world), now)
        seconds = time.monotonic() - begin
        for trainer, loss, check in zip(active, losses, checks, strict=True):
            entry = {"epoch": epoch + 1, "train": loss[0], "out_of_bag": loss[1]}
            curves[trainer.name].append(entry | {"validation": check[0], "seconds": seconds})
            trainer.keep(epoch + 1, curves[trainer.name])
        after_epoch(epoch + 1, curves)
    return curves


def fitted(
    methods: Sequence[ImportanceMethod],
    trainers: Sequence[Trainer],
    facts: TrainFacts,
    train: Feed,
    validation: Feed,
    curves: Curves,
    device: torch.device,
) -> dict[str, StoredModel]:
    """The models of all methods over what was trained.

    Models of one training share its learners. Those that look at the rows once more do so together,
    in passes over the feeds.

    Args:
        methods: all of them, also those that train nothing.
        trainers: after ``fit``.
        facts: of the training rows.
        train: this rank's training batches.
        validation: this rank's validation batches.
        curves: of ``fit``; they decide which epochs a method takes.
        device: of the batches.
    """
    models = {m.name: m.build(facts) for m in methods if m.learns() is None}
    for trainer in trainers:
        learners: dict[int, Learner] = {}
        for method in trainer.methods:
            epochs = trainer.wanted(method, curves[trainer.name])
            model = models[method.name] = method.build(facts, epochs)
            for epoch in epochs:
                if epoch not in learners:
                    learners[epoch] = trainer.at(epoch, facts)
                model.learners[str(epoch)] = learners[epoch]
    for model in models.values():
        model.to(device).eval()
    _look_again([(m.passes, models[m.name]) for m in methods], train, validation)
    return {m.name: StoredModel.of(m, facts, models[m.name]) for m in methods}


@torch.no_grad()
def _look_again(
    models: Sequence[tuple[int, ImportanceModel]], train: Feed, validation: Feed
) -> None:
    """The passes after the training, of the models that want so many."""
    for number in range(max((passes for passes, _ in models), default=0)):
        looking = [model for passes, model in models if passes > number and not model.done]
        if not looking:
            return
        # Validation rows do not change between passes: once is enough.
        feeds = {"train": train} | ({} if number else {"validation": validation})
        for split, feed in feeds.items():
            # Always the same pass: what is solved in many passes must be asked of the same rows.
            for batch in feed(0):
                evidence = Evidence(batch)
                for model in looking:
                    model.observe(evidence, split)
        for model in looking:
            for total in model.sums() if dist.is_initialized() else ():
                dist.all_reduce(total)
            model.finish(number)


def fit_in_memory(
    methods: Sequence[ImportanceMethod],
    facts: TrainFacts,
    train: Batch,
    validation: Batch,
    *,
    batch_size: int,
) -> tuple[dict[str, StoredModel], Curves]:
    """Fits methods in this process on rows that lie in memory: for small tables, and tests.

    Args:
        methods: to fit.
        facts: of the training rows.
        train: all training rows.
        validation: all validation rows.
        batch_size: rows of a step.
    """

    def shuffled(epoch: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed((facts.seed << 16) + epoch)
        order = torch.randperm(len(train), generator=generator)
        for start in range(0, len(train), batch_size):
            yield train.rows(order[start : start + batch_size])

    def checked(epoch: int) -> Iterator[Batch]:
        for start in range(0, len(validation), batch_size):
            yield validation.rows(torch.arange(start, min(start + batch_size, len(validation))))

    device = torch.device("cpu")
    trainers = trainers_of(methods, facts, device)
    curves = fit(trainers, shuffled, checked)
    return fitted(methods, trainers, facts, shuffled, checked, curves, device), curves


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
        trainers = trainers_of(plan.methods, plan.facts, device)
        checkpoint = folder / "checkpoint.pt"
        start, curves = _restore(checkpoint, plan.key, trainers)

        def save(epoch: int, curves: Curves) -> None:
            heartbeat.now(epoch, "at the checkpoint")
            if rank == 0:
                _checkpoint(checkpoint, plan.key, epoch, curves, trainers)
                write_whole(folder / "curves.json", json.dumps(curves).encode())

        train = _feed(plan, plan.train, device, shuffle=True)
        # Small by nature: fitting.validation_rows.
        validation = _held(_feed(plan, plan.validation, device))
        curves = fit(
            trainers,
            _watched(train, heartbeat, "training"),
            _watched(validation, heartbeat, "validating"),
            start=start,
            curves=curves,
            after_epoch=save,
        )
        doing = "looking at rows again"
        models = fitted(
            plan.methods,
            trainers,
            plan.facts,
            _watched(_feed(plan, plan.train, device, whole=True), heartbeat, doing),
            _watched(_feed(plan, plan.validation, device, whole=True), heartbeat, doing),
            curves,
            device,
        )
        if rank == 0:
            write_whole(folder / "curves.json", json.dumps(curves).encode())
            for name, stored in models.items():
                stored.write(folder / name)
        dist.barrier()


def _one_pass(
    trainers: Sequence[Trainer],
    batches: Any,
    visit: Callable[[Trainer, Batch], Tensor],
    now: str,
) -> list[list[float]]:
    """Means over the steps of the two losses of the global batch, per trainer.

    Raises:
        TrainingError: a loss that is not finite, with the first step at which it was not.
    """
    device = next(trainers[0].learner.parameters()).device
    totals = torch.zeros((len(trainers), 2), dtype=torch.float64, device=device)
    first, steps = torch.full((len(trainers),), math.inf, device=device), 0
    for batch in batches:
        steps += 1
        shares = torch.stack([visit(t, batch) for t in trainers])
        totals += shares.double()
        # Looked at when the pass is over: to ask at every step would make a GPU wait.
        first = torch.where(shares[:, 0].isfinite(), first, first.clamp(max=steps))
    if dist.is_initialized():
        dist.all_reduce(totals)
        dist.all_reduce(first, dist.ReduceOp.MIN)
    for trainer, step in zip(trainers, first.tolist(), strict=True):
        if step <= steps:
            came = f"NaN or infinity at step {step:.0f} of {steps} of {now}"
            raise _run_away(trainer.name, "a finite loss at every step", came)
    found: list[list[float]] = (totals / max(1, steps)).tolist()
    return found


def _run_away(name: str, expected: str, came: str) -> TrainingError:
    return TrainingError(
        f"the training of '{name}' has run away",
        expected=expected,
        came=came,
        do="lower its learning_rate, or scale the features; the epoch before is in the checkpoint",
    )


def _feed(
    plan: FitPlan,
    folder: str,
    device: torch.device,
    *,
    shuffle: bool = False,
    whole: bool = False,
) -> Feed:
    from reweight.feed import SnapshotFeed

    feed = SnapshotFeed(
        folder=folder,
        batch_size=plan.fitting.batch_size,
        shards=plan.fitting.shards,
        rank=dist.get_rank(),
        world=dist.get_world_size(),
        seed=plan.seed,
        shuffle=shuffle,
        extra=plan.extra,
        reader=plan.fitting.feed,
        whole=whole,
    )
    return lambda epoch: (batch.to(device) for batch in feed(epoch))


def _held(feed: Feed) -> Feed:
    """The batches of the first pass in memory: to open readers takes longer than a small pass."""
    batches: list[Batch] = []

    def same(epoch: int) -> Iterator[Batch]:
        if not batches:
            batches.extend(feed(epoch))
        return iter(batches)

    return same


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
    # Some gradients of an ensemble are views of another layout; to copy them is cheap.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    backend = "nccl" if _device(fitting).type == "cuda" else "gloo"
    # The driver ends a training that hangs, and says who hung; this is for when it is gone.
    dist.init_process_group(backend, timeout=timedelta(seconds=2 * fitting.timeout))
    try:
        yield
    finally:
        dist.destroy_process_group()


def failed_ranks(folder: Path) -> dict[str, str]:
    """The error of each rank that failed, by rank: all lines of its message as one.

    Args:
        folder: of the plan.
    """
    return {
        path.stem: _message(path.read_text())
        for path in sorted((folder / "errors").glob("rank-*.txt"))
    }


def _message(text: str) -> str:
    """What stands at the end of a traceback, from the name of the exception on."""
    lines = text.strip().splitlines()
    if not lines:  # no room on the disk for it
        return "an error that could not be written down"
    begin = max(i for i, line in enumerate(lines) if line[:1].strip())
    return "; ".join(" ".join(line.split()) for line in lines[begin:])


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
        "learners": [t.learner.state_dict() for t in trainers],
        "optimizers": [t.optimizer.state_dict() for t in trainers],
        "kept": [t.kept for t in trainers],
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _restore(path: Path, key: str, trainers: Sequence[Trainer]) -> tuple[int, Curves | None]:
    """Takes up a checkpoint of the same rows, settings and code; returns epochs done and curves.

    One that is of others, or that was cut short (a full or failing disk), is as good as none.
    """
    if not path.exists():
        return 0, None
    if not zipfile.is_zipfile(path):
        print(f"the checkpoint {path.name} is cut short: training begins anew", flush=True)
        return 0, None
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["key"] != key:
        print(
            f"the checkpoint {path.name} is of other rows, settings or code: not used", flush=True
        )
        return 0, None
    for trainer, learner, optimizer, kept in zip(
        trainers, state["learners"], state["optimizers"], state["kept"], strict=True
    ):
        trainer.learner.load_state_dict(learner)
        trainer.optimizer.load_state_dict(optimizer)
        trainer.kept = kept
    return state["epoch"], state["curves"]
