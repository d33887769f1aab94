"""`pu_prior`: recorded positives are a random share c of the true ones; the rest look negative.

    c = P(recorded) / pi,    p(y = 1 | x, not recorded) = (1 - c) / c * g(x) / (1 - g(x))

where pi = P(y = 1) must be known, and g(x) = P(recorded | x) comes from members that did not see
the row. Elkan & Noto 2008, "Learning Classifiers from Only Positive and Unlabeled Data". A ranker
learns this, capped at 1, as the label of an unrecorded row, and 1 as that of a recorded one.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod, OutOfBagModel
from reweight.importance.training import Learner, TrainFacts


class PuPrior(OutOfBagMethod):
    """Importance 1, with soft labels whose mean is about ``prior``.

    Attributes:
        prior: pi, the share of true positives among the training rows.

    Helps:
        Where a known share of the positives was recorded, and chance alone decided which.

    Hurts:
        Where features decide which positives are recorded, and where ``prior`` is wrong: the mean
        of the labels follows it whatever the truth.

    Refuses:
        A prior at or below the share of recorded positives. A class so rare that some member of the
        ensemble is likely to see none of it.
    """

    soft: ClassVar[bool] = True
    assumes: ClassVar[str] = "true positives are recorded at random, with one probability for all x"

    method: Literal["pu_prior"] = "pu_prior"
    prior: float = Field(gt=0, lt=1)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """g(x), float32 [B, M]."""
        return outputs.probability(learner)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The soft labels.

        Raises:
            TrainingError: the prior is at or below the share of recorded positives.
        """
        recorded = facts.positives / facts.rows
        if not self.prior > recorded:
            raise TrainingError(
                f"the prior of '{self.name}' leaves no unrecorded positives",
                expected=f"a prior above {recorded:.4g}, the share of recorded positives",
                got=f"{self.prior:.4g}",
                fix="raise the prior, or leave the method out if all positives were recorded",
            )
        return PuModel(self, recorded / self.prior)


class PuModel(OutOfBagModel):
    """The soft labels of recorded and unrecorded rows.

    Args:
        method: the method.
        recorded: c, in (0, 1).
    """

    def __init__(self, method: PuPrior, recorded: float) -> None:
        super().__init__(method)
        self.odds = (1 - recorded) / recorded

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """1, float32 [B]."""
        return torch.ones_like(outputs.batch.label)

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """p(y = 1), float32 [B]."""
        g = super().importance(outputs)
        hidden = (self.odds * g / (1 - g)).clamp(max=1)
        return torch.where(outputs.batch.label > 0.5, 1.0, hidden)
