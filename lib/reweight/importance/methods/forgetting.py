"""`forgetting`: how often a row that was right is wrong at the next kept epoch.

    importance_i = sum_e 1[ right at e and wrong at e + 1 ];   E where it was never right

Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning".
Rows that were never right get the largest value, E. High is *hard*, as in the paper: it drops the
rows that are never forgotten at no loss, while the often forgotten carry what the network learns.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.base import ImportanceModel, Polarity
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.out_of_bag import OutOfBagMethod, OutOfBagModel
from reweight.importance.training import Checkpoints, Learner, TrainFacts


class Forgetting(OutOfBagMethod):
    """Importance in [0, E], a mean of counts over members.

    Helps:
        Where labels are right: rows that are never forgotten can be dropped at little loss.

    Hurts:
        Rows of a wrong label are among the most forgotten too. Events between epochs that are not
        kept go unseen, so counts of different ``keep`` do not compare.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows that are forgotten again and again are those worth repeating"

    method: Literal["forgetting"] = "forgetting"
    keep: Checkpoints = Checkpoints(which="spread", count=10)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """1 where the given label is the more probable one, else 0, float32 [B, M]."""
        return (outputs.given(learner) > 0.5).float()

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Counts, which are of each member's own path through the epochs."""
        return ForgettingModel(self)


class ForgettingModel(OutOfBagModel):
    """The formula of the module."""

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """Mean number of events over members, float32 [B]."""
        learners = self.checkpoints()
        right = torch.stack([self.method.statistic(outputs, learner) for learner in learners])
        events = (right[:-1] > right[1:]).sum(0).float()
        counts = torch.where(right.any(0), events, len(learners))
        # Who saw a row is the same at every epoch.
        return over_unseen(outputs, learners[-1], counts)
