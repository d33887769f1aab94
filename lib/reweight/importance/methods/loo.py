"""`loo`: how much the validation loss rises when a row is left out (leave-one-out).

    value_i = V(c without i) - V(c of all rows)

with V the mean log loss of the validation rows and c a logistic regression, fitted again to its
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
    """Importance is a change of log loss, of any sign.

    Attributes:
        C: inverse strength of regularisation, as the ranker's (``ranking.C``).

    Helps:
        As a reference on small data: what leaving out a row does, by leaving it out.

    Hurts:
        A row that has a twin is worth nothing, however much the pair is worth. What the validation
        rows have wrong it takes for right.

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite. Features so large that a logistic regression finds no optimum.
    """

    assumes: ClassVar[str] = "a linear model tells, and the validation labels are right"
    instead: ClassVar[str] = "influence_lr"

    method: Literal["loo"] = "loo"
    C: float = Field(default=1.0, gt=0)

    def values(self, rows: Valuation) -> Tensor:
        """One fit of all rows and one without each, float64 [N]."""
        refits = BatchedLogisticRegression.of(rows, ridge=1 / self.C)
        n, p = refits.x.shape
        self.say(f"{n + 1:,} fits of a logistic regression with {p} coefficients")
        full = refits.fit(torch.ones((1, n)).double(), torch.zeros((1, p)).double())
        without = []
        for left_out in torch.split(torch.arange(n), refits.at_once):
            member = torch.ones((len(left_out), n)).double()
            member[torch.arange(len(left_out)), left_out] = 0
            without.append(refits.log_loss(refits.fit(member, full.expand(len(left_out), -1))))
        return torch.cat(without) - refits.log_loss(full)
