"""`jtt`: rows with the largest losses early in training weigh lambda_up, the others 1.

    importance_i = lambda_up if -log p(y_i | x_i) is among the largest of its class, else 1

Liu et al. 2021, "Just Train Twice: Improving Group Robustness without Training Group Information":
what a model gets wrong before it has learnt the hard rows is taken for the groups that it neglects,
and a second model is trained with these rows repeated. The authors tune lambda_up for
each data set on rows of known groups, to 4 and 6 on texts and to 50 and 100 on images; 5 is a
moderate choice where it is not tuned.

The paper's rows are those on the wrong side of 1/2, which at 1 % positives is every positive. So a
share of the rows is taken. Losses are by members that did not see the row.
"""

from typing import ClassVar, Literal

from pydantic import Field

from reweight.importance.base import ImportanceModel, Polarity
from reweight.importance.training import Checkpoints, TrainFacts
from reweight.importance.truncated import TruncatedMethod, TruncatedModel


class Jtt(TruncatedMethod):
    """Importance 1 or ``upweight``.

    Attributes:
        upweight: lambda_up; 1 is `uniform`.
        share: largest share of the training rows that weigh it.
        per_class: whether the share is of each class, or one of all rows.

    Helps:
        Where groups are neglected that nobody has named, and labels are right.

    Hurts:
        Rows of wrong labels are among the largest losses, and gain the same weight. With one share
        for all rows and a rare class, all that gains are positives: so each class has its own
        unless ``per_class`` is off.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "what is wrong early are neglected groups, and labels are right"

    method: Literal["jtt"] = "jtt"
    keep: Checkpoints = Checkpoints(which="early", count=5)
    upweight: float = Field(default=5.0, ge=1)
    share: float = Field(default=0.1, gt=0, lt=1)
    per_class: bool = True

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Cuts both classes."""
        shares = (self.share, self.share)
        return TruncatedModel(self, shares, pooled=not self.per_class, below=self.upweight)
