"""What a training changes of a learner: all of it, or a small part of one that was fitted before.

A part of a parameter is trained by values of its own, from which the parameter follows after every
step. So the learner always holds ordinary parameters, and its scores need nothing else.

`LowRank`: W = W_0 + A B with W_0 fixed (Hu et al. 2022, LoRA). The gradients of A and B follow from
that of W: dA = dW B', dB = A' dW.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from reweight.core.errors import TrainingError
from reweight.importance.ensemble import Ensemble
from reweight.importance.training import Learner

Extent = Literal["all", "head", "low_rank"]


class Part(nn.Module, ABC):
    """Values that are trained in the place of a parameter.

    Args:
        parameter: of the learner; it follows from the values.
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__()
        # In a tuple, since it is no parameter of this module.
        self._of = (parameter,)

    @property
    def parameter(self) -> nn.Parameter:
        """The parameter of the learner."""
        return self._of[0]

    @abstractmethod
    def take(self, gradient: Tensor) -> None:
        """Sets the gradients of the values from that of the parameter."""

    @abstractmethod
    def give(self) -> None:
        """Sets the parameter from the values."""


class Rows(Part):
    """Some rows of an embedding table.

    Args:
        table: float32 [M, size, width].
        rows: their numbers, int64 [R].
    """

    def __init__(self, table: nn.Parameter, rows: Tensor) -> None:
        super().__init__(table)
        self.rows = rows.to(table.device)
        self.values = nn.Parameter(table.detach()[:, self.rows].clone())

    def take(self, gradient: Tensor) -> None:
        """Those of the rows."""
        self.values.grad = gradient[:, self.rows]

    def give(self) -> None:
        """The other rows stay as they are."""
        self.parameter[:, self.rows] = self.values


class LowRank(Part):
    """A change of a weight of low rank; it begins at 0.

    Args:
        weight: float32 [M, in, out].
        rank: of the change.
        seed: of A; B is 0 at first.
    """

    def __init__(self, weight: nn.Parameter, rank: int, seed: int) -> None:
        super().__init__(weight)
        members, n_in, n_out = weight.shape
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn((members, n_in, rank), generator=generator) / rank**0.5
        self.start = weight.detach().clone()
        self.down = nn.Parameter(drawn.to(weight.device))
        self.up = nn.Parameter(weight.new_zeros((members, rank, n_out)))

    def take(self, gradient: Tensor) -> None:
        """By the chain rule."""
        self.down.grad, self.up.grad = gradient @ self.up.mT, self.down.mT @ gradient

    def give(self) -> None:
        """W_0 + A B."""
        self.parameter.copy_(self.start + self.down @ self.up)


class Update(nn.Module):
    """What a training changes of a learner.

    Args:
        whole: parameters that are trained as they are.
        parts: what is trained of others.
    """

    def __init__(self, whole: Sequence[nn.Parameter], parts: Sequence[Part] = ()) -> None:
        super().__init__()
        self._whole = tuple(whole)
        self.parts = nn.ModuleList(parts)

    def trained(self) -> Iterator[nn.Parameter]:
        """What the optimizer changes."""
        yield from self._whole
        yield from self.parts.parameters()

    @property
    def size(self) -> int:
        """Number of trained parameters."""
        return sum(parameter.numel() for parameter in self.trained())

    @torch.no_grad()
    def before_step(self) -> None:
        """Hands the gradients of the learner on to the parts."""
        for part in self.parts:
            assert isinstance(part, Part)
            assert part.parameter.grad is not None
            part.take(part.parameter.grad)
            part.parameter.grad = None

    @torch.no_grad()
    def after_step(self) -> None:
        """Sets the parameters of the learner from the parts."""
        for part in self.parts:
            assert isinstance(part, Part)
            part.give()


def update_of(
    learner: Learner,
    extent: Extent = "all",
    *,
    rank: int = 1,
    new_ids: Sequence[Tensor] = (),
    seed: int = 0,
) -> Update:
    """The update of a learner; what it leaves as it is needs no gradients from then on.

    Args:
        learner: the learner.
        extent: ``all`` parameters; ``head``, all but the hidden layers, the known ids and what
            reads a sequence; or ``low_rank``, these and a low-rank change of the first hidden
            layer.
        rank: of that change.
        new_ids: of each id field the ids whose embeddings are trained with the head.
        seed: of the low-rank change.

    Raises:
        TrainingError: the rank is not low.
    """
    if extent == "all":
        return Update(tuple(learner.parameters()))
    parts: list[Part] = []
    if extent == "low_rank":
        check_rank(learner, rank)
    for network in _networks(learner):
        inner = network.sequence
        fixed = [*network.weights[:-1], *network.tables]
        fixed += [*inner.weights, *inner.tables] if inner is not None else ()
        for parameter in fixed:
            parameter.requires_grad_(False)
        for table, ids in zip(network.tables, new_ids, strict=bool(new_ids)):
            if len(ids):
                parts.append(Rows(table, ids))
        if extent == "low_rank" and len(network.weights) > 1:
            parts.append(LowRank(network.weights[0], rank, seed))
    whole = tuple(parameter for parameter in learner.parameters() if parameter.requires_grad)
    for part in parts:
        part.parameter.requires_grad_()
    return Update(whole, parts)


def check_rank(learner: Learner, rank: int) -> None:
    """Checks that a change of the first hidden layers can be of this rank and still of low rank.

    A network without hidden layers has one layer, the last, which the head trains as a whole.

    Raises:
        TrainingError: it cannot.
    """
    for network in _networks(learner):
        _, n_in, n_out = network.weights[0].shape
        least = min(n_in, n_out)
        if len(network.weights) > 1 and rank >= least:
            raise TrainingError(
                "the update of the first layer is not of low rank",
                expected=f"a rank below {least}, since the layer has {n_in} inputs and {n_out} "
                "outputs",
                got=f"warm_start.rank: {rank}",
                fix=("lower warm_start.rank, or " if least > 1 else "")
                + "write warm_start: {update: all}",
            )


def _networks(learner: Learner) -> list[Ensemble]:
    return [module for module in learner.modules() if isinstance(module, Ensemble)]
