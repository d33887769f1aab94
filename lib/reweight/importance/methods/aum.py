"""`aum`: area under the margin, the mean over epochs of z_given - z_other = (2y - 1) z.

Pleiss et al. 2020, "Identifying Mislabeled Data using the Area Under the Margin Ranking". The
margin has either sign and no bound, so weights are based on ranks. Unlike a probability it does not
saturate, so it grows with training and is comparable only within one training.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class Aum(OutOfBagMethod):
    """Importance in log odds, of either sign.

    Helps:
        Where labels are wrong at random: unlike a probability, a margin does not saturate, so rows
        with confident predictions keep their order.

    Hurts:
        Like `self_confidence`, it lowers hard and rare rows with correct labels along with the
        wrong ones. As the margin grows with training, values from two trainings are not comparable.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    signed: ClassVar[bool] = True
    assumes: ClassVar[str] = "rows with a wrong label are pulled towards the other class throughout"

    method: Literal["aum"] = "aum"
    keep: Checkpoints = Checkpoints(which="spread", count=10)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """The margin, float32 [B, M]."""
        return (2 * outputs.batch.label[:, None] - 1) * outputs.logits(learner)
