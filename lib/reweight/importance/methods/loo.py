"""`loo`: how much the validation loss rises when a row is left out (leave-one-out).

    value_i = V(c without i) - V(c of all rows)

where V is the mean log loss of the validation rows and c a logistic regression, refitted to its
optimum without each row. The classical reference (Cook 1977, "Detection of Influential Observation
in Linear Regression"; Koh & Liang 2017 approximate it).
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.batched_logistic_regression import BatchedLogisticRegression
from reweight.importance.valuation import Valuation, ValuationMethod


class Loo(ValuationMethod):
    """Importance is a change in log loss, of either sign.

    Attributes:
        C: inverse regularisation strength, like the ranker's (``ranking.C``).

    Helps:
        As a reference on small data: the effect of leaving a row out, measured by leaving it out.

    Hurts:
        A row with a duplicate is worth nothing, however much the pair is worth. Errors in the
        validation rows count as truth.

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite. Features so large that a logistic regression does not converge.
    """

    assumes: ClassVar[str] = "a linear model is informative, and the validation labels are correct"
    instead: ClassVar[str] = "influence_lr"

    method: Literal["loo"] = "loo"
    C: float = Field(default=1.0, gt=0)

    def values(self, rows: Valuation) -> Tensor:
        """One fit on all rows and one without each row, float64 [N]."""
        regressions = BatchedLogisticRegression.of(rows, ridge=1 / self.C)
        n, p = regressions.x.shape
        self.say(f"{n + 1:,} fits of a logistic regression with {p} coefficients")
        full = regressions.fit(torch.ones((1, n)).double(), torch.zeros((1, p)).double())
        losses = []
        for left_out in torch.split(torch.arange(n), regressions.at_once):
            member = torch.ones((len(left_out), n)).double()
            member[torch.arange(len(left_out)), left_out] = 0
            refitted = regressions.fit(member, full.expand(len(left_out), -1))
            losses.append(regressions.log_loss(refitted))
        return torch.cat(losses) - regressions.log_loss(full)
