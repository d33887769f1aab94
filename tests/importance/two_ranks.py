"""A process group of two ranks: this process and one more."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist
from torch.multiprocessing import get_context

Found = TypeVar("Found")


def on_two_ranks(work: Callable[[int], Found], folder: Path) -> list[Found]:
    """What a function of a module finds as rank 0 and as rank 1."""
    file = str(folder / "meet")
    with get_context("spawn").Pool(1) as pool:
        other = pool.apply_async(_rank, (work, 1, file))
        return [_rank(work, 0, file), other.get()]


def _rank(work: Callable[[int], Found], rank: int, file: str) -> Found:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    try:
        return work(rank)
    finally:
        dist.destroy_process_group()
