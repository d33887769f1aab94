"""`forgetting`: how often a correctly classified row is wrong at the next checkpoint.

    importance_i = sum_e 1[ right at e and wrong at e + 1 ];   E if it was never right

Toneva et al. 2019, "An Empirical Study of Example Forgetting during Deep Neural Network Learning".
Rows that were never right get the largest value, E. High means *hard*, as in the paper: rows that
are never forgotten can be dropped at no loss, while those often forgotten carry what the network
learns.
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
        Where labels are correct: rows that are never forgotten can be dropped at little loss.

    Hurts:
        Rows with a wrong label are among the most forgotten too. Events between checkpoints go
        unseen, so counts for different ``keep`` are not comparable.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows that are forgotten again and again are worth repeating"

    method: Literal["forgetting"] = "forgetting"
    keep: Checkpoints = Checkpoints(which="spread", count=10)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """1 where the given label is the more probable one, else 0, float32 [B, M]."""
        return (outputs.given(learner) > 0.5).float()

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Counts along each member's own path through the epochs."""
        return ForgettingModel(self)


class ForgettingModel(OutOfBagModel):
    """The formula of the module."""

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """Mean number of events over members, float32 [B]."""
        learners = self.checkpoints()
        right = torch.stack([self.method.statistic(outputs, learner) for learner in learners])
        events = (right[:-1] > right[1:]).sum(0).float()
        counts = torch.where(right.any(0), events, len(learners))
        # Membership is the same at every epoch.
        return over_unseen(outputs, learners[-1], counts)
