"""Models that weight a row by its segment and label."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import RowCounts, TrainFacts


class SegmentWeightsModel(ImportanceModel, ABC):
    """A weight by label for each of S segments, and for rows without a known segment.

    Args:
        facts: of the training rows, with ``segments``.

    Attributes:
        counts: training rows by segment and label, int64 [S + 1, 2]; row 0 is no known segment.
        weight: by segment and label, float32 [S + 1, 2].
    """

    counts: Tensor
    weight: Tensor

    def __init__(self, facts: TrainFacts) -> None:
        super().__init__()
        shape = (len(facts.segments) + 1, 2)
        counts = torch.zeros(shape, dtype=torch.int64)
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("weight", torch.ones(shape))

    @abstractmethod
    def weights(self, counts: Tensor) -> Tensor:
        """The weight of each segment and label, [S + 1, 2].

        Args:
            counts: training rows by segment and label, float64 [S + 1, 2].
        """

    def known(self, counts: RowCounts) -> Tensor | None:
        """The weights by the counts of the training rows, as ``ImportanceMethod.known_importance``.

        Raises:
            TrainingError: as ``weights``.
        """
        if counts.segments is None:
            return None
        weight = self.weights(counts.segments.double())
        return torch.stack([weight.double().flatten(), counts.segments.double().flatten()], dim=1)

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The weight of the row's segment and label, float32 [B]."""
        return self.weight.flatten()[_flat_index(outputs.batch)]

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts training rows by segment and label."""
        if split == "train":
            self.counts += self.counted(outputs.batch, torch.ones_like(outputs.batch.label))

    def counted(self, batch: Batch, chosen: Tensor) -> Tensor:
        """Counts the chosen rows by segment and label, int64 [S + 1, 2].

        Args:
            batch: the rows.
            chosen: 1 for rows to count, else 0, float32 [B].
        """
        indices = _flat_index(batch)[chosen == 1]
        return torch.bincount(indices, minlength=self.counts.numel()).view_as(self.counts)

    def sums(self) -> list[Tensor]:
        """The counts."""
        return [self.counts]

    def finish(self, number: int) -> None:
        """Turns counts into weights."""
        self.weight.copy_(self.weights(self.counts.double()))


def _flat_index(batch: Batch) -> Tensor:
    """Index of each row in the flattened table, int64 [B]; a missing label counts as 0."""
    return batch.extra["segment"].long() * 2 + (batch.label == 1).long()
