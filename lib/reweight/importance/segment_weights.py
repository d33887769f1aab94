"""Methods that weigh a row by its cell: its segment and its label."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts


class SegmentWeightsModel(ImportanceModel, ABC):
    """A weight for each of S segments, and for rows of no known one, with either label.

    Args:
        facts: with ``segments``.

    Attributes:
        counts: training rows of each cell, int64 [S + 1, 2].
        weight: float32 [S + 1, 2].
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
        """The weight of each cell, [S + 1, 2].

        Args:
            counts: training rows of each cell, float64 [S + 1, 2].
        """

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The weight of the row's cell, float32 [B]."""
        return self.weight.flatten()[_cell(outputs.batch)]

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts training rows by cell."""
        if split == "train":
            self.counts += self.counted(outputs.batch, torch.ones_like(outputs.batch.label))

    def counted(self, batch: Batch, chosen: Tensor) -> Tensor:
        """Rows of each cell, int64 [S + 1, 2].

        Args:
            batch: the rows.
            chosen: 1 for those that count, else 0, float32 [B].
        """
        cells = _cell(batch)[chosen == 1]
        return torch.bincount(cells, minlength=self.counts.numel()).view_as(self.counts)

    def sums(self) -> list[Tensor]:
        """The counts."""
        return [self.counts]

    def finish(self, number: int) -> None:
        """Turns counts into weights."""
        self.weight.copy_(self.weights(self.counts.double()))


def _cell(batch: Batch) -> Tensor:
    """The place of each row's cell in a flat table, int64 [B]; without a label that of label 0."""
    return batch.extra["segment"].long() * 2 + (batch.label == 1).long()
