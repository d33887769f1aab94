"""Logistic regressions on subsets of the same rows, many at a time, each to its optimum.

    minimise over c   sum_{i in S} log(1 + exp(-(2 y_i - 1) <x_i, c>)) + ridge / 2 |c|^2

x ends with a 1 whose coefficient is penalised like any other: so each subset, also one of a single
class and the empty one, has one solution, and it is finite. ridge is 1 / C of scikit-learn.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.core.heartbeat import progress
from reweight.importance.valuation import Valuation

_MOST_STEPS = 100
# Of a loss that is a sum over rows. Newton's method squares the error with each step.
_LEFT_TO_GAIN = 1e-10
_NUMBERS_AT_ONCE = 1 << 23  # 64 MiB


@dataclass(frozen=True)
class BatchedLogisticRegression:
    """The rows, and how well coefficients do on the validation rows.

    Attributes:
        x: float64 [N, P].
        y: float64 [N].
        validation_x: float64 [V, P].
        validation_y: float64 [V].
        ridge: as above.
    """

    x: Tensor
    y: Tensor
    validation_x: Tensor
    validation_y: Tensor
    ridge: float

    @classmethod
    def of(cls, rows: Valuation, ridge: float) -> "BatchedLogisticRegression":
        """With the design of the rows, and a 1."""
        x, v = (functional.pad(part, (0, 1), value=1.0) for part in rows.design())
        return cls(x, rows.train.label.double(), v, rows.validation.label.double(), ridge)

    @property
    def at_once(self) -> int:
        """How many fits fit into the memory of one step."""
        return max(1, _NUMBERS_AT_ONCE // (self.x.shape[1] * max(self.x.shape)))

    def fit(self, member: Tensor, start: Tensor) -> Tensor:
        """The coefficients of C subsets, float64 [C, P], by Newton's method.

        Args:
            member: 1 for the rows of each subset, else 0; float64 [C, N].
            start: coefficients to begin at, float64 [C, P]; the result does not depend on them.

        Raises:
            TrainingError: no optimum is found.
        """
        progress("fitting logistic regressions")
        at, identity = start, torch.eye(self.x.shape[1]).double()
        for _ in range(_MOST_STEPS):
            p = (at @ self.x.T).sigmoid()
            gradient = (member * (p - self.y)) @ self.x + self.ridge * at
            curved = (member * p * (1 - p))[:, None, :] * self.x.T
            step: Tensor = torch.linalg.solve(curved @ self.x + self.ridge * identity, gradient)
            at = at - self._length(member, at, step) * step
            if (gradient * step).sum(1).max() < _LEFT_TO_GAIN:
                return at
        raise TrainingError(
            "a logistic regression finds no optimum",
            expected=f"at most {_MOST_STEPS} steps of Newton's method",
            got=f"features up to {float(self.x.abs().max()):.3g} and a ridge of {self.ridge:g}",
            fix="scale the features, or lower C",
        )

    def log_loss(self, coefficients: Tensor) -> Tensor:
        """Mean log loss of the validation rows, float64 [C]."""
        return self._losses(coefficients, self.validation_x, self.validation_y).mean(1)

    def _length(self, member: Tensor, start: Tensor, step: Tensor) -> Tensor:
        """1, halved until the step does not lead upwards; float64 [C, 1]."""

        def objective(at: Tensor) -> Tensor:
            losses = (member * self._losses(at, self.x, self.y)).sum(1)
            return losses + self.ridge / 2 * (at**2).sum(1)

        length = torch.ones((len(step), 1)).double()
        limit = objective(start) * (1 + 1e-12)
        while (up := objective(start - length * step) > limit).any():
            length[up] /= 2
        return length

    @staticmethod
    def _losses(coefficients: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return functional.softplus((1 - 2 * y) * (coefficients @ x.T))
