"""`focal`: (1 - p(given label))^gamma, the weight of the focal loss.

Lin et al. 2017, "Focal Loss for Dense Object Detection". Easy rows lose weight, so that rare and
hard ones count more: the opposite of `small_loss` and `r_ce`.
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
        gamma: how fast easy rows lose weight; 0 gives `uniform`.

    Helps:
        Where labels are correct, and many easy rows drown out the others.

    Hurts:
        Where labels are wrong: such rows look like the hardest and gain most. Predictions are
        pulled towards 1/2, so they are no longer probabilities.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "labels are correct, and easy rows drown out the others"

    method: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """(1 - p(given label))^gamma, float32 [B, M]."""
        return (1 - outputs.given(learner)) ** self.gamma
