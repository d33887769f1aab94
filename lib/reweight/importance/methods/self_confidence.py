"""`self_confidence`: p(given label) from members that did not see the row (confident learning).

Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels". In-sample
probabilities would measure how well a row was memorised. It is averaged over the epochs around the
lowest out-of-bag log loss on the given labels: before them little is learnt, after them wrong
labels are learnt too.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Learner


class SelfConfidence(OutOfBagMethod):
    """Importance p(given label), in (0, 1).

    Attributes:
        margin: whether importance is the normalised margin p(given) - p(other) = 2 p - 1 instead,
            in (-1, 1): the same order of rows, with weights based on ranks.

    Helps:
        Where labels are wrong at random and the correct ones can be learnt: it is the method for
        finding wrong labels.

    Hurts:
        Where one class is rare: rare and wrong look alike, so positives lose weight and log loss
        gets worse. A small segment that differs from the majority loses weight too, and so do the
        newest rows if the relation between features and label drifts.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    probability: ClassVar[bool] = True
    assumes: ClassVar[str] = "labels that most similar rows contradict are wrong"

    method: Literal["self_confidence"] = "self_confidence"
    margin: bool = False

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """With ``margin``: below 0 for labels that are more likely wrong than right."""
        return self.margin

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """p(given label) or the margin, float32 [B, M]."""
        given = outputs.given(learner)
        return 2 * given - 1 if self.margin else given
