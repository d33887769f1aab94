"""Which ids models have been trained on; the embeddings of all others are as they were drawn."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load, save
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.core.files import write_whole
from reweight.core.run_folder import ModelsFolder
from reweight.training.readers import row_groups


def new_ids(current: Sequence[Tensor], known: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The ids of each field that are there now and were not before, int64 [R].

    Args:
        current: which ids occur, bool [size] for each field.
        known: which ids occurred before, likewise.
    """
    return tuple((a & ~b).nonzero()[:, 0] for a, b in zip(current, known, strict=True))


def occurring(ids: Tensor, cardinalities: Sequence[int]) -> tuple[Tensor, ...]:
    """Which ids occur in rows, bool [size] for each field.

    Args:
        ids: int64 [N, F].
        cardinalities: sizes of the id spaces.
    """
    masks = tuple(torch.zeros(size, dtype=torch.bool) for size in cardinalities)
    for field, mask in enumerate(masks):
        mask[ids[:, field]] = True
    return masks


def ids_of_rows(folder: Path, cardinalities: Sequence[int]) -> tuple[Tensor, ...]:
    """Which ids occur in the files of a snapshot, bool [size] for each field."""
    masks = occurring(torch.empty((0, len(cardinalities)), dtype=torch.int64), cardinalities)
    for path in sorted({group.path for group in row_groups(folder)}):
        with pq.ParquetFile(path) as file:
            for part in file.iter_batches(columns=["ids"]):
                flat = torch.from_numpy(part.column(0).flatten().to_numpy().copy()).long()
                part_masks = occurring(flat.view(-1, len(cardinalities)), cardinalities)
                for mask, part_mask in zip(masks, part_masks, strict=True):
                    mask |= part_mask
    return masks


def write_ids(folder: ModelsFolder, known: Sequence[Tensor]) -> None:
    """Notes the ids that the models have been trained on."""
    write_whole(folder.ids, save({str(field): mask for field, mask in enumerate(known)}))


def read_ids(folder: ModelsFolder) -> tuple[Tensor, ...]:
    """The ids that models have been trained on, bool [size] for each field.

    Raises:
        TrainingError: an earlier version of the library fitted them, and did not note the ids.
    """
    if not folder.ids.is_file():
        raise TrainingError(
            "it is not known on which ids the models to start from were trained",
            expected=str(folder.ids),
            got="no such file: an earlier version of the library fitted them",
            fix="fit that run again by jobs/fit_importance.py, or write warm_start: {update: all}",
        )
    stored = load(folder.ids.read_bytes())
    return tuple(stored[str(field)] for field in range(len(stored)))
