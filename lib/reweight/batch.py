"""The only shape in which rows reach torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B rows of samples.

    Attributes:
        sample_id: int64 [B].
        features: float32 [B, D].
        ids: int64 [B, F]; F may be 0.
        label: float32 [B].
    """

    sample_id: Tensor
    features: Tensor
    ids: Tensor
    label: Tensor

    def __len__(self) -> int:
        """Number of rows, B."""
        return len(self.sample_id)

    def to(self, device: torch.device) -> "Batch":
        """The same rows on a device."""
        return Batch(*[getattr(self, f.name).to(device) for f in fields(self)])

    @staticmethod
    def concat(batches: list["Batch"]) -> "Batch":
        """The rows of several batches, in their order."""
        names = [f.name for f in fields(Batch)]
        return Batch(*[torch.cat([getattr(b, name) for b in batches]) for name in names])


# One pass over the rows: given the number of the epoch, the batches of this rank.
Feed = Callable[[int], Iterator[Batch]]
