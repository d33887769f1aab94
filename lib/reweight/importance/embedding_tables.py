"""The embedding tables of a network, and where a batch holds the ids that they are looked up by."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from reweight.core.sequences import SequenceShape


class Places(NamedTuple):
    """Where a batch holds the ids of a table.

    Attributes:
        field: the column of ``ids``, if any.
        events: the columns of the ids of a sequence.
    """

    field: int | None
    events: tuple[int, ...] = ()


class EmbeddingTables(nn.ParameterList):
    """Tables, float32 [..., size, width]; the batch's ids are rows of them.

    While a step is taken, a table may hold only the rows that the batch touches: its size must not
    be read from its shape.

    Args:
        tables: first values.
        places: of the ids of each table.
    """

    def __init__(self, tables: Iterable[Tensor], places: Iterable[Places]) -> None:
        super().__init__(nn.Parameter(table) for table in tables)
        self.places = tuple(places)

    @classmethod
    def drawn(
        cls,
        sizes: Iterable[int],
        places: Iterable[Places],
        each: tuple[int, int],
        generator: torch.Generator,
    ) -> "EmbeddingTables":
        """Random tables of these sizes, each for M members and of a width."""
        members, width = each
        drawn = [torch.randn((members, size, width), generator=generator) for size in sizes]
        return cls([table / math.sqrt(max(1, width)) for table in drawn], places)


def places_of_ids(fields: int, read: SequenceShape | None = None) -> list[Places]:
    """The places of the fields of ``ids``, in a network that may read sequences, too."""
    names = list(read.fields) if read else []
    shared = read.shared if read else {}
    return [
        Places(field, tuple(k for k, name in enumerate(names) if shared.get(name) == field))
        for field in range(fields)
    ]
