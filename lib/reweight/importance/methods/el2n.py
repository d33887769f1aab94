"""`el2n`: length of the error early in training, |p(y|x) - onehot(y)| = sqrt(2) |f(x) - y|.

Paul et al. 2021, "Deep Learning on a Data Diet", on a network's softmax; that of two classes gives
the factor. Averaged over the first epochs, as the paper does over networks. The paper keeps the
rows of the largest scores.
"""

import math
from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.base import Polarity
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class El2n(OutOfBagMethod):
    """Importance in (0, sqrt 2).

    Helps:
        Where labels are right, and to choose a part of the rows that teaches most of what all
        teach.

    Hurts:
        Where labels are wrong: hard is not wrong, and wrong labels are among the largest scores.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows that are still wrong early teach the most, and labels are right"

    method: Literal["el2n"] = "el2n"
    keep: Checkpoints = Checkpoints(which="early", count=5)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Length of the error, float32 [B, M]."""
        return (outputs.probability(learner) - outputs.batch.label[:, None]).abs() * math.sqrt(2)
