"""Long work in pieces: a few in each commit, and what is in the table is not done again."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame

from reweight.core.errors import TableError
from reweight.core.run import JobRun
from reweight.core.tables import Table

# Pieces of a commit, for each slot of the session: what a stop loses, and what waits for the last.
_PER_SLOT = 4


def done(run: JobRun[Any], table: Table, column: str, keys: Sequence[str]) -> set[str]:
    """Which of the keys are in the column of the table, in this run's rows.

    Raises:
        TableError: the table is there without the column.
    """
    try:
        rows = run.store.read(table)
    except TableError:
        return set()
    if column not in rows.columns:
        raise TableError(
            f"the table '{table.name}' is of an earlier form",
            expected=f"a column '{column}' in {run.store.name(table)}",
            got=str(rows.columns),
            fix="move the table away, or give this run another root",
        )
    found = rows.select(column).distinct().toPandas()[column]
    return set(found) & set(keys)


def in_pieces(
    run: JobRun[Any],
    table: Table,
    column: str,
    keys: Sequence[str],
    there: set[str],
    judged: Callable[[list[str]], DataFrame],
) -> int:
    """Writes the rows of every key that is not there, a few keys in each commit.

    Args:
        run: says how far the work is.
        table: its slice of this run holds the rows of the keys alone.
        column: of the table, names the key of a row.
        keys: all that is wanted.
        there: those of them that ``done`` found.
        judged: makes the rows of some keys.

    Returns:
        How many keys were left.
    """
    left = [key for key in keys if key not in there]
    if there:
        run.say(f"{len(there)} of {len(keys)} {column}s are there already")
    size = _PER_SLOT * run.spark.sparkContext.defaultParallelism
    began = time.monotonic()
    for start in range(0, len(left), size):
        chunk = left[start : start + size]
        own = ", ".join(f"'{key}'" for key in chunk)
        # What earlier settings left goes with the first commit under new ones.
        where = f"{column} IN ({own})" if there or start else None
        run.store.write(table, judged(chunk), where)
        ready = start + len(chunk)
        rest = (time.monotonic() - began) / ready * (len(left) - ready)
        about = f", about {rest:.0f} s left" if rest else ""
        run.say(f"{len(there) + ready} of {len(keys)} {column}s{about}")
    return len(left)


def found(run: JobRun[Any], table: Table, column: str, keys: Sequence[str]) -> pd.DataFrame:
    """Rows of the keys, in the driver's memory: of tables that are small by nature."""
    rows = run.store.read(table).drop("run_id").toPandas()
    return rows[rows[column].isin(keys)].reset_index(drop=True)
