"""`mw_net`: V(loss_i), a curve from loss to weight, learnt so that steps help the target rows.

    theta' = theta - alpha / n * sum_i V(l_i) grad l_i         (a step of the network f)
    grad of V = -alpha / n * sum_i dV(l_i) <grad l_i, G>

where G is the gradient of the mean loss of the target rows at theta'.

Shu et al. 2019, "Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting"; V: 1 -> 100
-> 1 with ReLU and a sigmoid. The gradient of V through the unrolled step is exact and needs no
second derivatives: ``<grad l_i, G>`` of all rows is a single forward-mode derivative.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import jvp

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.network import NetworkLearner, NetworkTraining
from reweight.importance.ranks import summed
from reweight.importance.target import check_target
from reweight.importance.training import Learner, TrainFacts, Training


class MwNetTraining(NetworkTraining):
    """The network f and the curve V, trained side by side.

    Attributes:
        alpha: size of the inner step.
        curve: width of V's hidden layer.
    """

    needs: ClassVar[tuple[str, ...]] = ("target",)

    alpha: float = Field(default=0.1, gt=0)
    curve: int = Field(default=100, ge=1)

    def build(self, facts: TrainFacts) -> Learner:
        """Untrained f and V."""
        return MwNetLearner(self, facts)


class Curve(nn.Module):
    """V: loss -> weight in (0, 1)."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(*shape: int, bound: float) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(shape, generator=generator) - 1) * bound)

        self.slope, self.knot = drawn(width, bound=1.0), drawn(width, bound=1.0)
        self.out = drawn(width, bound=1 / math.sqrt(width))
        self.level = drawn(1, bound=1 / math.sqrt(width))

    def forward(self, losses: Tensor) -> Tensor:
        """Losses, float32 [B] -> weights, float32 [B]."""
        inner = (losses[:, None] * self.slope + self.knot).relu()
        return (inner @ self.out + self.level).sigmoid()


class MwNetLearner(NetworkLearner):
    """A loss whose gradients for f and V are those of the module."""

    def __init__(self, training: MwNetTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        self.alpha = training.alpha
        self.curve = Curve(training.curve, facts.seed)

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """The weighted mean loss, plus a term of value 0 that carries the gradient of V."""
        losses = self.losses(batch)
        weights = self.curve(losses.detach())
        share = (weights.detach() * losses).sum() / rows
        if torch.is_grad_enabled():
            gain = self._gain(batch, share, rows)
            term = -self.alpha * (weights * gain).sum() / rows
            share = share + term - term.detach()
        return share, losses.new_full((), math.nan)

    def _gain(self, batch: Batch, share: Tensor, rows: int) -> Tensor:
        """<grad l_i, G>: how much a step on row i lowers the target loss, float32 [B]."""
        # A parameter that is not trained takes no step.
        trained = ((n, p) for n, p in self.network.named_parameters() if p.requires_grad)
        names, parameters = zip(*trained, strict=True)
        # Every rank takes the same inner step.
        gradients = summed(torch.autograd.grad(share, parameters, retain_graph=True))
        stepped = [
            (p - self.alpha * g).detach().requires_grad_()
            for p, g in zip(parameters, gradients, strict=True)
        ]
        target = batch.extra["target"]
        target_loss = (target * self.losses(batch, dict(zip(names, stepped, strict=True)))).sum()
        *sums, count = summed((*torch.autograd.grad(target_loss, stepped), target.sum()))
        target_gradient = tuple(g / count.clamp(min=1) for g in sums)
        current = tuple(p.detach() for p in parameters)

        def losses_at(*values: Tensor) -> Tensor:
            return self.losses(batch, dict(zip(names, values, strict=True)))

        gain: Tensor = jvp(losses_at, current, target_gradient)[1]
        return gain.detach()


class MwNet(ImportanceMethod):
    """Importance V(loss), in (0, 1).

    Attributes:
        training: of f and V.

    Helps:
        Where the target, the newest rows, is known to be cleaner than the rest.

    Hurts:
        Where the target is no cleaner than the rest: V has nothing to learn, and may learn to
        prefer wrong rows. Only the target rows of the batch are used: where they are few, their
        gradient is noise. V sees a row only through its loss, under a network trained on that row.

    Refuses:
        Training rows of which none, or all, are target rows.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "target rows are clean, and the loss separates good rows from bad ones"
    cost: ClassVar[str] = "F"
    needs: ClassVar[tuple[str, ...]] = ("target",)
    passes: ClassVar[int] = 1

    method: Literal["mw_net"] = "mw_net"
    training: MwNetTraining = MwNetTraining()

    def learns(self) -> Training:
        """f and V."""
        return self.training

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """V of a row's loss."""
        return MwNetModel(self)


class MwNetModel(ImportanceModel):
    """V(loss). It counts target rows, without which V has learnt nothing."""

    counts: Tensor

    def __init__(self, method: MwNet) -> None:
        super().__init__()
        self.method = method
        self.register_buffer("counts", torch.zeros(2, dtype=torch.float64), persistent=False)

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """V of each row's loss, float32 [B]."""
        (learner,) = self.checkpoints()
        assert isinstance(learner, MwNetLearner)
        weights: Tensor = learner.curve(learner.losses(outputs.batch))
        return weights

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts target rows and all rows."""
        if split == "train":
            target = outputs.batch.extra["target"]
            self.counts += torch.stack([target.sum(), torch.ones_like(target).sum()])

    def sums(self) -> list[Tensor]:
        """The counts."""
        return [self.counts]

    def finish(self, number: int) -> None:
        """Refuses training rows of which none, or all, are target rows."""
        check_target(self.method.name, *self.counts.tolist())
