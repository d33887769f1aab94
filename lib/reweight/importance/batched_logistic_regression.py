"""Many logistic regressions on subsets of the same rows, fitted together, each to its optimum.

    minimise over c   sum_{i in S} log(1 + exp(-(2 y_i - 1) <x_i, c>)) + ridge / 2 |c|^2

x ends with a constant 1 whose coefficient is penalised like any other, so every subset, even an
empty one or one with a single class, has exactly one solution, and it is finite. In scikit-learn's
terms, ridge is 1 / C.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.core.heartbeat import progress
from reweight.importance.valuation import Valuation

_MAX_STEPS = 100
# Of the loss, a sum over rows. Newton's method squares the error at each step.
_TOLERANCE = 1e-10
_NUMBERS_AT_ONCE = 1 << 23  # 64 MiB


@dataclass(frozen=True)
class BatchedLogisticRegression:
    """The training rows, and the validation rows on which coefficients are judged.

    Attributes:
        x: float64 [N, P].
        y: float64 [N].
        validation_x: float64 [V, P].
        validation_y: float64 [V].
        ridge: strength of the penalty.
    """

    x: Tensor
    y: Tensor
    validation_x: Tensor
    validation_y: Tensor
    ridge: float

    @classmethod
    def of(cls, rows: Valuation, ridge: float) -> "BatchedLogisticRegression":
        """Takes the design matrices of the rows and adds the constant column."""
        x, v = (functional.pad(part, (0, 1), value=1.0) for part in rows.design())
        return cls(x, rows.train.label.double(), v, rows.validation.label.double(), ridge)

    @property
    def at_once(self) -> int:
        """Number of regressions that fit in memory at once."""
        return max(1, _NUMBERS_AT_ONCE // (self.x.shape[1] * max(self.x.shape)))

    def fit(self, member: Tensor, start: Tensor) -> Tensor:
        """Fits coefficients to C subsets by Newton's method, float64 [C, P].

        Args:
            member: 1 for the rows in each subset, else 0; float64 [C, N].
            start: initial coefficients, float64 [C, P]; the result does not depend on them.

        Raises:
            TrainingError: a fit does not converge.
        """
        progress("fitting logistic regressions")
        coefficients, identity = start, torch.eye(self.x.shape[1]).double()
        for _ in range(_MAX_STEPS):
            p = (coefficients @ self.x.T).sigmoid()
            gradient = (member * (p - self.y)) @ self.x + self.ridge * coefficients
            weighted = (member * p * (1 - p))[:, None, :] * self.x.T
            step: Tensor = torch.linalg.solve(weighted @ self.x + self.ridge * identity, gradient)
            coefficients = coefficients - self._step_size(member, coefficients, step) * step
            if (gradient * step).sum(1).max() < _TOLERANCE:
                return coefficients
        largest = float(self.x.abs().max())
        raise TrainingError(
            "a logistic regression does not converge",
            expected=f"an optimum within {_MAX_STEPS} steps of Newton's method",
            got=f"none, with features up to {largest:.3g} and a ridge of {self.ridge:g}",
            fix="scale the features, or lower C",
        )

    def log_loss(self, coefficients: Tensor) -> Tensor:
        """Mean log loss of the validation rows, float64 [C]."""
        return self._losses(coefficients, self.validation_x, self.validation_y).mean(1)

    def _step_size(self, member: Tensor, start: Tensor, step: Tensor) -> Tensor:
        """1, halved until the step does not increase the objective; float64 [C, 1]."""

        def objective(coefficients: Tensor) -> Tensor:
            losses = (member * self._losses(coefficients, self.x, self.y)).sum(1)
            return losses + self.ridge / 2 * (coefficients**2).sum(1)

        size = torch.ones((len(step), 1)).double()
        limit = objective(start) * (1 + 1e-12)
        while (uphill := objective(start - size * step) > limit).any():
            size[uphill] /= 2
        return size

    @staticmethod
    def _losses(coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return functional.softplus((1 - 2 * y) * (coefficients @ x.T))
