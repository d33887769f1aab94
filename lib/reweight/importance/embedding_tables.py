"""The embedding tables of a network, and where a batch holds the ids that they are looked up by."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn


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
