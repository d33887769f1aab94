"""Readers of one shard of a snapshot: by Petastorm, and by Arrow. Nothing else imports Petastorm.

A shard is every n-th row group of the files in the order of their names. With a seed its row groups
come shuffled, and the rows of each: the snapshot dealt rows to files by hash, so a row group is a
random sample of the rows already. The order is a function of the seed alone.
"""

import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from reweight.batch import Batch
from reweight.errors import TrainingError

Reading = Literal["petastorm", "arrow"]

_COLUMNS = ("sample_id", "features", "ids", "label")
_KINDS: Mapping[str, type] = {"sample_id": np.int64, "ids": np.int64}


@dataclass(frozen=True)
class Shard:
    """What is read.

    Attributes:
        folder: of Parquet files.
        number: of the shard, from 0.
        count: of shards.
        part: rows that come at a time; fewer at the end.
        seed: of the order; None for the order of the files.
        extra: further columns to read, numbers.
    """

    folder: Path
    number: int
    count: int
    part: int
    seed: int | None
    extra: tuple[str, ...] = ()


def petastorm(shard: Shard) -> Generator[Batch]:
    """The rows of a shard by a Petastorm reader.

    Raises:
        TrainingError: Petastorm is not installed.
    """
    # Petastorm calls what pyarrow 14 deprecates, thousands of times.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    try:
        from petastorm import make_batch_reader
        from petastorm.pytorch import BatchedDataLoader
    except ImportError as error:
        raise TrainingError(
            "Petastorm is not installed here",
            expected="petastorm 0.12.1, which needs pyarrow < 15 and numpy < 2",
            came=str(error),
            do="set fitting.feed: arrow",
        ) from error
    shuffle = shard.seed is not None
    # A fresh reader per epoch with one worker: more, or a reader of several epochs, give the row
    # groups in another order each time.
    reader: Any = make_batch_reader(
        shard.folder.as_uri(),
        schema_fields=[f"^{name}$" for name in (*_COLUMNS, *shard.extra)],
        reader_pool_type="thread",
        workers_count=1,
        results_queue_size=2,
        shuffle_row_groups=shuffle,
        shuffle_rows=shuffle,
        seed=shard.seed,
        num_epochs=1,
        cur_shard=shard.number,
        shard_count=shard.count,
    )
    try:
        # The loader's own shuffling queue would draw from torch's global generator.
        for columns in BatchedDataLoader(reader, shard.part, _tensor):
            sample_id = columns["sample_id"]
            ids = columns.get("ids", torch.empty((len(sample_id), 0), dtype=torch.int64))
            extra = {name: columns[name].float() for name in shard.extra}
            yield Batch(sample_id, columns["features"], ids.long(), columns["label"], extra)
    finally:
        reader.stop()
        reader.join()


def arrow(shard: Shard) -> Generator[Batch]:
    """The rows of a shard by Arrow, a row group ahead of what is asked for."""
    groups = _row_groups(shard.folder)[shard.number :: shard.count]
    draw = None if shard.seed is None else np.random.default_rng(shard.seed)
    order = range(len(groups)) if draw is None else draw.permutation(len(groups)).tolist()
    left: Batch | None = None
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(_read, groups[order[0]], shard.extra)]
        for following in (*order[1:], None):
            rows = ahead.pop().result()
            if following is not None:
                ahead.append(pool.submit(_read, groups[following], shard.extra))
            if draw is not None:
                rows = rows.rows(torch.from_numpy(draw.permutation(len(rows))))
            rows = rows if left is None else Batch.concat([left, rows])
            whole = len(rows) // shard.part * shard.part
            for start in range(0, whole, shard.part):
                yield rows.map(lambda v, s=start: v[s : s + shard.part])  # type: ignore[misc]
            left = rows.map(lambda v, w=whole: v[w:])  # type: ignore[misc]
    if left is not None and len(left):
        yield left


READERS: Mapping[Reading, Callable[[Shard], Generator[Batch]]] = {
    "petastorm": petastorm,
    "arrow": arrow,
}


def _row_groups(folder: Path) -> list[tuple[Path, int]]:
    files = sorted(folder.glob("*.parquet"))
    return [(f, i) for f in files for i in range(pq.read_metadata(f).num_row_groups)]


def _read(place: tuple[Path, int], extra: Sequence[str]) -> Batch:
    path, group = place
    file = pq.ParquetFile(path)
    there = [name for name in (*_COLUMNS, *extra) if name in file.schema_arrow.names]
    table = file.read_row_group(group, columns=there)
    columns = {name: _numbers(table.column(name).combine_chunks(), name) for name in there}
    ids = columns.get("ids", torch.empty((len(table), 0), dtype=torch.int64))
    return Batch(
        columns["sample_id"],
        columns["features"],
        ids,
        columns["label"],
        {name: columns[name] for name in extra},
    )


def _numbers(column: Any, name: str) -> torch.Tensor:
    """A column of numbers [N], or of arrays of one length [N, length]."""
    kind = _KINDS.get(name, np.float32)
    if not pa.types.is_list(column.type):
        return torch.from_numpy(np.array(column, dtype=kind))
    flat: NDArray[Any] = np.array(column.flatten(), dtype=kind)
    return torch.from_numpy(flat).reshape(len(column), -1 if flat.size else 0)


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values))
