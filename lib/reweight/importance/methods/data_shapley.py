"""`data_shapley`: the Shapley value of each row for a logistic regression, by random permutations.

Ghorbani & Zou 2019, "Data Shapley: Equitable Valuation of Data for Machine Learning", truncated
Monte Carlo. Rows are added one at a time in a random order; the drop in the log loss of the
validation rows is a row's marginal contribution, and the mean over orders is its value:

    value_i = E_order [ V(rows before i) - V(rows before i, and i) ]

The rest of an order counts as 0 once the loss is close to that of all rows.
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

# A single close loss may be chance: losses of short prefixes cross that of all rows.
_CLOSE_IN_A_ROW = 5
_ORDERS_AT_ONCE = 16


@dataclass(frozen=True)
class Estimate:
    """Values, and how precise they are.

    Attributes:
        value: float64 [N].
        error: standard error of each value, float64 [N].
        orders: number of permutations.
        fits: number of fits of the logistic regression.
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
        C: inverse regularisation strength, like the ranker's (``ranking.C``).
        tolerance: an order ends once the loss was this close to that of all rows five times in a
            row, as a share of the distance from the loss of no rows. With 0, none ends early.
        relative_error: stop when the mean standard error, relative to the spread of the values
            (their standard deviation), is below this.
        budget: the number of fits after which to stop in any case.

    Helps:
        As a reference on small data: values that divide the credit fairly among the rows.

    Hurts:
        A value is only as precise as its standard error, which falls with the square root of the
        number of fits, and fits are what it costs. Errors in the validation rows count as truth.

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite. A ``budget`` that does not cover two orders of the rows.
    """

    assumes: ClassVar[str] = "a linear model is informative, and the validation labels are correct"
    instead: ClassVar[str] = "data_oob"

    method: Literal["data_shapley"] = "data_shapley"
    C: float = Field(default=1.0, gt=0)
    tolerance: float = Field(default=0.01, ge=0)
    relative_error: float = Field(default=0.1, gt=0)
    budget: int = Field(default=50_000, ge=1)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """An empty table.

        Raises:
            TrainingError: more rows than ``max_rows``, or a budget below two orders of them.
        """
        model = super().model(facts)
        if self.budget < 2 * facts.rows + 1:
            raise TrainingError(
                f"the budget of '{self.name}' is too small for a standard error",
                expected=f"two orders of {facts.rows:,} rows, {2 * facts.rows + 1:,} fits",
                got=f"budget {self.budget:,}",
                fix="raise budget",
            )
        return model

    def values(self, rows: Valuation) -> Tensor:
        """The mean marginal contribution over the orders, float64 [N]."""
        return self.estimate(rows).value

    def estimate(self, rows: Valuation) -> Estimate:
        """The values with their standard errors."""
        regressions = BatchedLogisticRegression.of(rows, ridge=1 / self.C)
        generator = torch.Generator().manual_seed(rows.facts.seed)
        n, p = regressions.x.shape
        self.say(f"a budget of {self.budget:,} fits of a logistic regression, {p} coefficients")
        zero = torch.zeros((1, p)).double()
        fitted = regressions.fit(torch.ones((1, n)).double(), zero)
        empty, full = regressions.log_loss(torch.cat([zero, fitted]))
        mean, squares = torch.zeros(n).double(), torch.zeros(n).double()
        orders, fits, logged = 0, 1, 0
        while (orders_left := (self.budget - fits) // n) > 0:
            count = min(_ORDERS_AT_ONCE, max(2, regressions.at_once), orders_left)
            drawn = [torch.randperm(n, generator=generator) for _ in range(count)]
            marginals, used = self._walk(regressions, torch.stack(drawn), empty, full)
            fits += used
            for marginal in marginals:  # Welford's update
                orders += 1
                deviation, mean = marginal - mean, mean + (marginal - mean) / orders
                squares = squares + deviation * (marginal - mean)
            error = (squares / max(1, orders - 1) / orders).sqrt()
            estimate = Estimate(mean, error, orders, fits)
            done = orders > 1 and estimate.relative_error < self.relative_error
            if done or fits * 10 // self.budget > logged or self.budget - fits < n:
                logged = fits * 10 // self.budget
                self.say(
                    f"{fits:,} of {self.budget:,} fits, {orders} orders, standard error "
                    f"{estimate.relative_error:.1%} of the spread of the values"
                )
            if done:
                break
        return estimate

    def _walk(
        self, regressions: BatchedLogisticRegression, orders: Tensor, empty: Tensor, full: Tensor
    ) -> tuple[Tensor, int]:
        """The marginal contributions in each order, float64 [C, N], and the number of fits."""
        count, n = orders.shape
        member, marginals = torch.zeros((2, count, n)).double()
        coefficients = torch.zeros((count, regressions.x.shape[1])).double()
        loss, close = empty.repeat(count), torch.zeros(count, dtype=torch.int64)
        active, fits = torch.arange(count), 0
        for step in range(n):
            row = orders[active, step]
            member[active, row] = 1
            coefficients[active] = regressions.fit(member[active], coefficients[active])
            new_loss = regressions.log_loss(coefficients[active])
            marginals[active, row] = loss[active] - new_loss
            loss[active], fits = new_loss, fits + len(active)
            is_close = (new_loss - full).abs() < self.tolerance * (empty - full).abs()
            close[active] = torch.where(is_close, close[active] + 1, 0)
            active = (close < _CLOSE_IN_A_ROW).nonzero().flatten()
            if not len(active):
                break
        return marginals, fits
