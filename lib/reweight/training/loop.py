"""Training: what every rank runs, with checkpoints, and the loop that it runs.

All trainings of a run are done in one pass over the feed per epoch, since reading the rows is what
costs; methods that declare the same training share it. The gradient is that of the global batch,
whatever the number of ranks.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reweight.core.errors import TrainingError
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch, Feed
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import Learner, TrainFacts, Training

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
        checkpoints: parameters at epochs that a method may want, by epoch.
    """

    name: str
    methods: tuple[ImportanceMethod, ...]
    training: Training
    learner: Learner
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    checkpoints: dict[int, State] = field(default_factory=dict)

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

    def save(self, epoch: int, curve: Sequence[Mapping[str, float]]) -> None:
        """Keeps the parameters of this epoch, and drops those that no method can want any more.

        Raises:
            TrainingError: parameters that are not finite.
        """
        state = {name: value.detach().cpu() for name, value in self.learner.state_dict().items()}
        if not all(value.isfinite().all() for value in state.values()):
            got = f"NaN or infinity after epoch {epoch}; loss {curve[-1]['train']:.4g}"
            raise _diverged(self.name, "finite parameters after every epoch", got)
        self.checkpoints[epoch] = {name: value.clone() for name, value in state.items()}
        wanted = set().union(*[self.wanted(m, curve) for m in self.methods])
        # The window of `best` may move on to epochs that have not been the best yet.
        recent = max(m.checkpoint_choice().count for m in self.methods)
        self.checkpoints = {
            e: s for e, s in self.checkpoints.items() if e in wanted or e > epoch - recent
        }

    def at(self, epoch: int, facts: TrainFacts) -> Learner:
        """The learner with the parameters that were kept at an epoch."""
        learner = self.training.build(facts)
        learner.load_state_dict(self.checkpoints[epoch])
        return learner

    def wanted(
        self, method: ImportanceMethod, curve: Sequence[Mapping[str, float]]
    ) -> tuple[int, ...]:
        """The epochs that a method wants, as things stand."""
        losses = {int(entry["epoch"]): entry["out_of_bag"] for entry in curve}
        finite = {epoch: loss for epoch, loss in losses.items() if math.isfinite(loss)}
        return method.checkpoint_choice().epochs(self.training.epochs, finite)


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
            trainer.save(epoch + 1, curves[trainer.name])
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
) -> dict[str, ModelArtifact]:
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
    return {m.name: ModelArtifact.of(m, facts, models[m.name]) for m in methods}


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
                outputs = EnsembleOutputs(batch)
                for model in looking:
                    model.observe(outputs, split)
        for model in looking:
            for total in model.sums() if dist.is_initialized() else ():
                dist.all_reduce(total)
            model.finish(number)


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
            got = f"NaN or infinity at step {step:.0f} of {steps} of {now}"
            raise _diverged(trainer.name, "a finite loss at every step", got)
    found: list[list[float]] = (totals / max(1, steps)).tolist()
    return found


def _diverged(name: str, expected: str, got: str) -> TrainingError:
    return TrainingError(
        f"the training of '{name}' diverged",
        expected=expected,
        got=got,
        fix="lower its learning_rate, or scale the features; the epoch before is in the checkpoint",
    )
