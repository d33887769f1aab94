"""The training loop that every rank runs.

All trainings of a run share one pass over the feed per epoch, since reading the rows is the main
cost; methods that declare the same training share it. The gradient is that of the global batch,
whatever the number of ranks.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.core.left_out import Refusals
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch, Feed
from reweight.importance.training import Learner, TrainFacts, Training
from reweight.training.optimizer import Optimizer
from reweight.training.update import Update, update_of
from reweight.training.warm_start import StartingModels

# By name of the training, one entry per epoch: {"epoch", "train", "out_of_bag", "validation",
# "seconds"}.
Curves = dict[str, list[dict[str, float]]]
State = dict[str, Tensor]


@dataclass
class Trainer:
    """A training in progress, for all methods that declared it.

    Attributes:
        name: of the first of its methods.
        methods: the methods that read what is trained.
        training: its hyperparameters.
        learner: what is trained.
        update: what is trained of it.
        optimizer: AdamW over these parameters.
        checkpoints: parameters that a method may read, by epoch.
        error: why it ended before its time; None while it goes on.
    """

    name: str
    methods: tuple[ImportanceMethod, ...]
    training: Training
    learner: Learner
    update: Update
    optimizer: Optimizer
    checkpoints: dict[int, State] = field(default_factory=dict)
    error: TrainingError | None = None

    @classmethod
    def of(
        cls,
        methods: Sequence[ImportanceMethod],
        facts: TrainFacts,
        device: torch.device,
        start: StartingModels | None = None,
    ) -> "Trainer":
        """A trainer at epoch 0, for methods with equal trainings.

        In a process group the ranks share their gradients.

        Args:
            methods: the methods.
            facts: of the training rows.
            device: of the learner.
            start: fitted models whose parameters it takes over; None for new ones.
        """
        training = methods[0].learns()
        assert training is not None
        training.check(facts)
        learner = training.build(facts).to(device)
        update = start.begin(learner, methods, facts) if start else update_of(learner)
        optimizer = Optimizer(
            learner, tuple(update.trained()), training.learning_rate, training.weight_decay
        )
        return cls(methods[0].name, tuple(methods), training, learner, update, optimizer)

    def step(self, batch: Batch, world: int) -> Tensor:
        """Takes a step; returns this rank's shares of the losses, float32 [2]."""
        batch = self.optimizer.begin(batch)
        share, out_of_bag = self.learner.loss(batch, len(batch) * world)
        # Ranks *average* gradients, but the shares have to be added.
        torch.autograd.backward(share * world)
        self.update.before_step()
        self.optimizer.step()
        self.update.after_step()
        self.learner.stepped()
        return torch.stack([share.detach() / self.learner.members, out_of_bag])

    @torch.no_grad()
    def measure(self, batch: Batch, world: int) -> Tensor:
        """This rank's shares of the losses, without a step, float32 [2]."""
        share, out_of_bag = self.learner.loss(batch, len(batch) * world)
        return torch.stack([share / self.learner.members, out_of_bag])

    def save(self, epoch: int, curve: Sequence[Mapping[str, float]]) -> None:
        """Saves the parameters of this epoch, and drops those that no method can need any more.

        Raises:
            TrainingError: some parameters are not finite.
        """
        state = {name: value.detach().cpu() for name, value in self.learner.state_dict().items()}
        if not all(value.isfinite().all() for value in state.values()):
            got = f"NaN or infinity after epoch {epoch}; loss {curve[-1]['train']:.4g}"
            raise _diverged(self.name, "finite parameters after every epoch", got)
        self.checkpoints[epoch] = {name: value.clone() for name, value in state.items()}
        needed_epochs = set().union(*[self.wanted(m, curve) for m in self.methods])
        # The window of `best` may still move to epochs that have not been the best so far.
        recent = max(m.checkpoint_choice().count for m in self.methods)
        self.checkpoints = {
            e: s for e, s in self.checkpoints.items() if e in needed_epochs or e > epoch - recent
        }

    def at(self, epoch: int, facts: TrainFacts) -> Learner:
        """The learner with the parameters saved at an epoch."""
        learner = self.training.build(facts)
        learner.load_state_dict(self.checkpoints[epoch])
        return learner

    def wanted(
        self, method: ImportanceMethod, curve: Sequence[Mapping[str, float]]
    ) -> tuple[int, ...]:
        """The epochs whose parameters a method needs, given the curve so far."""
        measure = "out_of_bag" if self.training.stops_early is None else "validation"
        losses = {int(entry["epoch"]): entry[measure] for entry in curve}
        finite = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
        return method.checkpoint_choice().epochs(self.training.epochs, finite)

    def goes_on(self, epoch: int, curve: Sequence[Mapping[str, float]]) -> bool:
        """Whether it takes this epoch (from 0); ranks agree, since losses are sums over them."""
        patience, losses = self.training.stops_early, [entry["validation"] for entry in curve]
        if self.error is not None or epoch >= self.training.epochs:
            return False
        if patience is None or not losses:
            return True
        return len(losses) - losses.index(min(losses)) <= patience


@contextmanager
def _tiny_numbers_are_zero() -> Iterator[None]:
    """Takes numbers below 1e-38 as 0 meanwhile: moments fade into them, and they are slow."""
    before = float(torch.tensor(1e-39) * 1) == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def trainers_of(
    methods: Sequence[ImportanceMethod],
    facts: TrainFacts,
    device: torch.device,
    start: StartingModels | None = None,
) -> list[Trainer]:
    """One trainer for each distinct training of the methods; see `Trainer.of`."""
    groups: dict[str, list[ImportanceMethod]] = {}
    for method in methods:
        # Built only so that a method refuses what it must before hours of training.
        method.model(facts)
        if (training := method.learns()) is not None:
            groups.setdefault(training.key, []).append(method)
    return [Trainer.of(group, facts, device, start) for group in groups.values()]


@_tiny_numbers_are_zero()
def fit(
    trainers: Sequence[Trainer],
    train: Feed,
    validation: Feed,
    *,
    start: int = 0,
    curves: Curves | None = None,
    after_epoch: Callable[[int, Curves], None] = lambda epoch, curves: None,
    refusals: Refusals | None = None,
) -> Curves:
    """Runs all trainings side by side, each for its own number of epochs.

    Args:
        trainers: of all trainings; one that has completed its epochs is skipped.
        train: this rank's training batches.
        validation: this rank's batches for the loss curve.
        start: number of epochs completed before.
        curves: the loss curves of those epochs.
        after_epoch: called with the number of completed epochs and the curves.
        refusals: receives the methods whose training diverges, which then ends while the others go
            on; by default that is an error.

    Returns:
        The loss curves.

    Raises:
        TrainingError: a training diverged, and ``refusals`` does not accept it.
    """
    world = dist.get_world_size() if dist.is_initialized() else 1
    refusals = refusals or Refusals()
    curves = curves or {t.name: [] for t in trainers}
    for trainer in trainers:
        if trainer.error is not None:
            _end(trainer, trainer.error, refusals)
    for epoch in range(start, max((t.training.epochs for t in trainers), default=0)):
        active = [t for t in trainers if t.goes_on(epoch, curves[t.name])]
        if not active:
            break
        begin = time.monotonic()
        steps = (
            (train, lambda t, b: t.step(b, world), f"in epoch {epoch + 1}"),
            (
                validation,
                lambda t, b: t.measure(b, world),
                f"on the validation rows after epoch {epoch + 1}",
            ),
        )
        losses: list[dict[str, list[float]]] = []
        for feed, visit, when in steps:
            active = [t for t in active if t.error is None]
            losses.append(_one_pass(active, feed(epoch), visit, when, refusals) if active else {})
            for trainer in active:
                trainer.optimizer.settle()
        seconds = time.monotonic() - begin
        for trainer in (t for t in active if t.error is None):
            (trained, out_of_bag), (measured, _) = (part[trainer.name] for part in losses)
            entry = {"epoch": epoch + 1, "train": trained, "out_of_bag": out_of_bag}
            curves[trainer.name].append(entry | {"validation": measured, "seconds": seconds})
            try:
                trainer.save(epoch + 1, curves[trainer.name])
            except TrainingError as error:
                # Ranks have equal parameters, so that all of them go on without it.
                _end(trainer, error, refusals)
        after_epoch(epoch + 1, curves)
    return curves


def _end(trainer: Trainer, error: TrainingError, refusals: Refusals) -> None:
    """Ends a training that diverged: its methods are refused."""
    trainer.error = error
    for method in trainer.methods:
        refusals.add(method.name, error)


def _one_pass(
    trainers: Sequence[Trainer],
    batches: Any,
    visit: Callable[[Trainer, Batch], Tensor],
    when: str,
    refusals: Refusals,
) -> dict[str, list[float]]:
    """The two losses of the global batch, averaged over the steps, by name of the trainer.

    A trainer with a loss that is not finite is ended; the error names the first such step.
    """
    device = next(trainers[0].learner.parameters()).device
    totals = torch.zeros((len(trainers), 2), dtype=torch.float64, device=device)
    first, steps = torch.full((len(trainers),), math.inf, device=device), 0
    for batch in batches:
        steps += 1
        shares = torch.stack([visit(t, batch) for t in trainers])
        totals += shares.double()
        # Read after the pass: reading it at every step would make a GPU wait.
        first = torch.where(shares[:, 0].isfinite(), first, first.clamp(max=steps))
    if dist.is_initialized():
        dist.all_reduce(totals)
        dist.all_reduce(first, dist.ReduceOp.MIN)
    for trainer, step in zip(trainers, first.tolist(), strict=True):
        if step <= steps:
            got = f"NaN or infinity at step {step:.0f} of {steps}, {when}"
            error = _diverged(trainer.name, "a finite loss at every step", got)
            _end(trainer, error, refusals)
    means: list[list[float]] = (totals / max(1, steps)).tolist()
    return {trainer.name: mean for trainer, mean in zip(trainers, means, strict=True)}


def _diverged(name: str, expected: str, got: str) -> TrainingError:
    return TrainingError(
        f"the training of '{name}' diverged",
        expected=expected,
        got=got,
        fix="lower its learning_rate, or scale the features; the checkpoint holds the epoch before",
    )
