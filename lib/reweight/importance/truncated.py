"""Methods that weight the rows with the largest losses differently from all others.

The loss of a row is -log p(given label) under the members that did not see it. The cut is read off
a histogram of p(given label) over the training rows, on a fixed log-odds scale, so that the counts
of all ranks add up. Rows in the same bin are on the same side of the cut, and never more rows than
requested are below it.
"""

from typing import ClassVar

import torch
from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod, OutOfBagModel
from reweight.importance.training import Learner

_MAX_LOG_ODDS, _BINS = 16.0, 4096  # float32 probabilities end at log odds of about 16


class TruncatedMethod(OutOfBagMethod):
    """Importance 1, or another value for the rows with the largest losses in their class."""

    passes: ClassVar[int] = 1

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """p(given label), float32 [B, M]."""
        return outputs.given(learner)


class TruncatedModel(OutOfBagModel):
    """1 for rows at or above the cut of their class, another weight below it.

    Args:
        method: the method.
        shares: largest share of the training rows with y = 0 and with y = 1 below the cut.
        pooled: whether the shares are of all training rows instead of those of one class.
        below: the weight of rows below the cut.
    """

    histogram: Tensor
    cut: Tensor

    def __init__(
        self,
        method: TruncatedMethod,
        shares: tuple[float, float],
        *,
        pooled: bool = False,
        below: float = 0.0,
    ) -> None:
        super().__init__(method)
        self.shares, self.pooled, self.below = shares, pooled, below
        empty = torch.zeros((2, _BINS), dtype=torch.int64)
        self.register_buffer("histogram", empty, persistent=False)
        self.register_buffer("cut", torch.zeros(2, dtype=torch.int64))

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts training rows by class and bin."""
        if split == "train":
            index = outputs.batch.label.long() * _BINS + self._bin(outputs)
            self.histogram += index.bincount(minlength=2 * _BINS).view(2, _BINS)

    def sums(self) -> list[Tensor]:
        """The counts."""
        return [self.histogram]

    def finish(self, number: int) -> None:
        """Sets the cut of each class as high as its share allows."""
        for label, share in enumerate(self.shares):
            counts = self.histogram.sum(0) if self.pooled else self.histogram[label]
            # Rounded, since 1 - 0.9 is slightly less than 0.1.
            allowed = round(share * counts.sum().item(), 6)
            # If no training row may be below the cut, no later row should be either.
            self.cut[label] = (counts.cumsum(0) <= allowed).sum() if allowed >= 1 else 0

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """1, or the weight below the cut, float32 [B]."""
        low = self._bin(outputs) < self.cut[outputs.batch.label.long()]
        return torch.where(low, self.below, 1.0)

    def _bin(self, outputs: EnsembleOutputs) -> Tensor:
        z = super().importance(outputs).logit(eps=1e-7)
        return ((z + _MAX_LOG_ODDS) * (_BINS / (2 * _MAX_LOG_ODDS))).long().clamp(0, _BINS - 1)
