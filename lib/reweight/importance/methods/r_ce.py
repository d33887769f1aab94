"""`r_ce`: reweighted cross-entropy, p(given label)^a: f^a for y = 1, (1 - f)^a for y = 0.

Wang et al. 2021, "Denoising Implicit Feedback for Recommendation", who find a between 0.2 and 0.3
best. They weight rows while training on them; here the weights come from members that did not see
the row.
"""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Learner


class RCe(OutOfBagMethod):
    """Importance in (0, 1).

    Attributes:
        a: how strongly improbable labels lose weight; 0 gives `uniform`.

    Helps:
        Where positives are doubtful (accidental clicks, returned purchases) and not too rare.

    Hurts:
        Hard rows with correct labels lose weight along with the wrong ones, and where positives are
        few, positives lose most. Where negatives are doubtful, as with position bias, it trusts the
        wrong side.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    probability: ClassVar[bool] = True
    assumes: ClassVar[str] = "the less probable a label is, the less it can be trusted"

    method: Literal["r_ce"] = "r_ce"
    a: float = Field(default=0.25, ge=0)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """p(given label)^a, float32 [B, M]."""
        return outputs.given(learner) ** self.a
