"""A Parquet snapshot as a feed of batches.

The snapshot is read as a fixed number of shards, each by its own reader, and a step takes an equal
part of its batch from every shard. A rank reads the shards whose number equals its own modulo the
number of ranks. So the *global* batch of a step, and with it the gradient, is the same for 1, 2 or
4 ranks, and the number of steps of an epoch is known before it begins, which keeps ranks from
waiting for one another forever.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.training.readers import READERS, Reading, Shard, row_groups


@dataclass(frozen=True)
class SnapshotFeed:
    """Yields this rank's batches, one epoch per call.

    Attributes:
        folder: of Parquet files with ``sample_id``, ``features``, ``label`` and, if there are any,
            ``ids`` and the columns of a sequence.
        batch_size: rows of a global batch, over all ranks.
        shards: number of shards among which the row groups are dealt; a multiple of ``world``.
        rank: number of this rank.
        world: number of ranks.
        seed: of the row order; epoch e is read in the order of seed + e.
        shuffle: whether rows are shuffled; otherwise they come in the order of the files.
        extra: additional numeric columns to read.
        reader: which reader reads the files; the batches are the same.
        whole: whether to read every row, in steps that get short at the end and differ in number
            between ranks: for passes in which ranks do not wait for one another.
    """

    folder: str
    batch_size: int
    shards: int
    rank: int = 0
    world: int = 1
    seed: int = 0
    shuffle: bool = True
    extra: tuple[str, ...] = ()
    reader: Reading = "auto"
    whole: bool = False

    def __post_init__(self) -> None:
        """Checks the shards.

        Raises:
            TrainingError: the shards are not a multiple of the ranks, there are fewer row groups
                than shards, or a file is not Parquet.
        """
        if self.shards % self.world:
            raise TrainingError(
                "the ranks cannot share the shards evenly",
                expected=f"a number of ranks that divides fitting.shards = {self.shards}",
                got=f"{self.world} ranks",
                fix="set fitting.shards to a multiple of fitting.ranks",
            )
        groups = len(self._row_groups)
        if groups < self.shards:
            raise TrainingError(
                "the snapshot has too few row groups",
                expected=f"at least fitting.shards = {self.shards} row groups",
                got=f"{groups} in {self.folder}",
                fix="lower fitting.shards (and fitting.ranks), or train on more rows",
            )

    @property
    def rows(self) -> int:
        """Number of rows in the snapshot."""
        return sum(self._row_groups)

    @property
    def part(self) -> int:
        """Rows that a step takes from each shard; fewer than requested if a shard is small."""
        return max(1, min(self.batch_size // self.shards, min(self._shard_rows)))

    @property
    def steps(self) -> int:
        """Steps of an epoch, the same on every rank; leftover rows of a shard sit it out."""
        return min(self._shard_rows) // self.part

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, [part * shards / world] rows each."""
        shards = range(self.rank, self.shards, self.world)
        with ExitStack() as stack:
            read = READERS[self.reader]
            readers = [
                stack.enter_context(closing(read(self._shard(shard, epoch)))) for shard in shards
            ]
            steps = itertools.count() if self.whole else range(self.steps)
            for _ in steps:
                parts = [part for reader in readers if (part := next(reader, None)) is not None]
                if not parts:
                    return
                yield Batch.concat(parts)

    def _shard(self, shard: int, epoch: int) -> Shard:
        return Shard(
            folder=Path(self.folder).absolute(),
            number=shard,
            count=self.shards,
            part=self.part,
            # A seed shuffles the row groups; each shard has its own.
            seed=(((self.seed + epoch) << 16) + shard) % (1 << 32) if self.shuffle else None,
            extra=self.extra,
        )

    @cached_property
    def _row_groups(self) -> list[int]:
        """Rows of every row group, in the order in which they are dealt to the shards."""
        return [group.rows for group in row_groups(Path(self.folder))]

    @cached_property
    def _shard_rows(self) -> list[int]:
        return [sum(self._row_groups[shard :: self.shards]) for shard in range(self.shards)]
