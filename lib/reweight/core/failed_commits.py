"""What a failed commit to a Delta table means, read from what Delta says."""

import re

from pyspark.errors import AnalysisException

from reweight.core.errors import TableError
from reweight.core.tables import Table

# The commit lost a race with another writer; nothing was written, so it can be retried.
# Matched by name, because Delta's Python exceptions are raised only on some versions of Spark.
_LOST_RACE = re.compile(
    r"\b((\w*Concurrent\w+|MetadataChanged|ProtocolChanged)Exception"
    r"|DELTA_CONSTRAINT_ALREADY_EXISTS|FIELDS?_ALREADY_EXISTS)\b"
)
_NULL_REFUSED = re.compile(r"NOT NULL constraint violated for column: `?(\w+)")

# A folder or a name without a table: another run is creating it, or was killed doing so.
HALF_CREATED = re.compile(
    "DELTA_(TABLE_NOT_FOUND|MISSING_DELTA_TABLE|CREATE_TABLE_WITH_NON_EMPTY_LOCATION)"
    "|TABLE_OR_VIEW_(ALREADY_EXISTS|NOT_FOUND)"
)


class OvertakenError(Exception):
    """A commit that another process overwrote: not every file system renames atomically."""


def now_nullable(table: Table, error: Exception) -> str:
    """The column of which a null was refused, if the table is declared to hold nulls in it."""
    columns, refused = table.columns(), _NULL_REFUSED.search(str(error))
    nullable = {field.name for field in columns or () if field.nullable}
    return refused[1] if refused and refused[1] in nullable else ""


def lost_race(error: Exception) -> bool:
    """Whether the commit can be tried again."""
    return (
        isinstance(error, OvertakenError)
        or _LOST_RACE.search(f"{type(error).__name__}: {error}") is not None
    )


def explained(error: Exception, table: Table, place: str, attempts: int) -> Exception:
    """What the user is told of a commit that cannot be made.

    Args:
        error: what Delta raised.
        table: the table.
        place: its name and folder.
        attempts: how often it was tried.
    """
    text = str(error)
    for mark in ("DELTA_VIOLATE_CONSTRAINT", "DELTA_NOT_NULL_CONSTRAINT", "CHECK constraint"):
        if mark in text:
            line = next(line for line in text.splitlines() if mark in line)
            return TableError(
                f"a row breaks a constraint of the table '{table.name}'",
                expected=f"{dict(table.checks)} and the NOT NULL columns",
                got=line.strip()[:500],
                fix="correct the rows that the stage reads; nothing was written",
            )
    if lost_race(error):
        return TableError(
            f"other runs kept writing to the table '{table.name}'",
            expected=f"a successful commit within {attempts} attempts",
            got=text.splitlines()[0][:300],
            fix="start the job again; nothing was written",
        )
    if HALF_CREATED.search(text):
        return TableError(
            f"the table '{table.name}' cannot be created",
            expected=f"nothing else in the place of {place}",
            got=text.splitlines()[0][:300],
            fix="move away whatever is there, or use another root or catalog for this run; "
            "nothing was written",
        )
    if isinstance(error, AnalysisException):
        return TableError(
            f"table '{table.name}' refuses the rows",
            expected="the columns and types that earlier runs wrote to it",
            got=" ".join(text.split("\n\nJVM")[0].split())[:600],
            fix="use another root or catalog for this run, or name and type the columns as in "
            "the table",
        )
    return error
