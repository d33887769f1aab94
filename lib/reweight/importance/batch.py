"""The only shape in which rows reach torch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

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
        extra: further columns that a method declared it needs, float32 [B] by name.
    """

    sample_id: Tensor
    features: Tensor
    ids: Tensor
    label: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of rows, B."""
        return len(self.sample_id)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with every tensor changed in the same way."""
        return Batch(
            change(self.sample_id),
            change(self.features),
            change(self.ids),
            change(self.label),
            {name: change(values) for name, values in self.extra.items()},
        )

    def to(self, device: torch.device) -> "Batch":
        """The same rows on a device."""
        return self.map(lambda values: values.to(device))

    def rows(self, chosen: Tensor) -> "Batch":
        """The rows at these places, in this order."""
        return self.map(lambda values: values[chosen])

    @staticmethod
    def concat(batches: list["Batch"]) -> "Batch":
        """The rows of several batches, in their order."""
        return Batch(
            torch.cat([b.sample_id for b in batches]),
            torch.cat([b.features for b in batches]),
            torch.cat([b.ids for b in batches]),
            torch.cat([b.label for b in batches]),
            {name: torch.cat([b.extra[name] for b in batches]) for name in batches[0].extra},
        )


# One pass over the rows: given the number of the epoch, the batches of this rank.
Feed = Callable[[int], Iterator[Batch]]
