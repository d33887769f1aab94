"""`jtt`: rows with the largest losses early in training weigh lambda_up, all others 1.

    importance_i = lambda_up if -log p(y_i | x_i) is among the largest of its class, else 1

Liu et al. 2021, "Just Train Twice: Improving Group Robustness without Training Group Information":
what a model gets wrong before it has learnt the hard rows stands in for the groups that it
neglects, and a second model is trained with these rows repeated. The authors tune lambda_up for
each data set on rows with known groups: 4 and 6 on texts, 50 and 100 on images; 5 is a moderate
choice if it is not tuned.

The paper selects rows on the wrong side of 1/2, which at 1 % positives is every positive. Here a
share of the rows is selected instead. Losses come from members that did not see the row.
"""

from typing import ClassVar, Literal

from pydantic import Field

from reweight.importance.base import ImportanceModel, Polarity
from reweight.importance.training import Checkpoints, TrainFacts
from reweight.importance.truncated import TruncatedMethod, TruncatedModel


class Jtt(TruncatedMethod):
    """Importance 1 or ``upweight``.

    Attributes:
        upweight: lambda_up; 1 gives `uniform`.
        share: largest share of the training rows to upweight.
        per_class: whether the share is of each class, or of all rows together.

    Helps:
        Where some groups are neglected but not known, and labels are correct.

    Hurts:
        Rows with wrong labels have among the largest losses, and gain the same weight. With one
        share for all rows and a rare class, only positives gain, so each class has its own share
        unless ``per_class`` is off.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "large early losses mark neglected groups, and labels are correct"

    method: Literal["jtt"] = "jtt"
    keep: Checkpoints = Checkpoints(which="early", count=5)
    upweight: float = Field(default=5.0, ge=1)
    share: float = Field(default=0.1, gt=0, lt=1)
    per_class: bool = True

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Upweights both classes below their cut."""
        shares = (self.share, self.share)
        return TruncatedModel(self, shares, pooled=not self.per_class, below=self.upweight)
