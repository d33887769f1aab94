"""What a failed commit to a Delta table means, read from what Delta says."""

import re

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
