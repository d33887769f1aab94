"""`aum`: area under the margin, the mean over epochs of z_given - z_other = (2y - 1) z.

Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking". Of either
sign and without a bound: its weights are made of ranks. Unlike a probability, a margin
does not saturate, so it grows with training and is comparable only within one training.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class Aum(OutOfBagMethod):
    """Importance in log odds, of either sign.

    Helps:
        Where labels are wrong at random: a margin does not saturate as a probability does, so that
        rows at the sure end keep their order.

    Hurts:
        As `self_confidence` does: hard and rare rows that are right fall with the wrong ones. As it
        grows with training, numbers of two trainings do not compare.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    signed: ClassVar[bool] = True
    assumes: ClassVar[str] = "rows of a wrong label are pulled to the other class all the while"

    method: Literal["aum"] = "aum"
    keep: Checkpoints = Checkpoints(which="spread", count=10)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """The margin, float32 [B, M]."""
        return (2 * outputs.batch.label[:, None] - 1) * outputs.logits(learner)
