"""AdamW whose step costs what a batch touches of a large embedding table, not the table's size.

A row that the batch does not touch has a gradient of 0, and yet a step changes it: it decays, and
moves on with what is left of its moments. Here it takes such steps later, when a batch touches it
or at the end of an epoch, one by one and with the same arithmetic: all numbers are then those of
torch's AdamW. Only of more than `FADED` steps without a gradient the last ones are one
multiplication: the moments have faded by then (0.9^192 is 2e-9), and what is left is the decay.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reweight.importance.batch import Batch
from reweight.importance.embedding_tables import EmbeddingTables
from reweight.importance.ranks import summed

# Steps without a gradient that are taken one by one.
FADED = 192
# A table of fewer numbers takes whole steps, which are faster then.
LARGE = 1 << 21
# Numbers that take steps together: few enough to stay in a cache.
_TOGETHER = 1 << 17
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Optimizer:
    """AdamW over parameters of a learner, by the gradients of all ranks.

    Neither torch's AdamW nor its DDP is used: each imports torch's compiler, which takes a rank
    three seconds.

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
        self.rule = _AdamW(learning_rate, weight_decay)
        self.spaces = _spaces(learner, {id(p) for p in trained})
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
        device = self.others[0].device
        rates = self.rule.rates(torch.tensor(self.steps))
        size, root = (rate.to(device) for rate in rates)
        for parameter, moments in zip(self.others, self.moments, strict=True):
            state = (parameter, *moments, next(gradients))
            for part in zip(*(torch.split(x.view(-1), _TOGETHER) for x in state), strict=True):
                self.rule.move(*part, size, root)
        for space in self.spaces:
            for lazy in space.tables:
                rows = lazy.at(space.touched)
                self.rule.move(*rows, _rows(next(gradients)), size, root)
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
        for own, given in zip(self.moments, state["moments"], strict=True):
            for x, value in zip(own, given, strict=True):
                x.copy_(value)
        for space in self.spaces:
            space.taken.fill_(self.steps)
            for lazy in space.tables:
                lazy.values.copy_(_rows(lazy.whole.data))
                lazy.first, lazy.second = next(tables)
                space.met |= lazy.second.any(1)


class _AdamW:
    """The rule, with the operations of torch's AdamW in their order."""

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        self.learning_rate, self.decay = learning_rate, 1 - learning_rate * weight_decay
        self._sizes = self._roots = torch.empty(0)

    def rates(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """What the bias corrections make of the learning rate and of the second moment's root.

        Args:
            steps: numbers of steps, from 1.
        """
        if (most := int(steps.max())) >= len(self._sizes):
            # From Python's powers, as torch has them, and seldom.
            times = range(1, 2 * most + 1)
            sizes = [0.0, *(-(self.learning_rate / (1 - _BETA1**t)) for t in times)]
            roots = [0.0, *((1 - _BETA2**t) ** 0.5 for t in times)]
            self._sizes, self._roots = torch.tensor(sizes), torch.tensor(roots)
        return self._sizes[steps], self._roots[steps]

    def move(
        self,
        values: Tensor,
        first: Tensor,
        second: Tensor,
        gradient: Tensor | None,
        size: Tensor,
        root: Tensor,
    ) -> None:
        """Takes a step in place; without a gradient, as if it were 0."""
        if self.decay != 1:
            values.mul_(self.decay)
        second.mul_(_BETA2)
        if gradient is None:
            first.sub_(first, alpha=1 - _BETA1)
        else:
            first.lerp_(gradient, 1 - _BETA1)
            second.addcmul_(gradient, gradient, value=1 - _BETA2)
        values.addcdiv_(first * size, second.sqrt().div_(root).add_(_EPSILON))

    def without_gradient(
        self, values: Tensor, first: Tensor, second: Tensor, behind: Tensor, now: int
    ) -> None:
        """Takes the steps that rows have not taken, in place.

        Args:
            values: float32 [W, n].
            first: first moments, likewise.
            second: second moments, likewise.
            behind: steps that each row has not taken, falling, int64 [n].
            now: the number of the last step.
        """
        turns = torch.arange(min(int(behind[0]), FADED))[:, None]
        rates = self.rates((now - behind + 1 + turns).clamp(max=now))
        left = (behind > turns).sum(1).tolist()
        for rows, size, root in zip(left, *(rate.unbind() for rate in rates), strict=True):
            if rows < values.shape[1]:
                values, first, second = (x[:, :rows] for x in (values, first, second))
            self.move(values, first, second, None, size[:rows], root[:rows])
        if len(rest := behind[behind > FADED] - FADED):
            # Of the rows that are left in the last turn.
            for x, factor in ((values, self.decay), (first, _BETA1), (second, _BETA2)):
                x[:, : len(rest)].mul_(_power(factor, rest))


@dataclass
class _Lazy:
    """A table that takes lazy steps.

    Attributes:
        tables: those of the network.
        place: the place of the table among them.
        whole: the parameter for all rows.
        values: its rows as they are after the steps that they have taken, float32 [size, W].
        first: their first moments, likewise.
        second: their second moments, likewise.
    """

    tables: EmbeddingTables
    place: int
    whole: nn.Parameter
    values: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, tables: EmbeddingTables, place: int) -> "_Lazy":
        values = _rows(tables[place].data).clone()
        moments = torch.zeros_like(values), torch.zeros_like(values)
        return cls(tables, place, tables[place], values, *moments)

    @property
    def together(self) -> int:
        """Rows that take steps together."""
        return max(1, _TOGETHER // self.values.shape[1])

    @property
    def table(self) -> nn.Parameter:
        """The parameter that the network has at the moment."""
        table: nn.Parameter = self.tables[self.place]
        return table

    def lend(self, ids: Tensor) -> None:
        """Gives the network a parameter for these rows only.

        It is a new one in every step, since autograd remembers the shape of an old one.
        """
        rows = self.values.index_select(0, ids)
        self.tables[self.place] = nn.Parameter(_table(rows, self.whole))

    def settle(self) -> None:
        """Gives the network the parameter for all rows."""
        self.whole.data.copy_(_table(self.values, self.whole))
        self.tables[self.place] = self.whole

    def at(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Copies of values and moments, float32 [n, W] each."""
        states = (self.values, self.first, self.second)
        values, first, second = (x.index_select(0, ids) for x in states)
        return values, first, second

    def set(self, ids: Tensor, state: Sequence[Tensor]) -> None:
        for x, rows in zip((self.values, self.first, self.second), state, strict=True):
            x.index_copy_(0, ids, rows)


class _Space:
    """An id space, with the large tables that are looked up by its ids.

    Attributes:
        field: the column of a batch's ``ids`` with these ids, if any.
        events: the columns of its sequences with them.
        tables: the tables.
        taken: steps that each row has taken, int64 [size].
        met: whether a row has had a gradient, bool [size].
        touched: the rows that the batches of this step touch.
    """

    def __init__(self, field: int | None, size: int) -> None:
        self.field = field
        self.events: set[int] = set()
        self.tables: list[_Lazy] = []
        self.taken = torch.zeros(size, dtype=torch.int64)
        self.met = torch.zeros(size, dtype=torch.bool)
        self.touched = torch.empty(0, dtype=torch.int64)

    def touch(self, batch: Batch) -> Batch:
        """Finds the rows that all ranks touch; returns the batch with ids numbered as these."""
        columns = [] if self.field is None else [batch.ids[:, self.field]]
        events = sorted(self.events)
        if events:
            assert batch.sequence is not None
            columns += [batch.sequence.ids[..., event] for event in events]
        own = torch.cat([column.flatten() for column in columns])
        self.touched, places = torch.unique(_of_ranks(own), return_inverse=True)
        rank = dist.get_rank() if dist.is_initialized() else 0
        parts = list(torch.split(places[rank], [column.numel() for column in columns]))
        ids, sequence = batch.ids, batch.sequence
        if self.field is not None:
            ids = ids.clone()
            ids[:, self.field] = parts.pop(0)
        if events:
            assert sequence is not None
            read = sequence.ids.clone()
            for event, part in zip(events, parts, strict=True):
                read[..., event] = part.view(read.shape[:2])
            sequence = replace(sequence, ids=read)
        return replace(batch, ids=ids, sequence=sequence)

    def catch_up(self, ids: Tensor, now: int, rule: _AdamW) -> None:
        """Takes the steps that rows have not taken."""
        met = self.met[ids]
        self._decay(ids[~met], now, rule)
        ids = ids[met]
        behind, order = (now - self.taken[ids]).sort(descending=True, stable=True)
        late = int((behind > 0).sum())
        behind, ids = behind[:late], ids[order[:late]]
        for lazy in self.tables:
            parts = torch.split(ids, lazy.together), torch.split(behind, lazy.together)
            for some, steps in zip(*parts, strict=True):
                if len(some):
                    # Rows side by side: their rates differ, those of their numbers do not.
                    values, first, second = (x.T.contiguous() for x in lazy.at(some))
                    rule.without_gradient(values, first, second, steps, now)
                    lazy.set(some, (values.T, first.T, second.T))
        self.taken[ids] = now

    def _decay(self, ids: Tensor, now: int, rule: _AdamW) -> None:
        """The same for rows without moments, which took their last step together."""
        steps = int(now - self.taken[ids[0]]) if len(ids) else 0
        for lazy in self.tables if steps and rule.decay != 1 else ():
            for some in torch.split(ids, lazy.together):
                rows = lazy.values.index_select(0, some)
                for _ in range(min(steps, FADED)):
                    rows.mul_(rule.decay)
                if steps > FADED:
                    rows.mul_(_power(rule.decay, torch.tensor(steps - FADED)))
                lazy.values.index_copy_(0, some, rows)
        self.taken[ids] = now

    def settle(self, now: int, rule: _AdamW) -> None:
        """Takes all steps, and lets the tables hold all rows."""
        self.catch_up(torch.arange(len(self.taken)), now, rule)
        for lazy in self.tables:
            lazy.settle()


def _spaces(learner: nn.Module, trained: Set[int]) -> list[_Space]:
    """The id spaces of the tables that take lazy steps, of those that are trained whole."""
    spaces: dict[tuple[int | None, tuple[int, ...]], _Space] = {}
    for module in learner.modules():
        if not isinstance(module, EmbeddingTables):
            continue
        for place, (field, events) in enumerate(module.places):
            table = module[place]
            is_large = table.numel() >= LARGE and table.device.type == "cpu"
            if not is_large or id(table) not in trained:
                continue
            # Networks that read sequences look up a field's table by the ids of events, too.
            key = (field, events if field is None else ())
            space = spaces.setdefault(key, _Space(field, table.shape[-2]))
            space.events.update(events)
            space.tables.append(_Lazy.of(module, place))
    return list(spaces.values())


def _of_ranks(values: Tensor) -> Tensor:
    """The values of each rank, [ranks, ...]."""
    if not dist.is_initialized():
        return values[None]
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts)


def _mean(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients, averaged over the ranks; 0 for what the loss does not read."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [gradient.contiguous() for gradient in gradients]
    return summed([gradient / dist.get_world_size() for gradient in gradients])


def _power(factor: float, count: Tensor) -> Tensor:
    """What so many products with the factor come to, as float32 holds it."""
    return torch.tensor(factor, dtype=torch.float32).double().pow(count).float()


def _rows(table: Tensor) -> Tensor:
    """float32 [..., size, width] -> [size, W]."""
    return table.movedim(-2, 0).flatten(1)


def _table(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `_rows`, for some rows of a table of this shape."""
    *lead, _, width = like.shape
    return rows.view(len(rows), *lead, width).movedim(0, -2).contiguous()
