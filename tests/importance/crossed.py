"""Rows of which only segment and label matter, made from a table of counts."""

import numpy as np
import torch
from numpy.typing import NDArray

from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

Array = NDArray[np.float64]


def crossed(counts: list[list[int]], targets: list[list[int]] | None = None) -> Batch:
    """Rows of each segment (0 is none) and label, of which the first so many are target."""
    cells = [
        (segment, label, place < (targets[segment][label] if targets else 0))
        for segment, row in enumerate(counts)
        for label, rows in enumerate(row)
        for place in range(rows)
    ]
    values = torch.tensor(cells, dtype=torch.float32)
    n = len(values)
    return Batch(
        sample_id=torch.arange(n),
        features=torch.zeros((n, 1)),
        ids=torch.zeros((n, 0), dtype=torch.int64),
        label=values[:, 1],
        extra={"segment": values[:, 0], "target": values[:, 2]},
    )


def each_cell(segments: int) -> Batch:
    """One row, which is target, for each segment (0 is none) and label."""
    ones = [[1, 1]] * (segments + 1)
    return crossed(ones, ones)


def weights(method: ImportanceMethod, train: Batch, segments: tuple[str, ...]) -> Array:
    """The importance of each cell after a fit, [S + 1, 2]."""
    facts = TrainFacts(dim=1, rows=len(train), positives=int(train.label.sum()), segments=segments)
    cells = each_cell(len(segments))
    # As validation rows, which are not to be counted.
    stored, _ = fit_in_memory([method], facts, train, cells, batch_size=7)
    with torch.inference_mode():
        found = stored[method.name].model()(cells)
    return found.double().numpy().reshape(-1, 2)
