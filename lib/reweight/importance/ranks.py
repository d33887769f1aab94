"""Sums over the ranks of a training."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def summed(values: Sequence[Tensor]) -> list[Tensor]:
    """The sums over all ranks, the same on every rank; without a process group, the values."""
    if not dist.is_initialized():
        return list(values)
    flat = torch.cat([value.flatten() for value in values])
    dist.all_reduce(flat)
    parts = torch.split(flat, [value.numel() for value in values])
    return [part.view_as(value) for part, value in zip(parts, values, strict=True)]
