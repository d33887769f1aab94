"""Large embedding tables, of which a step costs what a batch touches, not the table's size.

A row that the batch does not touch has a gradient of 0, and yet a step changes it: it decays, and
moves on with what is left of its moments. Here it takes such steps later, when a batch touches it
or at the end of an epoch, one by one and with the same arithmetic: all numbers are then those of
torch's AdamW. Only of more than `FADED` steps without a gradient the last ones are one
multiplication: the moments have faded by then (0.9^192 is 2e-9), and what is left is the decay.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reweight.importance.batch import Batch
from reweight.importance.embedding_tables import EmbeddingTables
from reweight.training.adamw import FADED, AdamW, power

# A table of fewer numbers takes whole steps, which are faster then.
LARGE = 1 << 21
# Numbers that take steps together: few enough to stay in a cache.
TOGETHER = 1 << 17


@dataclass
class LazyTable:
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
    def of(cls, tables: EmbeddingTables, place: int) -> "LazyTable":
        """A table before its first step."""
        values = rows_of(tables[place].data).clone()
        moments = torch.zeros_like(values), torch.zeros_like(values)
        return cls(tables, place, tables[place], values, *moments)

    @property
    def together(self) -> int:
        """Rows that take steps together."""
        return max(1, TOGETHER // self.values.shape[1])

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
        """Sets values and moments, float32 [n, W] each."""
        for x, rows in zip((self.values, self.first, self.second), state, strict=True):
            x.index_copy_(0, ids, rows)


class IdSpace:
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
        self.tables: list[LazyTable] = []
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
        touched_ids = torch.cat([column.flatten() for column in columns])
        self.touched, places = torch.unique(_of_ranks(touched_ids), return_inverse=True)
        rank = dist.get_rank() if dist.is_initialized() else 0
        parts = list(torch.split(places[rank], [column.numel() for column in columns]))
        ids, sequence = batch.ids, batch.sequence
        if self.field is not None:
            ids = ids.clone()
            ids[:, self.field] = parts.pop(0)
        if events:
            assert sequence is not None
            event_ids = sequence.ids.clone()
            for event, part in zip(events, parts, strict=True):
                event_ids[..., event] = part.view(event_ids.shape[:2])
            sequence = replace(sequence, ids=event_ids)
        return replace(batch, ids=ids, sequence=sequence)

    def catch_up(self, ids: Tensor, now: int, rule: AdamW) -> None:
        """Takes the steps that rows have not taken."""
        met = self.met[ids]
        self._decay(ids[~met], now, rule)
        ids = ids[met]
        behind, order = (now - self.taken[ids]).sort(descending=True, stable=True)
        late = int((behind > 0).sum())
        behind, ids = behind[:late], ids[order[:late]]
        for lazy in self.tables:
            parts = torch.split(ids, lazy.together), torch.split(behind, lazy.together)
            for chunk, steps in zip(*parts, strict=True):
                if len(chunk):
                    # Rows side by side: their rates differ, those of their numbers do not.
                    values, first, second = (x.T.contiguous() for x in lazy.at(chunk))
                    rule.without_gradient(values, first, second, steps, now)
                    lazy.set(chunk, (values.T, first.T, second.T))
        self.taken[ids] = now

    def _decay(self, ids: Tensor, now: int, rule: AdamW) -> None:
        """The same for rows without moments, which took their last step together."""
        steps = int(now - self.taken[ids[0]]) if len(ids) else 0
        for lazy in self.tables if steps and rule.decay != 1 else ():
            for chunk in torch.split(ids, lazy.together):
                rows = lazy.values.index_select(0, chunk)
                for _ in range(min(steps, FADED)):
                    rows.mul_(rule.decay)
                if steps > FADED:
                    rows.mul_(power(rule.decay, torch.tensor(steps - FADED)))
                lazy.values.index_copy_(0, chunk, rows)
        self.taken[ids] = now

    def settle(self, now: int, rule: AdamW) -> None:
        """Takes all steps, and lets the tables hold all rows."""
        if all(lazy.table is lazy.whole for lazy in self.tables):
            return
        self.catch_up(torch.arange(len(self.taken)), now, rule)
        for lazy in self.tables:
            lazy.settle()


def id_spaces(learner: nn.Module, trained: Set[int]) -> list[IdSpace]:
    """The id spaces of the tables that take lazy steps.

    Args:
        learner: the learner.
        trained: ``id`` of the parameters that are trained whole.
    """
    spaces: dict[tuple[int | None, tuple[int, ...]], IdSpace] = {}
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
            space = spaces.setdefault(key, IdSpace(field, table.shape[-2]))
            space.events.update(events)
            space.tables.append(LazyTable.of(module, place))
    return list(spaces.values())


def _of_ranks(values: Tensor) -> Tensor:
    """The values of each rank, [ranks, ...]."""
    if not dist.is_initialized():
        return values[None]
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return torch.stack(parts)


def rows_of(table: Tensor) -> Tensor:
    """float32 [..., size, width] -> [size, W]."""
    return table.movedim(-2, 0).flatten(1)


def _table(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `rows_of`, for some rows of a table of this shape."""
    *lead, _, width = like.shape
    return rows.view(len(rows), *lead, width).movedim(0, -2).contiguous()
