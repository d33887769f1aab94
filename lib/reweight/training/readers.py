"""Readers of one shard of a snapshot: Petastorm and Arrow. Nothing else imports Petastorm.

A shard is every n-th row group of the files, sorted by name. With a seed, its row groups are
shuffled, and so are the rows within each: the snapshot dealt rows to files by hash, so a row group
is already a random sample of the rows. The order depends only on the seed and is the same for both
readers: the Arrow reader draws random numbers as Petastorm 0.12.1 does. Both hold a few row groups
at a time.
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

from reweight.core.errors import TrainingError
from reweight.core.sequences import SEQUENCE
from reweight.importance.batch import Batch, Sequences

Reading = Literal["auto", "petastorm", "arrow"]

_COLUMNS = ("sample_id", "features", "ids", "label", *SEQUENCE)


@dataclass(frozen=True)
class Shard:
    """What to read.

    Attributes:
        folder: of Parquet files.
        number: of the shard, from 0.
        count: number of shards.
        part: rows per batch; fewer at the end.
        seed: of the order; None for the order of the files.
        extra: additional numeric columns to read.
    """

    folder: Path
    number: int
    count: int
    part: int
    seed: int | None
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowGroup:
    """The unit of reading: a row group of a file, and its number of rows."""

    path: Path
    number: int
    rows: int


def row_groups(folder: Path) -> list[RowGroup]:
    """The row groups of a snapshot, in the order in which they are dealt to shards.

    Raises:
        TrainingError: a file is not Parquet; the message names it.
    """
    groups = []
    for path in sorted(folder.glob("*.parquet")):
        with _named(path):
            footer = pq.read_metadata(path)
        sizes = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        groups += [RowGroup(path, i, rows) for i, rows in enumerate(sizes)]
    return groups


def petastorm(shard: Shard) -> Generator[Batch]:
    """Reads a shard with Petastorm.

    Raises:
        TrainingError: Petastorm is not installed or cannot open the path of the folder, or a file
            cannot be read.
    """
    # Petastorm calls deprecated functions of pyarrow 14, thousands of times.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    try:
        from petastorm import make_batch_reader
        from petastorm.pytorch import BatchedDataLoader
    except ImportError as error:
        raise TrainingError(
            "Petastorm is not installed",
            expected="petastorm 0.12.1, which needs pyarrow < 15 and numpy < 2",
            got=str(error),
            fix="write fitting: {feed: arrow}",
        ) from error
    if not _petastorm_opens(shard.folder):
        raise TrainingError(
            "Petastorm cannot open the path of the snapshot",
            expected="a path without '#', '?' or control characters",
            got=str(shard.folder),
            fix="write fitting: {feed: arrow}, or rename the folder",
        )
    shuffle = shard.seed is not None
    # A new reader per epoch, with one worker: with more workers, or a reader of several epochs, the
    # order of the row groups would not be reproducible.
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
            past = [columns[name] for name in SEQUENCE if name in columns]
            sequence = Sequences.of(past[0].long(), past[1]) if past else None
            features, label = columns["features"].float(), columns["label"].float()
            yield Batch(sample_id, features, ids.long(), label, extra, sequence)
    except Exception:
        # Petastorm does not name the file; Arrow, which cannot read it either, does.
        for group in _groups_of(shard):
            _read(group, shard.extra)
        raise
    finally:
        reader.stop()
        reader.join()


def arrow(shard: Shard) -> Generator[Batch]:
    """Reads a shard with Arrow, one row group ahead.

    Raises:
        TrainingError: a file cannot be read.
    """
    random_state = None if shard.seed is None else np.random.RandomState(shard.seed)
    remainder: Batch | None = None
    for rows in _read_ahead(_groups_of(shard), shard.extra):
        if random_state is not None:
            rows = rows.rows(torch.from_numpy(random_state.permutation(len(rows))))
        rows = rows if remainder is None else Batch.concat([remainder, rows])
        whole = len(rows) // shard.part * shard.part
        for start in range(0, whole, shard.part):
            yield rows.map(lambda v, s=start: v[s : s + shard.part])  # type: ignore[misc]
        remainder = rows.map(lambda v, w=whole: v[w:])  # type: ignore[misc]
    if remainder is not None and len(remainder):
        yield remainder


def auto(shard: Shard) -> Generator[Batch]:
    """Reads a shard with Petastorm if it is installed and can open the path, else with Arrow."""
    usable = find_spec("petastorm") and _petastorm_opens(shard.folder)
    return petastorm(shard) if usable else arrow(shard)


READERS: Mapping[Reading, Callable[[Shard], Generator[Batch]]] = {
    "auto": auto,
    "petastorm": petastorm,
    "arrow": arrow,
}


def _url(folder: Path) -> str:
    # Petastorm 0.12.1 does not decode what `as_uri` encodes, such as a space.
    return f"file://{folder}"


def _petastorm_opens(folder: Path) -> bool:
    """Whether Petastorm finds the folder: it truncates a path where a URL would end it."""
    return urlparse(_url(folder)).path == str(folder)


def _groups_of(shard: Shard) -> list[RowGroup]:
    """The row groups of a shard, in reading order."""
    groups = row_groups(shard.folder)
    numbers = list(range(len(groups)))
    # As Petastorm 0.12.1 does: shuffle all, select those of the shard, and shuffle these again.
    if shard.seed is not None:
        random.Random(shard.seed).shuffle(numbers)
    chosen = [number for number in numbers if number % shard.count == shard.number]
    if shard.seed is not None:
        np.random.RandomState(shard.seed).shuffle(chosen)
    return [groups[number] for number in chosen]


def _read_ahead(groups: Sequence[RowGroup], extra: Sequence[str]) -> Generator[Batch]:
    """The rows of each row group, while a thread reads the next one."""
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
        names = [name for name in (*_COLUMNS, *extra) if name in file.schema_arrow.names]
        table = file.read_row_group(group.number, columns=names)
    return Batch.from_arrow(
        {name: table.column(name) for name in names}, {name: name for name in extra}
    )


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Turns errors of Arrow into one that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(
            "a file of the snapshot cannot be read",
            expected="a Parquet file as Spark wrote it",
            got=f"{path}: {(str(error).splitlines() or [type(error).__name__])[0]}",
            fix=f"remove the folder {path.parent} and start the job again, which rewrites it",
        ) from error


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values))
