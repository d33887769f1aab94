"""Clicks made from a known relevance and a known chance of being looked at."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from reweight.importance.batch import Batch
from reweight.importance.position_bias import PositionMethod, PositionModel
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

Array = NDArray[np.float64]
PLACES, DIM = 10, 4
TRUTH = 1 / np.arange(1, PLACES + 1)
TRAINING = {"hidden": (32,), "bins": 0, "epochs": 12}


def simulated(lists: int, seed: int = 0) -> tuple[Batch, Array]:
    """Lists of ten items, the likelier ones rather on top, and the relevance of each item."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(lists, PLACES, DIM))
    z = x[..., 0] - 0.7 * x[..., 1] + 0.5 * x[..., 2] * x[..., 3]
    order = np.argsort(-z - draw.gumbel(scale=3, size=z.shape), axis=1)
    x = np.take_along_axis(x, order[..., None], axis=1).reshape(-1, DIM)
    gamma = 1 / (1 + np.exp(-np.take_along_axis(z, order, axis=1).ravel()))
    position = np.tile(np.arange(1, PLACES + 1), lists)
    seen = draw.random(len(x)) < 1 / position
    click = seen & (draw.random(len(x)) < gamma)
    batch = Batch(
        sample_id=torch.from_numpy(draw.integers(-(2**63), 2**63 - 1, len(x))),
        features=torch.from_numpy(x).float(),
        ids=torch.empty((len(x), 0), dtype=torch.int64),
        label=torch.from_numpy(click).float(),
        extra={
            "position": torch.from_numpy(position).float(),
            "propensity": torch.from_numpy(1 / position).float(),
        },
    )
    return batch, gamma


def fit(*methods: PositionMethod, batch: Batch) -> list[PositionModel]:
    positives = int(batch.label.sum())
    facts = TrainFacts(dim=batch.features.shape[1], rows=len(batch), positives=positives)
    few = batch.rows(torch.arange(100))
    stored, curves = fit_in_memory(methods, facts, batch, few, batch_size=512)
    assert len(curves) <= 1
    found = [stored[method.name].model() for method in methods]
    assert all(isinstance(model, PositionModel) for model in found)
    return found  # type: ignore[return-value]


@cache
def clicks() -> tuple[Batch, Array]:
    return simulated(10_000)
