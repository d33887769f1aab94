"""AdamW over parameters of a learner, by the gradients of all ranks; lazy in large tables."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reweight.importance.batch import Batch
from reweight.importance.ranks import summed
from reweight.training.adamw import AdamW
from reweight.training.lazy_tables import TOGETHER, id_spaces, rows_of


class Optimizer:
    """AdamW over parameters of a learner, lazy in large tables unless a GPU trains.

    torch's DDP is not used: it imports torch's compiler, which takes a rank three seconds.

    Args:
        learner: the learner.
        trained: what is trained of it.
        learning_rate: of AdamW.
        weight_decay: of AdamW; 0 is Adam.
    """

    def __init__(
        self,
        learner: nn.Module,
        trained: Sequence[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        self.rule = AdamW(learning_rate, weight_decay)
        self.spaces = id_spaces(learner, {id(p) for p in trained})
        lazy = {id(table) for table in self.tables()}
        self.others = [p for p in trained if id(p) not in lazy]
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.others]
        self.steps = 0

    def tables(self) -> list[nn.Parameter]:
        """The tables that take lazy steps."""
        return [lazy.table for space in self.spaces for lazy in space.tables]

    def begin(self, batch: Batch) -> Batch:
        """Begins a step: the tables hold only the rows that the batches of all ranks touch.

        Returns:
            The batch, its ids numbered as these rows.
        """
        for parameter in self.others:
            parameter.grad = None
        for space in self.spaces:
            batch = space.touch(batch)
            space.catch_up(space.touched, self.steps, self.rule)
            for lazy in space.tables:
                lazy.lend(space.touched)
        return batch

    @torch.no_grad()
    def step(self) -> None:
        """Takes the step, by the gradients that the parameters have got since it began."""
        self.steps += 1
        gradients = iter(_mean([*self.others, *self.tables()]))
        size, root = self.rule.rates(torch.tensor(self.steps))
        for parameter, moments in zip(self.others, self.moments, strict=True):
            state = (parameter, *moments, next(gradients))
            # A GPU has no such caches.
            together = parameter.numel() if parameter.is_cuda else TOGETHER
            parts = zip(*(torch.split(x.view(-1), together) for x in state), strict=True)
            for values, first, second, gradient in parts:
                self.rule.move(values, first, second, gradient, size, root)
        for space in self.spaces:
            for lazy in space.tables:
                rows = lazy.at(space.touched)
                self.rule.move(*rows, rows_of(next(gradients)), size, root)
                lazy.set(space.touched, rows)
            space.taken[space.touched], space.met[space.touched] = self.steps, True

    def settle(self) -> None:
        """Takes all steps that rows have not yet taken; the tables then hold all rows."""
        for space in self.spaces:
            space.settle(self.steps, self.rule)

    def state_dict(self) -> dict[str, Any]:
        """The state, after ``settle``."""
        lazy = [lazy for space in self.spaces for lazy in space.tables]
        tables = [(table.first, table.second) for table in lazy]
        return {"steps": self.steps, "moments": self.moments, "tables": tables}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up a state, after the learner has taken up its parameters."""
        self.steps, tables = state["steps"], iter(state["tables"])
        for moments, stored in zip(self.moments, state["moments"], strict=True):
            for x, value in zip(moments, stored, strict=True):
                x.copy_(value)
        for space in self.spaces:
            space.taken.fill_(self.steps)
            for lazy in space.tables:
                lazy.values.copy_(rows_of(lazy.whole.data))
                lazy.first, lazy.second = next(tables)
                space.met |= lazy.second.any(1)


def _mean(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients, averaged over the ranks; 0 for what the loss does not read."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [gradient.contiguous() for gradient in gradients]
    return summed([gradient / dist.get_world_size() for gradient in gradients])
