"""What every reader gives beside the columns of the log: where a row is from, and its text."""

from collections.abc import Iterable

from pyspark.sql import Column
from pyspark.sql import functions as F

from reweight.core.columns import as_json
from reweight.core.errors import SourceError
from reweight.core.section import quoted

# The row as text; whether it does not parse; its file; why it is no row of the log, if it is none
# ("header" for a line of column names, "where" for a row that the source's `where` leaves out); and
# the name of its source.
ADDED = ("_raw", "_malformed", "_source_file", "_left_out", "_source")


def check_free(key: str, columns: Iterable[str]) -> None:
    """Checks that a log does not use the names that readers add.

    Raises:
        SourceError: it does.
    """
    if taken := [c for c in columns if c.lower() in ADDED]:
        raise SourceError(
            f"cleaning.{key} has columns with reserved names",
            expected=f"any names except {list(ADDED)}",
            got=str(taken),
            fix="rename these columns in the files",
        )


def check_folders(
    key: str, place: str, form: str, folders: Iterable[str], columns: Iterable[str]
) -> None:
    """Checks that folders such as ``day=2026-01-31`` are no columns of the files in them.

    Args:
        key: key of the source in ``cleaning``.
        place: its path.
        form: how the names of the files end.
        folders: the columns that the folders are.
        columns: those of the files.

    Raises:
        SourceError: they are, and Spark would replace the values in the files by those of folders.
    """
    lower = {name.lower() for name in columns}
    if shared := sorted({c for c in folders if c.lower() in lower}):
        raise SourceError(
            f"the files and the folders of cleaning.{key} have columns of one name",
            expected="names of folders, such as day=2026-01-31, that no column of the files has",
            got=str(shared),
            fix="to read those of the files alone, let the path end in the names of files, such as "
            f"{place.rstrip('/')}/*/*.{form}",
        )


def as_text(columns: list[str]) -> Column:
    """Fields as JSON."""
    return as_json(*[F.col(quoted(c)) for c in columns])
