"""The only form in which rows reach torch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from reweight.core.sequences import NO_EVENT, SEQUENCE

# Columns of every batch; all other columns of numbers are float32.
_DTYPES: Mapping[str, type] = {"sample_id": np.int64, "ids": np.int64, SEQUENCE[0]: np.int64}
# What the members of an ensemble compute for so many rows stays in a core's cache: 16 of them score
# three times as many rows a second as in batches of 10,000.
_PART = 1024


@dataclass(frozen=True)
class Sequences:
    """The last events before each of B rows, oldest first, padded at the end.

    Attributes:
        ids: hashed values of the fields of the events, int64 [B, L, F].
        gaps: how long before the row an event was, as log(1 + seconds), float32 [B, L]; below 0
            where there is no event.
    """

    ids: Tensor
    gaps: Tensor

    @classmethod
    def of(cls, ids: Tensor, gaps: Tensor) -> "Sequences":
        """The sequences of a batch.

        Args:
            ids: int64 [B, L F], those of an event together.
            gaps: float32 [B, L].
        """
        rows, length = gaps.shape
        return cls(ids.reshape(rows, length, ids.shape[1] // max(1, length)), gaps)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Sequences":
        """Applies the same function to both tensors."""
        return Sequences(change(self.ids), change(self.gaps))

    def without_events(self) -> "Sequences":
        """As many sequences without any event."""
        return Sequences(torch.zeros_like(self.ids), torch.full_like(self.gaps, NO_EVENT))


@dataclass(frozen=True)
class Batch:
    """B rows of samples.

    Attributes:
        sample_id: int64 [B].
        features: float32 [B, D].
        ids: int64 [B, F]; F may be 0.
        label: float32 [B].
        extra: additional columns that methods declare in ``needs``, float32 [B] by name.
        sequence: the last events before each row; None where nothing reads them.
    """

    sample_id: Tensor
    features: Tensor
    ids: Tensor
    label: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    sequence: Sequences | None = None

    def __len__(self) -> int:
        """Number of rows, B."""
        return len(self.sample_id)

    @classmethod
    def from_arrow(cls, columns: Mapping[str, Any], extra: Mapping[str, str]) -> "Batch":
        """The rows of Arrow columns; a null is NaN.

        Args:
            columns: ``sample_id``, ``features``, ``label``, where there are categorical features
                ``ids``, where they are read those of the sequence, and the extra columns: arrays of
                numbers, or of lists of equal length.
            extra: name in the batch -> name of the column.
        """
        sample_id = _tensor(columns["sample_id"], "sample_id")
        no_ids = torch.empty((len(sample_id), 0), dtype=torch.int64)
        sequence = [_tensor(columns[name], name) for name in SEQUENCE if name in columns]
        return cls(
            sample_id,
            _tensor(columns["features"], "features"),
            _tensor(columns["ids"], "ids") if "ids" in columns else no_ids,
            _tensor(columns["label"], "label"),
            {name: _tensor(columns[column], name) for name, column in extra.items()},
            Sequences.of(*sequence) if sequence else None,
        )

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """Applies the same function to every tensor."""
        return Batch(
            change(self.sample_id),
            change(self.features),
            change(self.ids),
            change(self.label),
            {name: change(values) for name, values in self.extra.items()},
            self.sequence and self.sequence.map(change),
        )

    def to(self, device: torch.device) -> "Batch":
        """Moves the rows to a device."""
        return self.map(lambda values: values.to(device))

    def rows(self, chosen: Tensor) -> "Batch":
        """The rows at the given indices, in that order, or those that a mask selects."""
        return self.map(lambda values: values[chosen])

    def parts(self) -> Iterator["Batch"]:
        """The rows in order, a thousand at a time; one part without rows if there are none."""
        for rows in torch.split(torch.arange(len(self)), _PART):
            yield self.rows(rows)

    @staticmethod
    def concat(batches: list["Batch"]) -> "Batch":
        """The rows of several batches, in order."""
        sequences = [b.sequence for b in batches if b.sequence is not None]
        return Batch(
            torch.cat([b.sample_id for b in batches]),
            torch.cat([b.features for b in batches]),
            torch.cat([b.ids for b in batches]),
            torch.cat([b.label for b in batches]),
            {name: torch.cat([b.extra[name] for b in batches]) for name in batches[0].extra},
            Sequences(torch.cat([s.ids for s in sequences]), torch.cat([s.gaps for s in sequences]))
            if sequences
            else None,
        )


def _tensor(column: Any, name: str) -> Tensor:
    """A column of numbers, [B], or of lists of equal length, [B, length]."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    dtype = _DTYPES.get(name, np.float32)
    # Copied, since Arrow's memory is read-only and torch needs writable memory.
    if not pa.types.is_list(column.type):
        return torch.from_numpy(np.array(column, dtype=dtype))
    flat: NDArray[Any] = np.array(column.flatten(), dtype=dtype)
    return torch.from_numpy(flat).reshape(len(column), -1 if flat.size else 0)


# One pass over the rows: takes the number of the epoch, yields this rank's batches.
Feed = Callable[[int], Iterator[Batch]]
