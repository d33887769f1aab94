"""`data_oob`: how often bagged learners that did not see a row predict its label correctly.

    importance_i = mean over members m with w_im = 0 of 1[predicted_m(x_i) = y_i]

Kwon & Zou 2023, "Data-OOB: Out-of-bag Estimate as a Simple and Efficient Data Value", with 800
bags. w_im is Poisson(1) from a hash, a streaming bootstrap; all members are linear and train
together as one matrix product. About M / e members do not see a given row, so values lie on a grid
with that many steps.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from reweight.core.section import Widths
from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.membership import Membership
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class BaggedTraining(EnsembleTraining):
    """Linear members on Poisson bootstraps."""

    learning_rate: float = Field(default=0.02, gt=0)
    members: int = Field(default=200, ge=2)
    membership: Membership = "poisson"
    hidden: Widths = ()
    bins: int = Field(default=0, ge=0)


class DataOob(OutOfBagMethod):
    """Importance in [0, 1]: the share of correct out-of-bag predictions.

    Helps:
        To find wrong labels, where both classes are common and a linear model is right about most
        rows.

    Hurts:
        Where positives are rare: correctness at threshold 1/2 gives nearly every negative 1 and
        every positive 0, whether the label is right or wrong. With few members there are ties.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    assumes: ClassVar[str] = "a linear model is right about most rows, and neither class is rare"
    cost: ClassVar[str] = "M F with a linear F, as one matrix product"

    method: Literal["data_oob"] = "data_oob"
    training: BaggedTraining = BaggedTraining()
    keep: Checkpoints = Checkpoints()

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """1 where the prediction is the given label, float32 [B, M]."""
        predicted = outputs.logits(learner) > 0
        return (predicted == (outputs.batch.label[:, None] > 0)).float()
