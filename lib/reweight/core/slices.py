"""What a store knows of the slices that it wrote, and small ones that Spark keeps for it.

Every query of a Delta table first runs a job that finds the files to read. For few rows that job
takes longer than the reading: a run of a thousand samples took a fifth less time without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

# Bytes of Parquet.
_SMALL = 16 << 20


class Written(NamedTuple):
    """A slice as a store wrote it.

    Attributes:
        version: version of the table.
        rows: number of rows of the commit.
        bytes: size of its files.
        whole: whether the commit replaced the whole slice.
    """

    version: int
    rows: int = 0
    bytes: int = 0
    whole: bool = False

    @property
    def small(self) -> bool:
        """Whether the slice is known to be small."""
        return self.whole and self.bytes <= _SMALL


class KeptSlices:
    """Slices that Spark keeps, by the name of their table; each is computed at its first use."""

    def __init__(self) -> None:
        self._kept = dict[str, tuple[int, DataFrame]]()

    def keep(self, table: str, version: int, rows: DataFrame) -> None:
        """Keeps a slice for all queries of the same version, where Spark can.

        Args:
            table: name of the table; what was kept of an earlier version is freed.
            version: version of the table.
            rows: the slice.
        """
        if (kept := self._kept.get(table)) is not None:
            if kept[0] == version:
                return
            self._free(table)
        try:
            self._kept[table] = version, rows.persist(StorageLevel.DISK_ONLY)
        except PySparkException:
            # Serverless compute keeps nothing; the table is read each time.
            return

    def free(self) -> None:
        """Frees all that is kept."""
        for table in list(self._kept):
            self._free(table)

    def _free(self, table: str) -> None:
        self._kept.pop(table)[1].unpersist()


@contextmanager
def kept_slices() -> Iterator[KeptSlices]:
    """Slices that are kept within the block."""
    kept = KeptSlices()
    try:
        yield kept
    finally:
        kept.free()
