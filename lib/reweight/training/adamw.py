"""The rule of AdamW, as torch computes it (Loshchilov & Hutter 2019, "Decoupled Weight Decay").

torch's own class is not used: it imports torch's compiler, which takes a rank three seconds.
"""

import torch
from torch import Tensor

# Steps without a gradient that are taken one by one.
FADED = 192
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class AdamW:
    """The rule, with the operations of torch's AdamW in their order."""

    def __init__(self, learning_rate: float, weight_decay: float) -> None:
        self.learning_rate, self.decay = learning_rate, 1 - learning_rate * weight_decay
        self._sizes = self._roots = torch.empty(0)

    def rates(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """What the bias corrections make of the learning rate and of the second moment's root.

        Args:
            steps: numbers of steps, from 1.
        """
        if (most := int(steps.max())) >= len(self._sizes):
            # From Python's powers, as torch has them, and seldom.
            times = range(1, 2 * most + 1)
            sizes = [0.0, *(-(self.learning_rate / (1 - _BETA1**t)) for t in times)]
            roots = [0.0, *((1 - _BETA2**t) ** 0.5 for t in times)]
            self._sizes, self._roots = torch.tensor(sizes), torch.tensor(roots)
        return self._sizes[steps], self._roots[steps]

    def move(
        self,
        values: Tensor,
        first: Tensor,
        second: Tensor,
        gradient: Tensor | None,
        size: Tensor,
        root: Tensor,
    ) -> None:
        """Takes a step in place; without a gradient, as if it were 0."""
        if self.decay != 1:
            values.mul_(self.decay)
        second.mul_(_BETA2)
        if gradient is None:
            first.sub_(first, alpha=1 - _BETA1)
        else:
            first.lerp_(gradient, 1 - _BETA1)
            second.addcmul_(gradient, gradient, value=1 - _BETA2)
        values.addcdiv_(first * size, second.sqrt().div_(root).add_(_EPSILON))

    def without_gradient(
        self, values: Tensor, first: Tensor, second: Tensor, behind: Tensor, now: int
    ) -> None:
        """Takes the steps that rows have not taken, in place.

        Args:
            values: float32 [W, n].
            first: first moments, likewise.
            second: second moments, likewise.
            behind: steps that each row has not taken, falling, int64 [n].
            now: the number of the last step.
        """
        turns = torch.arange(min(int(behind[0]), FADED))[:, None]
        rates = self.rates((now - behind + 1 + turns).clamp(max=now))
        row_counts = (behind > turns).sum(1).tolist()
        for rows, size, root in zip(row_counts, *(rate.unbind() for rate in rates), strict=True):
            if rows < values.shape[1]:
                values, first, second = (x[:, :rows] for x in (values, first, second))
            self.move(values, first, second, None, size[:rows], root[:rows])
        if len(steps_left := behind[behind > FADED] - FADED):
            # Of the rows that are left in the last turn.
            for x, factor in ((values, self.decay), (first, _BETA1), (second, _BETA2)):
                x[:, : len(steps_left)].mul_(power(factor, steps_left))


def power(factor: float, count: Tensor) -> Tensor:
    """What so many products with the factor come to, as float32 holds it."""
    return torch.tensor(factor, dtype=torch.float32).double().pow(count).float()
