"""`data_shapley`: the Shapley value of each row for a logistic regression, by random permutations.

Ghorbani & Zou 2019, "Data Shapley: Equitable Valuation of Data for Machine Learning", truncated
Monte Carlo. Rows are added one by one in a random order; what each takes off the log loss of the
validation rows is its marginal contribution, and the mean over orders is its value:

    value_i = E_order [ V(rows before i) - V(rows before i, and i) ]

The rest of an order counts as 0 once the loss has come near that of all rows.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceModel
from reweight.importance.batched_logistic_regression import BatchedLogisticRegression
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import Valuation, ValuationMethod

# Once may be chance: losses of short prefixes cross that of all rows.
_NEAR_IN_A_ROW = 5
_ORDERS_AT_ONCE = 16


@dataclass(frozen=True)
class Estimate:
    """Values, and how well they are known.

    Attributes:
        value: float64 [N].
        error: standard error of each, float64 [N].
        orders: permutations.
        fits: of the logistic regression.
    """

    value: Tensor
    error: Tensor
    orders: int
    fits: int

    @property
    def relative_error(self) -> float:
        """Mean standard error over the standard deviation of the values."""
        return float(self.error.mean() / self.value.std())


class DataShapley(ValuationMethod):
    """Importance is a Shapley value, of any sign.

    Attributes:
        C: inverse strength of regularisation, as the ranker's (``ranking.C``).
        tolerance: an order ends when the loss was this near to that of all rows five times in a
            row; as a share of the way from the loss of no rows. 0 ends none.
        relative_error: the mean standard error, relative to the spread of the values (their
            standard deviation), at which to stop.
        budget: fits after which to stop in any case.

    Helps:
        As a reference on small data: the value that is fair among the rows.

    Hurts:
        A value is known no better than its standard error, which falls with the square root of the
        fits, and fits are what it costs. What the validation rows have wrong it takes for right.

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite. A ``budget`` without two orders of the rows.
    """

    assumes: ClassVar[str] = "a linear model tells, and the validation labels are right"
    instead: ClassVar[str] = "data_oob"

    method: Literal["data_shapley"] = "data_shapley"
    C: float = Field(default=1.0, gt=0)
    tolerance: float = Field(default=0.01, ge=0)
    relative_error: float = Field(default=0.1, gt=0)
    budget: int = Field(default=50_000, ge=1)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """An empty table.

        Raises:
            TrainingError: more rows than ``max_rows``, or a budget without two orders of them.
        """
        model = super().model(facts)
        if self.budget < 2 * facts.rows + 1:
            raise TrainingError(
                f"the budget of '{self.name}' gives no standard error",
                expected=f"two orders of {facts.rows:,} rows, {2 * facts.rows + 1:,} fits",
                got=f"budget {self.budget:,}",
                fix="raise budget",
            )
        return model

    def values(self, rows: Valuation) -> Tensor:
        """The mean over the orders, float64 [N]."""
        return self.estimate(rows).value

    def estimate(self, rows: Valuation) -> Estimate:
        """The values with their standard errors."""
        refits = BatchedLogisticRegression.of(rows, ridge=1 / self.C)
        generator = torch.Generator().manual_seed(rows.facts.seed)
        n, p = refits.x.shape
        self.say(f"a budget of {self.budget:,} fits of a logistic regression, {p} coefficients")
        none = torch.zeros((1, p)).double()
        losses = refits.log_loss(torch.cat([none, refits.fit(torch.ones((1, n)).double(), none)]))
        mean, squares = torch.zeros(n).double(), torch.zeros(n).double()
        orders, fits, said = 0, 1, 0
        while (left := (self.budget - fits) // n) > 0:
            count = min(_ORDERS_AT_ONCE, max(2, refits.at_once), left)
            drawn = [torch.randperm(n, generator=generator) for _ in range(count)]
            marginals, used = self._walk(refits, torch.stack(drawn), losses[0], losses[1])
            fits += used
            for own in marginals:  # Welford's update
                orders += 1
                before, mean = own - mean, mean + (own - mean) / orders
                squares = squares + before * (own - mean)
            error = (squares / max(1, orders - 1) / orders).sqrt()
            found = Estimate(mean, error, orders, fits)
            done = orders > 1 and found.relative_error < self.relative_error
            if done or fits * 10 // self.budget > said or self.budget - fits < n:
                said = fits * 10 // self.budget
                self.say(
                    f"{fits:,} of {self.budget:,} fits, {orders} orders, standard error "
                    f"{found.relative_error:.1%} of the spread of the values"
                )
            if done:
                break
        return found

    def _walk(
        self, refits: BatchedLogisticRegression, orders: Tensor, empty: Tensor, full: Tensor
    ) -> tuple[Tensor, int]:
        """The marginal contribution of each row in each order, float64 [C, N], and the fits."""
        count, n = orders.shape
        member, marginals = torch.zeros((2, count, n)).double()
        at = torch.zeros((count, refits.x.shape[1])).double()
        loss, near = empty.repeat(count), torch.zeros(count, dtype=torch.int64)
        going, fits = torch.arange(count), 0
        for place in range(n):
            row = orders[going, place]
            member[going, row] = 1
            at[going] = refits.fit(member[going], at[going])
            now = refits.log_loss(at[going])
            marginals[going, row] = loss[going] - now
            loss[going], fits = now, fits + len(going)
            close = (now - full).abs() < self.tolerance * (empty - full).abs()
            near[going] = torch.where(close, near[going] + 1, 0)
            going = (near < _NEAR_IN_A_ROW).nonzero().flatten()
            if not len(going):
                break
        return marginals, fits
