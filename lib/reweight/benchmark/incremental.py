"""Incremental work: a few keys per commit, and keys already in the table are skipped."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame

from reweight.core.errors import TableError
from reweight.core.logging import is_interactive, progress_bar
from reweight.core.run import JobRun
from reweight.core.session_kind import slots
from reweight.core.tables import Table

# Keys per commit and slot of the session: more lose more work at a stop, fewer leave slots idle.
_PER_SLOT = 4


def done(run: JobRun[Any], table: Table, column: str, keys: Sequence[str]) -> set[str]:
    """The keys that this run's rows of the table already have.

    Args:
        run: the run.
        table: the table with the results.
        column: the column of the table that names the key of a row.
        keys: the keys to look for.

    Raises:
        TableError: the table exists without the column.
    """
    try:
        rows = run.store.read(table)
    except TableError:
        return set()
    if column not in rows.columns:
        raise TableError(
            f"the table '{table.name}' has an earlier schema",
            expected=f"a column '{column}' in {run.store.name(table)}",
            got=f"the columns {rows.columns}",
            fix="move the table away, or give this run another root",
        )
    values = rows.select(column).distinct().toPandas()[column]
    return set(values) & set(keys)


def in_pieces(
    run: JobRun[Any],
    table: Table,
    column: str,
    keys: Sequence[str],
    done_keys: set[str],
    compute: Callable[[list[str]], DataFrame],
) -> int:
    """Writes the rows of every missing key, a few keys per commit, and reports progress.

    Args:
        run: the run, whose rows of the table are the rows of the keys and nothing else.
        table: the table with the results.
        column: the column of the table that names the key of a row.
        keys: all keys of the run.
        done_keys: the keys that ``done`` returned.
        compute: makes the rows of the given keys.

    Returns:
        The number of keys that were missing.
    """
    missing = [key for key in keys if key not in done_keys]
    if done_keys:
        run.say(f"{len(done_keys)} of {len(keys)} {column}s are already done")
    size = _PER_SLOT * slots(run.spark)
    started = time.monotonic()
    with progress_bar(len(missing), f"{column}s", column) as bar:
        for start in range(0, len(missing), size):
            chunk = missing[start : start + size]
            names = ", ".join(f"'{key}'" for key in chunk)
            # The first commit under new settings removes the rows of earlier ones.
            where = f"{column} IN ({names})" if done_keys or start else None
            run.store.write(table, compute(chunk), where)
            bar.update(len(chunk))
            if not is_interactive():
                finished = start + len(chunk)
                seconds_left = (time.monotonic() - started) / finished * (len(missing) - finished)
                estimate = f", about {seconds_left:.0f} s left" if seconds_left else ""
                run.say(f"{len(done_keys) + finished} of {len(keys)} {column}s{estimate}")
    return len(missing)


def found(run: JobRun[Any], table: Table, column: str, keys: Sequence[str]) -> pd.DataFrame:
    """The rows of the keys, in the driver's memory: the tables are small by nature."""
    rows = run.store.read(table).drop("run_id").toPandas()
    return rows[rows[column].isin(keys)].reset_index(drop=True)
