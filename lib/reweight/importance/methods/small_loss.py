"""`small_loss`: rows whose loss is below the q-quantile weigh 1, the others 0.

The selection of Han et al. 2018, "Co-teaching": networks fit correct labels before wrong ones, and
1 - q is the share of labels assumed to be wrong:

    importance_i = 1[ -log p(y_i | x_i) < the q-quantile of the losses ]
"""

from typing import ClassVar, Literal

from pydantic import Field

from reweight.importance.base import ImportanceModel
from reweight.importance.training import TrainFacts
from reweight.importance.truncated import TruncatedMethod, TruncatedModel


class SmallLoss(TruncatedMethod):
    """Importance 0 or 1.

    Attributes:
        q: share of the training rows that weigh 1.
        per_class: whether the quantile is of each class, or of all rows together as published.

    Helps:
        Where a known share of labels is wrong, and both classes are common.

    Hurts:
        With one quantile for all rows, where a class is rare: at 1 % positives the largest losses
        are those of all the positives, and a single class is left. So each class has its own
        quantile unless ``per_class`` is off. Hard rows with correct labels are dropped in any case.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    assumes: ClassVar[str] = "a known share of labels is wrong, and these have the largest losses"

    method: Literal["small_loss"] = "small_loss"
    q: float = Field(default=0.9, gt=0, le=1)
    per_class: bool = True

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Drops the largest losses of both classes."""
        return TruncatedModel(self, (1 - self.q, 1 - self.q), pooled=not self.per_class)
