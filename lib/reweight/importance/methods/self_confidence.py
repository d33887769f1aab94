"""`self_confidence`: p(given label) by members that did not see the row (confident learning).

Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels". In-sample
probabilities would say how well a row was memorised. Averaged over the epochs around the lowest
out-of-bag log loss on the given labels: before, nothing is learnt; after, wrong labels are.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Learner


class SelfConfidence(OutOfBagMethod):
    """Importance p(given label), in (0, 1).

    Attributes:
        margin: the normalised margin p(given) - p(other) = 2 p - 1 instead, in (-1, 1): the same
            order of rows, with weights made of ranks.

    Helps:
        Where labels are wrong at random and the right ones can be learnt: it is the method to find
        wrong labels with.

    Hurts:
        Where one class is rare: rare and wrong look alike, so that positives lose weight and log
        loss with it. A small group that differs from the majority loses as well, and so do the
        newest rows where the relation of features and label moves.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    probability: ClassVar[bool] = True
    assumes: ClassVar[str] = "labels that most rows of their kind contradict are wrong"

    method: Literal["self_confidence"] = "self_confidence"
    margin: bool = False

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Margins are below 0 for labels that are more likely wrong."""
        return self.margin

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """p(given label) or the margin, float32 [B, M]."""
        given = outputs.given(learner)
        return 2 * given - 1 if self.margin else given
