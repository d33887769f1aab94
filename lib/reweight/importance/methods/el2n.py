"""`el2n`: norm of the error early in training, |p(y|x) - onehot(y)| = sqrt(2) |f(x) - y|.

Paul et al. 2021, "Deep Learning on a Data Diet", on a network's softmax; with two classes this
gives the factor. It is averaged over the first epochs, where the paper averages over networks. The
paper keeps the rows with the largest scores.
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
        Where labels are correct, and to choose a subset of the rows that teaches most of what all
        of them teach.

    Hurts:
        Where labels are wrong: hard does not mean wrong, but wrong labels score highest too.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows with large early errors teach the most, and labels are correct"

    method: Literal["el2n"] = "el2n"
    keep: Checkpoints = Checkpoints(which="early", count=5)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Norm of the error, float32 [B, M]."""
        return (outputs.probability(learner) - outputs.batch.label[:, None]).abs() * math.sqrt(2)
