"""Readers of one shard of a snapshot: by Petastorm, and by Arrow. Nothing else imports Petastorm.

A shard is every n-th row group of the files in the order of their names. With a seed its row groups
come shuffled, and the rows of each: the snapshot dealt rows to files by hash, so a row group is a
random sample of the rows already. The order is a function of the seed alone, and the same for both:
the Arrow reader draws as Petastorm 0.12.1 does. Both hold a few row groups at a time.
"""

import random
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch

Reading = Literal["auto", "petastorm", "arrow"]

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


@dataclass(frozen=True)
class RowGroup:
    """What is read at once: a row group of a file, and how many rows it has."""

    path: Path
    number: int
    rows: int


def row_groups(folder: Path) -> list[RowGroup]:
    """The row groups of a snapshot in the order in which they are dealt to shards.

    Raises:
        TrainingError: a file that is no Parquet, by name.
    """
    found = []
    for path in sorted(folder.glob("*.parquet")):
        with _named(path):
            footer = pq.read_metadata(path)
        sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        found += [RowGroup(path, i, rows) for i, rows in enumerate(sizes)]
    return found


def petastorm(shard: Shard) -> Generator[Batch]:
    """The rows of a shard by a Petastorm reader.

    Raises:
        TrainingError: Petastorm is not installed, it cannot take the path of the folder, or a file
            cannot be read.
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
            got=str(error),
            fix="set fitting.feed: arrow",
        ) from error
    if not _is_taken(shard.folder):
        raise TrainingError(
            "Petastorm cannot take the path of the snapshot",
            expected="a path without '#', '?' and control characters",
            got=str(shard.folder),
            fix="set fitting.feed: auto or arrow, or rename the folder",
        )
    shuffle = shard.seed is not None
    # A fresh reader per epoch with one worker: more, or a reader of several epochs, give the row
    # groups in another order each time.
    reader: Any = make_batch_reader(
        _url(shard.folder),
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
    except Exception:
        # Petastorm does not say in which file: Arrow, which cannot read it either, does.
        for group in _dealt(shard):
            _read(group, shard.extra)
        raise
    finally:
        reader.stop()
        reader.join()


def arrow(shard: Shard) -> Generator[Batch]:
    """The rows of a shard by Arrow, a row group ahead of what is asked for.

    Raises:
        TrainingError: a file cannot be read.
    """
    draw = None if shard.seed is None else np.random.RandomState(shard.seed)
    left: Batch | None = None
    for rows in _read_ahead(_dealt(shard), shard.extra):
        if draw is not None:
            rows = rows.rows(torch.from_numpy(draw.permutation(len(rows))))
        rows = rows if left is None else Batch.concat([left, rows])
        whole = len(rows) // shard.part * shard.part
        for start in range(0, whole, shard.part):
            yield rows.map(lambda v, s=start: v[s : s + shard.part])  # type: ignore[misc]
        left = rows.map(lambda v, w=whole: v[w:])  # type: ignore[misc]
    if left is not None and len(left):
        yield left


def auto(shard: Shard) -> Generator[Batch]:
    """The rows of a shard by Petastorm where it is installed and can, and by Arrow elsewhere."""
    can = find_spec("petastorm") and _is_taken(shard.folder)
    return petastorm(shard) if can else arrow(shard)


READERS: Mapping[Reading, Callable[[Shard], Generator[Batch]]] = {
    "auto": auto,
    "petastorm": petastorm,
    "arrow": arrow,
}


def _url(folder: Path) -> str:
    # Petastorm 0.12.1 does not decode what `as_uri` encodes, such as a space.
    return f"file://{folder}"


def _is_taken(folder: Path) -> bool:
    """Whether Petastorm finds the folder: it cuts a path at what ends one in a URL."""
    return urlparse(_url(folder)).path == str(folder)


def _dealt(shard: Shard) -> list[RowGroup]:
    """The row groups of a shard, in the order in which they are read."""
    groups = row_groups(shard.folder)
    places = list(range(len(groups)))
    # As Petastorm 0.12.1 does it: all are shuffled, those of the shard are kept, and shuffled anew.
    if shard.seed is not None:
        random.Random(shard.seed).shuffle(places)
    own = [place for place in places if place % shard.count == shard.number]
    if shard.seed is not None:
        np.random.RandomState(shard.seed).shuffle(own)
    return [groups[place] for place in own]


def _read_ahead(groups: Sequence[RowGroup], extra: Sequence[str]) -> Generator[Batch]:
    """The rows of each row group, while a thread reads the one after it."""
    with ThreadPoolExecutor(1) as pool:
        current: Future[Batch] | None = None
        for group in groups:
            following = pool.submit(_read, group, extra)
            if current is not None:
                yield current.result()
            current = following
        if current is not None:
            yield current.result()


def _read(group: RowGroup, extra: Sequence[str]) -> Batch:
    with _named(group.path), pq.ParquetFile(group.path) as file:
        there = [name for name in (*_COLUMNS, *extra) if name in file.schema_arrow.names]
        table = file.read_row_group(group.number, columns=there)
    columns = {name: _numbers(table.column(name).combine_chunks(), name) for name in there}
    ids = columns.get("ids", torch.empty((len(table), 0), dtype=torch.int64))
    return Batch(
        columns["sample_id"],
        columns["features"],
        ids,
        columns["label"],
        {name: columns[name] for name in extra},
    )


@contextmanager
def _named(path: Path) -> Generator[None]:
    """What Arrow says of a file, with its name."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(
            "a file of the snapshot cannot be read",
            expected="Parquet, as Spark wrote it",
            got=f"{path}: {(str(error).splitlines() or [type(error).__name__])[0]}",
            fix=f"remove the folder {path.parent} and start the job again: it is written anew",
        ) from error


def _numbers(column: Any, name: str) -> torch.Tensor:
    """A column of numbers [N], or of arrays of one length [N, length]."""
    kind = _KINDS.get(name, np.float32)
    if not pa.types.is_list(column.type):
        return torch.from_numpy(np.array(column, dtype=kind))
    flat: NDArray[Any] = np.array(column.flatten(), dtype=kind)
    return torch.from_numpy(flat).reshape(len(column), -1 if flat.size else 0)


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values))
