"""Whether a run's slice of a table is still as the run wrote it, by the history of the table."""

import json
from typing import Any

from pyspark.sql import Row

from reweight.core.store import Store
from reweight.core.tables import Table

# Operations of others after which the rows are the same.
_SAME_ROWS = {
    *("OPTIMIZE", "REORG", "VACUUM START", "VACUUM END", "COMPUTE STATS", "UPGRADE PROTOCOL"),
    *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD CONSTRAINT", "DROP CONSTRAINT"),
    *("ADD COLUMNS", "CHANGE COLUMN", "CREATE TABLE", "CLUSTER BY"),
}


def is_untouched(store: Store, table: Table, version: int, *, filled: bool = True) -> bool:
    """Whether nobody has changed the run's slice since the run wrote a version.

    Reads the newest commits only. What they do not show counts as changed.

    Args:
        store: the tables, as the run sees them.
        table: the table.
        version: the version that the run wrote, or found if it had no row to write.
        filled: whether it wrote rows.
    """
    if not store.exists(table):
        return False
    commits = store.history(table, 1)
    if (later := int(commits[0]["version"]) - version) > 0:
        commits = store.history(table, later + 1)
    written = commits[-1]
    if int(written["version"]) != version or (filled and _writer(written) != store.run_id):
        return False
    return all(_is_of_others(commit, store.run_id) for commit in commits[:-1])


def _is_of_others(commit: Row, run_id: str) -> bool:
    """Whether a commit leaves the run's slice as it is."""
    writer = _writer(commit)
    return commit["operation"] in _SAME_ROWS if writer is None else writer != run_id


def _writer(commit: Row) -> str | None:
    """The run that made a commit; None if no run did."""
    try:
        facts: Any = json.loads(commit["userMetadata"] or "{}")
    except json.JSONDecodeError:
        return None
    return facts.get("run_id") if isinstance(facts, dict) else None
