"""The operations of the weight policy on tensors, so that its formula is part of the program."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reweight.core.arithmetic import Arithmetic
from reweight.core.distribution import Distribution


class TensorArithmetic(Arithmetic[Any]):
    """Element-wise operations on tensors of float64, [B]."""

    def clip(self, x: Tensor, low: float, high: float) -> Tensor:
        """x, limited to [low, high]."""
        return x.clamp(low, high)

    def power(self, x: Tensor, exponent: float) -> Tensor:
        """x ** exponent."""
        return x**exponent

    def log(self, x: Tensor) -> Tensor:
        """Natural logarithm."""
        return x.log()

    def log1p(self, x: Tensor) -> Tensor:
        """log(1 + x)."""
        return x.log1p()

    def floor(self, x: Tensor) -> Tensor:
        """Largest whole number at or below x."""
        return x.floor()

    def where(self, condition: Tensor, yes: Any, no: Any) -> Tensor:
        """yes where the condition holds, else no."""
        return torch.where(condition, yes, no)

    def share_at_or_below(self, x: Tensor, points: Distribution) -> Tensor:
        """By counting the blocks of points below x, and then the points in the next block.

        That takes operators that ONNX has, unlike a binary search, and 2 sqrt(P) comparisons of P.
        """
        width, number = math.isqrt(len(points) - 1) + 1, len(points)
        values = [value for value, _ in points] + [math.inf] * (-number % width)
        blocks = torch.tensor(values, dtype=torch.float64).reshape(-1, width)
        last = (number - 1) // width
        block = (blocks[:, -1] < x[:, None]).sum(1).clamp(max=last)
        below = block * width + (blocks[block] < x[:, None]).sum(1)
        shares = torch.tensor([share for _, share in points], dtype=torch.float64)
        return torch.where(x.isnan(), x, shares[below.clamp(max=number - 1)])

    def factor(self, keys: Tensor, factors: Mapping[str, float]) -> Tensor:
        """By the number of the key among the factors, counted from 1; 0 for any other, int64."""
        return torch.tensor([1.0, *factors.values()], dtype=torch.float64)[keys]


TENSORS = TensorArithmetic()
