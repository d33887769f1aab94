"""`small_loss`: rows whose loss is below the q-quantile weigh 1, the others 0.

The selection of Han et al. 2018, "Co-teaching": networks fit right labels before wrong ones, and
1 - q is the share that is thought wrong:

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
        per_class: whether the quantile is of each class, or one of all rows as published.

    Helps:
        Where a known share of labels is wrong, and both classes are common.

    Hurts:
        With one quantile for all rows, where a class is rare: at 1 % positives the largest losses
        are the positives, all of them, and a single class is left. So each class has its own unless
        ``per_class`` is off. Hard rows that are right are dropped in any case.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    assumes: ClassVar[str] = "a known share of labels is wrong, and right ones have smaller losses"

    method: Literal["small_loss"] = "small_loss"
    q: float = Field(default=0.9, gt=0, le=1)
    per_class: bool = True

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Cuts both classes."""
        return TruncatedModel(self, (1 - self.q, 1 - self.q), pooled=not self.per_class)
