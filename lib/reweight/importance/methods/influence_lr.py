"""`influence_lr`: how much the target loss would rise if the ranker were fitted without a row.

    importance_i = g_i^T H^{-1} g_target     (n times the rise, to first order; high = valuable)

Koh & Liang 2017, "Understanding Black-box Predictions via Influence Functions", for the ranker
itself: the logistic regression that minimises (1/n) sum_i l_i + |b|^2 / (2 C n), with an
unpenalised intercept, over dense features and one-hot ids. g_i = (p_i - y_i) (x_i, 1), H is the
Hessian of that objective and g_target the mean gradient of the target rows. (Koh & Liang use the
opposite sign: what upweighting the row adds to the loss.)

The fit uses Newton's method, and linear systems are solved by conjugate gradients, preconditioned
by the diagonal of H: H is never formed, and one product with it takes one pass over the rows.
Values are negative for harmful rows, so weights are based on ranks.
"""

import math
from collections.abc import Callable, Generator
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.target import check_target
from reweight.importance.training import TrainFacts

# A query is a sum over a batch; a pass over the rows answers it with the sum over all batches.
Query = Callable[[Batch], Tensor]
Pass = Generator[Query, Tensor, Tensor]

# Tolerances in the norm of H's inverse diagonal: for the gradient of the fit, and for the residual
# of the last solution relative to its right-hand side.
_FIT_TOLERANCE, _SOLVE_TOLERANCE = 1e-10, 1e-7


class InfluenceLr(ImportanceMethod):
    """Importance of either sign: n times the rise of the mean target loss.

    Attributes:
        C: inverse regularisation strength, like the ranker's (``ranking.C``).

    Helps:
        Where the ranker is this logistic regression and the target labels are correct: it estimates
        the effect of leaving a row out.

    Hurts:
        Where the target is as wrong as the rest. It is a first-order estimate: about many rows that
        are wrong together it says little. A target row is part of its own objective.

    Refuses:
        Training rows of which none, or all, are target rows. Features so nearly collinear that no
        solution is found within the allowed passes.
    """

    signed: ClassVar[bool] = True
    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "the ranker is a logistic regression, and target labels are correct"
    cost: ClassVar[str] = "two linear F; fitting takes about 50 passes over the rows"
    needs: ClassVar[tuple[str, ...]] = ("target",)
    passes: ClassVar[int] = 1000

    method: Literal["influence_lr"] = "influence_lr"
    C: float = Field(default=1.0, gt=0)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The coefficients and the direction of the formula."""
        return InfluenceLrModel(self, facts)


class InfluenceLrModel(ImportanceModel):
    """(p(x) - y) (x, 1)^T H^{-1} g_target.

    Attributes:
        coefficients: of the regression: dense features, one-hot ids, intercept; float64 [W].
        direction: H^{-1} g_target, float64 [W].
    """

    coefficients: Tensor
    direction: Tensor
    offsets: Tensor

    def __init__(self, method: InfluenceLr, facts: TrainFacts) -> None:
        super().__init__()
        self.method = method
        sizes = (facts.dim, *facts.cardinalities)
        self.dim, self.width = facts.dim, sum(sizes) + 1
        offsets = torch.tensor(sizes[:-1], dtype=torch.int64).cumsum(0)
        self.register_buffer("offsets", offsets, persistent=False)
        for name in ("coefficients", "direction"):
            self.register_buffer(name, torch.zeros(self.width, dtype=torch.float64))
        self._solver = self._solution()
        self._query = next(self._solver)
        self._total = torch.zeros(0)

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The influence of each row, float32 [B]."""
        batch = outputs.batch
        residual = self._times(batch, self.coefficients).sigmoid() - batch.label
        return (residual * self._times(batch, self.direction)).float()

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Adds a batch's share to the sum that the solver requested."""
        if split == "train" and not self.done:
            share = self._query(outputs.batch)
            self._total = self._total + share if len(self._total) else share

    def sums(self) -> list[Tensor]:
        """The sum that the solver requested."""
        return [self._total]

    def finish(self, number: int) -> None:
        """Sends the answer to the solver; the next pass is for its next query.

        Raises:
            TrainingError: no solution after the last pass.
        """
        answer, self._total = self._total, torch.zeros(0)
        if self.done:
            return
        try:
            self._query = self._solver.send(answer)
        except StopIteration:
            self.done = True
        if not self.done and number + 1 == self.method.passes:
            raise TrainingError(
                f"'{self.method.name}' has not converged",
                expected=f"a solution within {self.method.passes} passes over the rows",
                got="none: the features are nearly collinear, or too weakly penalised",
                fix="lower its C, drop features, or scale them",
            )

    def _solution(self) -> Pass:
        """Newton's method for the coefficients, then one linear system for the direction."""
        theta = step = torch.zeros(self.width, dtype=torch.float64)
        previous = math.inf
        while True:
            totals = yield partial(self._first_order, theta)
            loss, rows, targets = totals[-3:].tolist()
            check_target(self.method.name, targets, rows)
            gradient, curvature, target_gradient = totals[:-3].view(3, self.width)
            penalty = torch.full_like(gradient, 1 / (self.method.C * rows))
            penalty[-1] = 0
            theta, step = theta.to(gradient), step.to(gradient)
            value = loss / rows + float((penalty * theta**2).sum()) / 2
            if value > previous + 1e-12 * abs(previous):
                # Far from the optimum a full step can overshoot.
                step = step / 2
                theta = theta - step
                continue
            previous = value
            gradient = gradient / rows + penalty * theta
            scale = curvature / rows + penalty
            norm = math.sqrt(float(gradient @ (gradient / scale)))
            solve = partial(self._solve, theta, rows, penalty, scale)
            if norm <= _FIT_TOLERANCE:
                break
            step = yield from solve(-gradient, min(0.1, math.sqrt(norm)))
            theta = theta + step
        self.coefficients.copy_(theta)
        self.direction.copy_((yield from solve(target_gradient / targets, _SOLVE_TOLERANCE)))
        return theta

    def _solve(
        self,
        theta: Tensor,
        rows: float,
        penalty: Tensor,
        scale: Tensor,
        right: Tensor,
        tolerance: float,
    ) -> Pass:
        """H^{-1} right by conjugate gradients, preconditioned by the diagonal of H."""
        solution, residual = torch.zeros_like(right), right
        scaled = residual / scale
        direction, square = scaled, residual @ scaled
        limit = tolerance**2 * float(square)
        while float(square) > limit:
            product = (yield partial(self._second_order, theta, direction)) / rows
            product = product + penalty * direction
            length = square / (direction @ product)
            solution, residual = solution + length * direction, residual - length * product
            scaled = residual / scale
            previous, square = square, residual @ scaled
            direction = scaled + square / previous * direction
        return solution

    def _first_order(self, theta: Tensor, batch: Batch) -> Tensor:
        """Gradient, diagonal of H and gradient of the target rows; loss, rows and target rows."""
        label, target = batch.label.double(), batch.extra["target"].double()
        logits = self._times(batch, theta)
        p = logits.sigmoid()
        loss = functional.binary_cross_entropy_with_logits(logits, label, reduction="sum")
        numbers = torch.stack([loss, torch.ones_like(label).sum(), target.sum()])
        vectors = (
            self._transposed(batch, p - label),
            self._transposed(batch, p * (1 - p), power=2),
            self._transposed(batch, (p - label) * target),
        )
        return torch.cat([*vectors, numbers])

    def _second_order(self, theta: Tensor, direction: Tensor, batch: Batch) -> Tensor:
        """The product of H, without its penalty, and a direction; a sum over the rows."""
        p = self._times(batch, theta).sigmoid()
        return self._transposed(batch, p * (1 - p) * self._times(batch, direction))

    def _times(self, batch: Batch, vector: Tensor) -> Tensor:
        """The rows (dense, one-hot, 1) times a vector, float64 [B]."""
        vector = vector.to(batch.label.device)
        hot = vector[batch.ids + self.offsets].sum(1)
        return batch.features.double() @ vector[: self.dim] + hot + vector[-1]

    def _transposed(self, batch: Batch, values: Tensor, power: int = 1) -> Tensor:
        """The rows, their entries raised to a power, transposed, times values; float64 [W]."""
        total = values.new_zeros(self.width)
        total[: self.dim] = values @ batch.features.double() ** power
        columns = (batch.ids + self.offsets).flatten()
        total.index_add_(0, columns, values.repeat_interleave(batch.ids.shape[1]))
        total[-1] = values.sum()
        return total
