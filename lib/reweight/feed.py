"""A Parquet snapshot as a feed of batches, read by Petastorm. Nothing else imports Petastorm.

The snapshot is read as a fixed number of shards, each by a reader of its own, and a step takes an
equal part of its batch from every shard. A rank reads the shards whose number is its own modulo
the number of ranks. So the *global* batch of a step, and with it the gradient, is the same for 1,
2 or 4 ranks, and the steps of an epoch are known before it begins, which keeps ranks from waiting
for one another for ever.
"""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from reweight.batch import Batch
from reweight.errors import TrainingError

_COLUMNS = ("sample_id", "features", "ids", "label")


@dataclass(frozen=True)
class SnapshotFeed:
    """Calls give one epoch of this rank's batches.

    Attributes:
        folder: of Parquet files with ``sample_id``, ``features``, ``label`` and, where there are
            any, ``ids``.
        batch_size: rows of a global batch, over all ranks.
        shards: into how many parts the row groups are dealt; a multiple of ``world``.
        rank: number of this rank.
        world: number of ranks.
        seed: of the order; epoch e is read in the order of seed + e.
        shuffle: whether rows are shuffled; without, they come in the order of the files.
    """

    folder: str
    batch_size: int
    shards: int
    rank: int = 0
    world: int = 1
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        """Checks the shards.

        Raises:
            TrainingError: shards are no multiple of ranks, or there are fewer row groups.
        """
        if self.shards % self.world:
            raise TrainingError(
                "the ranks cannot share the shards evenly",
                expected=f"a number of ranks that divides fitting.shards = {self.shards}",
                came=f"{self.world} ranks",
                do="set fitting.shards to a multiple of fitting.ranks",
            )
        groups = len(self._row_groups)
        if groups < self.shards:
            raise TrainingError(
                "the snapshot has too few row groups",
                expected=f"at least fitting.shards = {self.shards}",
                came=f"{groups} in {self.folder}",
                do="lower fitting.shards (and ranks), or train on more rows",
            )

    @property
    def rows(self) -> int:
        """Rows of the snapshot."""
        return sum(self._row_groups)

    @property
    def part(self) -> int:
        """Rows that a step takes from each shard: fewer than asked where a shard is small."""
        return max(1, min(self.batch_size // self.shards, min(self._shard_rows)))

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on every rank; what is left of a shard waits a turn."""
        return min(self._shard_rows) // self.part

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, [part * shards / world] rows each."""
        own = range(self.rank, self.shards, self.world)
        with ExitStack() as stack:
            readers = [stack.enter_context(_Shard(self, shard, epoch)) for shard in own]
            for _ in range(self.steps):
                yield Batch.concat([reader.next() for reader in readers])

    @cached_property
    def _row_groups(self) -> list[int]:
        """Rows of every row group, in the order in which they are dealt to the shards."""
        footers = [pq.read_metadata(path) for path in sorted(Path(self.folder).glob("*.parquet"))]
        return [f.row_group(i).num_rows for f in footers for i in range(f.num_row_groups)]

    @cached_property
    def _shard_rows(self) -> list[int]:
        return [sum(self._row_groups[shard :: self.shards]) for shard in range(self.shards)]


class _Shard:
    """One reader of one shard in one epoch, with random numbers of its own.

    Petastorm's shuffling queue draws from torch's global generator. A state per shard, put in
    place for the time of a draw, makes the order a function of seed, epoch and shard alone.
    """

    def __init__(self, feed: SnapshotFeed, shard: int, epoch: int) -> None:
        # Petastorm calls what pyarrow 14 deprecates, thousands of times.
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        from petastorm import make_batch_reader
        from petastorm.pytorch import BatchedDataLoader

        seed = feed.seed + epoch
        # A fresh reader per epoch with one worker: more, or a reader of several epochs, give the
        # row groups in another order each time.
        self._reader: Any = make_batch_reader(
            Path(feed.folder).absolute().as_uri(),
            schema_fields=[f"^{name}$" for name in _COLUMNS],
            reader_pool_type="thread",
            workers_count=1,
            results_queue_size=2,
            shuffle_row_groups=feed.shuffle,
            seed=seed,
            num_epochs=1,
            cur_shard=shard,
            shard_count=feed.shards,
        )
        queue = 4 * feed.part if feed.shuffle else 0
        self._batches = iter(BatchedDataLoader(self._reader, feed.part, _tensor, queue))
        generator = torch.Generator().manual_seed((seed << 16) + shard)
        self._state = generator.get_state()

    def __enter__(self) -> "_Shard":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.stop()
        self._reader.join()

    def next(self) -> Batch:
        outside = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            columns = next(self._batches)
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(outside)
        sample_id = columns["sample_id"]
        ids = columns.get("ids", torch.empty((len(sample_id), 0), dtype=torch.int64))
        return Batch(sample_id, columns["features"], ids.long(), columns["label"])


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values))
