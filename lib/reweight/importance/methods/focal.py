"""`focal`: (1 - p(given label))^gamma, the weight of the focal loss.

Lin et al. 2017, "Focal Loss for Dense Object Detection". Easy rows lose their weight, so that the
rare and the hard are heard: the opposite of `small_loss` and `r_ce`.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from reweight.importance.base import Polarity
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Learner


class Focal(OutOfBagMethod):
    """Importance in (0, 1).

    Attributes:
        gamma: how fast easy rows lose weight; 0 is `uniform`.

    Helps:
        Where labels are right and easy rows, of which there are many, drown the others.

    Hurts:
        Where labels are wrong: these look like the hardest of rows and gain most. Predictions are
        pulled towards 1/2, so that they are no probabilities any more.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "labels are right, and easy rows drown the others"

    method: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """(1 - p(given label))^gamma, float32 [B, M]."""
        return (1 - outputs.given(learner)) ** self.gamma
