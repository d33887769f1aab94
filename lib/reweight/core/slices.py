"""What a store knows of the slices that it wrote."""

from typing import NamedTuple

# Bytes of Parquet. Every query of a Delta table first runs a job that finds the files to read; for
# so few rows it takes longer than the reading.
_SMALL = 16 << 20


class Written(NamedTuple):
    """A slice as a store wrote it.

    Attributes:
        version: version of the table.
        rows: number of rows of the commit.
        bytes: size of the whole slice; None if it is not known, as after a part was replaced.
    """

    version: int
    rows: int = 0
    bytes: int | None = None

    @property
    def small(self) -> bool:
        """Whether the slice is known to be small."""
        return self.bytes is not None and self.bytes <= _SMALL
