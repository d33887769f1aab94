"""`lossval`: row weights learnt by gradient descent, together with the network that they train.

Wibiral et al. 2024, "LossVal: Efficient Data Valuation for Neural Networks". For each batch, Adam
takes a step in the network and in w on

    loss = sum_i w_i CE_i * OT_w(X, X_validation)^2

w starts at 1, and the final weight of a row is its value. CE_i = -log(p(given label) + 1e-8) is
bounded, so weights may become negative. OT_w is the debiased Sinkhorn divergence (Feydy et al.
2019) with the cost |x - v|^2 / 2 between the features of the batch with masses w and those of the
validation rows with masses 1. As published, the masses are not scaled to the same sum: it steers
the descent, but it is not a distance.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.core.heartbeat import progress
from reweight.core.section import Section, Widths
from reweight.importance.batch import Batch
from reweight.importance.ensemble import Ensemble
from reweight.importance.valuation import Valuation, ValuationMethod

_BOUND = 1e-8
# Entropic regularisation: 0.05 squared, annealed from the largest cost in steps of 1/4.
_EPSILON = 0.0025
_MIN_MASS = 1e-6


class LossvalSettings(Section):
    """The network of `lossval`, and how it is trained.

    Attributes:
        epochs: passes over the training rows.
        learning_rate: of Adam, for the network and the weights.
        batch_size: rows per step.
        hidden: widths of the network's hidden layers.
        embedding: width of the embedding of each categorical id.
    """

    epochs: int = Field(default=30, ge=1)
    learning_rate: float = Field(default=0.01, gt=0)
    batch_size: int = Field(default=32, ge=2)
    hidden: Widths = (100, 100, 100, 100)
    embedding: int = Field(default=8, ge=1)


class Lossval(ValuationMethod):
    """Importance is a learnt weight, of either sign.

    Attributes:
        transport: whether the loss is multiplied by the squared transport distance; without it, the
            loss is the weighted cross-entropy.
        training: of the network and the weights.

    Helps:
        As a reference on small data, to find wrong labels.

    Hurts:
        Weights follow the in-sample loss, so hard rows with correct labels fall as well, and values
        depend on the learning rate and the epochs (at 0.1, the published F1 is that of guessing).

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite.
    """

    assumes: ClassVar[str] = "rows that a network keeps failing to learn are wrong"
    instead: ClassVar[str] = "self_confidence"

    method: Literal["lossval"] = "lossval"
    transport: bool = True
    training: LossvalSettings = LossvalSettings()

    @torch.enable_grad()
    def values(self, rows: Valuation) -> Tensor:
        """The weights after the last epoch, float32 [N]."""
        n = len(rows.train)
        training = self.training
        steps = training.epochs * -(-n // training.batch_size)
        self.say(f"one fit, {training.epochs} epochs, {steps:,} steps")
        network = self.network(rows)
        weight = torch.ones(n, requires_grad=True)
        optimizer = torch.optim.Adam([*network.parameters(), weight], lr=training.learning_rate)
        distance = distance_to(rows) if self.transport else None
        generator = torch.Generator().manual_seed(rows.facts.seed)
        for epoch in range(training.epochs):
            progress(f"learning weights, epoch {epoch + 1} of {training.epochs}")
            for chosen in torch.split(torch.randperm(n, generator=generator), training.batch_size):
                optimizer.zero_grad()
                loss = (weight[chosen] * _cross_entropy(network, rows.train.rows(chosen))).sum()
                if distance is not None:
                    loss = loss * distance(weight[chosen], chosen) ** 2
                torch.autograd.backward(loss)
                optimizer.step()
        return weight.detach()

    def network(self, rows: Valuation) -> Ensemble:
        """The untrained network."""
        hidden, embedding = self.training.hidden, self.training.embedding
        return Ensemble(rows.facts, members=1, membership="all", hidden=hidden, embedding=embedding)


def _cross_entropy(network: Ensemble, batch: Batch) -> Tensor:
    given = ((2 * batch.label - 1) * network(batch)[:, 0]).sigmoid()
    loss: Tensor = -(given + _BOUND).log()
    return loss


def distance_to(rows: Valuation) -> Callable[[Tensor, Tensor], Tensor]:
    """OT_w of the module, as a function of the weights [B] and the row indices [B] of a batch."""
    x, v = (part.float() for part in rows.design())
    ones = torch.ones(len(v))
    self_potential, _ = potentials(_costs(v, v), ones, ones)

    def distance(weight: Tensor, chosen: Tensor) -> Tensor:
        # Negative weights have no mass.
        mass, batch = weight.clamp(min=_MIN_MASS), x[chosen]
        f, g = potentials(_costs(batch, v), mass.detach(), ones)
        # At the optimum the potentials are the gradient, so they are held fixed (envelope theorem).
        f = f - potentials(_costs(batch, batch), mass.detach(), mass.detach())[0]
        return (mass * f).sum() + (g - self_potential).sum()

    return distance


def _costs(x: Tensor, v: Tensor) -> Tensor:
    return torch.cdist(x, v) ** 2 / 2


def potentials(cost: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The dual solution of entropic transport, [B] and [V], by symmetric Sinkhorn iterations.

    Args:
        cost: [B, V].
        a: masses of the rows, [B].
        b: masses of the columns, [V].
    """

    def steps(epsilon: float) -> tuple[Tensor, Tensor]:
        to_f = epsilon * (b.log() + (g - cost) / epsilon).logsumexp(1)
        to_g = epsilon * (a.log() + (f - cost.T) / epsilon).logsumexp(1)
        return -to_f, -to_g

    scales = [max(_EPSILON, 2.5 * float(cost.max()))]
    while scales[-1] > _EPSILON:
        scales.append(max(_EPSILON, scales[-1] / 4))
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    f, g = steps(scales[0])
    for epsilon in scales:
        to_f, to_g = steps(epsilon)
        f, g = (f + to_f) / 2, (g + to_g) / 2
    return steps(_EPSILON)
