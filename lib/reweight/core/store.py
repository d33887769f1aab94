"""The only way in which a stage reads or writes rows of the tables.

A run replaces its own slice (``run_id = '...'``) in one atomic commit and touches nothing else; it
reads one pinned version.
"""

import json
import random
import re
import time
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from reweight.core.errors import TableError
from reweight.core.tables import (
    Table,
)

# A commit that another writer was faster than; nothing was written, so it can be tried again.
# Known by name: Delta's Python classes for these reach us on some versions of Spark only.
_LOST_RACE = re.compile(
    r"\b((\w*Concurrent\w+|MetadataChanged|ProtocolChanged)Exception"
    r"|DELTA_CONSTRAINT_ALREADY_EXISTS)\b"
)


_ATTEMPTS = 6


# A folder or a name without a table: another run makes it right now, or was killed as it did.
_UNMADE = re.compile(
    "DELTA_(TABLE_NOT_FOUND|MISSING_DELTA_TABLE|CREATE_TABLE_WITH_NON_EMPTY_LOCATION)"
    "|TABLE_OR_VIEW_(ALREADY_EXISTS|NOT_FOUND)"
)


# After so many attempts (3 to 10 seconds) nobody is at it any more.
_PATIENCE = 3


@dataclass
class Store(ABC):
    """The tables as one run sees them; remembers what was read and written.

    Attributes:
        spark: the session.
        run_id: whose slice is read and written.
        lineage: facts that go into the commit's metadata (stage, config hash, revision).
        inputs: table name to version read, filled by ``read``.
        outputs: table name to version written, filled by ``write``.
        retries: how often a commit was tried again: it lost a race with another run's, or found a
            table half made.
    """

    spark: SparkSession
    run_id: str
    lineage: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    retries: int = 0

    @abstractmethod
    def name(self, table: Table) -> str:
        """The table as SQL names it, quoted."""

    @abstractmethod
    def folder(self, table: Table) -> str:
        """Where the table's files are; empty where only the catalog knows it."""

    @abstractmethod
    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""

    @abstractmethod
    def check(self) -> None:
        """Looks for the place of the tables, before work is done for them.

        Raises:
            TableError: it is not there.
        """

    @abstractmethod
    def _make(self, table: Table, columns: StructType) -> None:
        """Makes the table where it does not exist."""

    @abstractmethod
    def _overwrite(self, table: Table, rows: DataFrame, own: str, options: dict[str, str]) -> None:
        """Replaces the rows that fulfil a condition in one commit."""

    @abstractmethod
    def _can_be_foreign(self) -> bool:
        """Whether something else may stand in the table's place."""

    def read(self, table: Table, run_id: str | None = None) -> DataFrame:
        """The run's slice of the table, at the version that is newest now.

        Raises:
            TableError: the table, or the run's slice of it, is not there.
        """
        run_id = run_id or self.run_id
        if not self.exists(table):
            raise self._missing(table, run_id, "no such table")
        version = self.history(table, 1)[0]["version"]
        # The name is made of checked parts or quoted, the version a number.
        pinned = self.spark.sql(f"SELECT * FROM {self.name(table)} VERSION AS OF {version}")  # noqa: S608
        frame = pinned.where(F.col("run_id") == run_id)
        if frame.isEmpty():
            raise self._missing(table, run_id, "the table has no row of this run")
        self.inputs[table.name] = version
        return frame

    def history(self, table: Table, commits: int) -> list[Row]:
        """The newest commits of the table, newest first."""
        # Of the open-source Delta the Python class takes no name of three parts.
        return self.spark.sql(f"DESCRIBE HISTORY {self.name(table)} LIMIT {commits}").collect()

    def write(self, table: Table, rows: DataFrame, where: str | None = None) -> int:
        """Replaces the run's slice of the table in one commit.

        Args:
            table: where to.
            rows: the slice; ``run_id`` is added here.
            where: a condition that all of ``rows`` fulfil: only what fulfils it is replaced.

        Returns:
            The number of rows written, as Delta counted them.

        Raises:
            TableError: columns or types differ from the table's, or a constraint is broken.
        """
        rows = self._conformed(table, rows)
        commit = json.dumps(
            {
                "run_id": self.run_id,
                **self.lineage,
                "inputs": self.inputs,
                "commit": uuid.uuid4().hex,
            }
        )
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._create(table, rows.schema)
                self._replace(table, rows, where, commit)
                return self._committed(table, commit, rows)
            except Exception as error:
                unmade = _UNMADE.search(str(error)) is not None
                if isinstance(error, TableError):
                    raise
                if attempt == _ATTEMPTS or not (unmade or _lost_race(error)):
                    raise self._explained(table, error) from error
                if unmade and attempt == _PATIENCE:
                    self._clear(table)
                self.retries += 1
                # Runs that collided must not do so again in step.
                time.sleep(random.uniform(0.5, 1.5) * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def _replace(self, table: Table, rows: DataFrame, where: str | None, commit: str) -> None:
        own = f"run_id = '{self.run_id}'" + (f" AND ({where})" if where else "")
        options = {"mergeSchema": str(table.schema is None).lower(), "userMetadata": commit}
        self._overwrite(table, rows, own, options)

    def _conformed(self, table: Table, rows: DataFrame) -> DataFrame:
        rows = rows.select(
            F.lit(self.run_id).alias("run_id"), *[c for c in rows.columns if c != "run_id"]
        )
        schema = table.columns()
        if schema is None:
            return rows
        expected = {f.name: f.dataType.simpleString() for f in schema}
        got = {f.name: f.dataType.simpleString() for f in rows.schema}
        if expected != got:
            differ = sorted(set(expected.items()) ^ set(got.items()))
            raise TableError(
                f"rows do not fit the table '{table.name}'",
                expected=str({k: v for k, v in differ if expected.get(k) == v}),
                got=str({k: v for k, v in differ if got.get(k) == v}),
                fix=f"this is a fault of the stage '{table.made_by}': please report it",
            )
        return rows.select(*schema.names)

    def _create(self, table: Table, schema: StructType) -> None:
        if not self.exists(table):
            # Of an open table nothing is known but this run's rows: no column is NOT NULL.
            loose = StructType([StructField(f.name, f.dataType) for f in schema])
            self._make(table, table.columns() or loose)
        if not (table.checks or self._can_be_foreign()):
            return
        detail: Any = self.spark.sql(f"DESCRIBE DETAIL {self.name(table)}").first()
        if (detail["format"], detail["partitionColumns"]) != ("delta", ["run_id"]):
            raise TableError(
                f"there is another table in the place of '{table.name}'",
                expected=f"no table {self.name(table)}, or one that runs wrote before",
                got=f"one of the form {detail['format']}, cut by {detail['partitionColumns']}",
                fix="give the runs a root or a schema of their own; nothing was written",
            )
        for name, condition in table.checks.items():
            if f"delta.constraints.{name}" not in detail["properties"]:
                self.spark.sql(
                    f"ALTER TABLE {self.name(table)} ADD CONSTRAINT {name} CHECK ({condition})"
                )

    def _clear(self, table: Table) -> None:
        """Removes the log of a table that was never made: Delta refuses to make it over that."""
        folder = self.folder(table)
        if self.exists(table) or not folder:
            return
        jvm: Any = self.spark._jvm
        path: Any = jvm.org.apache.hadoop.fs.Path
        log = path(f"{folder}/_delta_log")
        files = log.getFileSystem(self.spark._jsc.hadoopConfiguration())
        # With a commit it is a table, though the catalog does not know it (any more).
        if not files.globStatus(path(log, "[0-9]*")):
            files.delete(log, True)

    def _committed(self, table: Table, commit: str, rows: DataFrame) -> int:
        # Small by nature: the newest entries of the log. Another run may have written since.
        history = self.history(table, 20)
        own = [entry for entry in history if entry["userMetadata"] == commit]
        # Nothing over nothing is no commit; any rows are one.
        if not own and not rows.isEmpty():
            raise _OvertakenError(f"a commit to '{table.name}' is not in its history")
        self.outputs[table.name] = int((own or history)[0]["version"])
        return int(own[0]["operationMetrics"].get("numOutputRows", 0)) if own else 0

    def _missing(self, table: Table, run_id: str, got: str) -> TableError:
        return TableError(
            f"table '{table.name}' has nothing for run '{run_id}'",
            expected=f"rows with run_id = '{run_id}' in {self.name(table)}",
            got=got,
            fix=f"run the stage '{table.made_by}' first",
        )

    def _explained(self, table: Table, error: Exception) -> Exception:
        text = str(error)
        for mark in ("DELTA_VIOLATE_CONSTRAINT", "DELTA_NOT_NULL_CONSTRAINT", "CHECK constraint"):
            if mark in text:
                line = next(line for line in text.splitlines() if mark in line)
                return TableError(
                    f"a row breaks a constraint of the table '{table.name}'",
                    expected=f"{dict(table.checks)} and the NOT NULL columns",
                    got=line.strip()[:500],
                    fix="nothing was written; mend the rows that the stage read",
                )
        if _lost_race(error):
            return TableError(
                f"other runs write the table '{table.name}' all the time",
                expected=f"a turn within {_ATTEMPTS} attempts",
                got=text.splitlines()[0][:300],
                fix="start the job again; nothing was written",
            )
        if _UNMADE.search(text):
            return TableError(
                f"the table '{table.name}' cannot be made",
                expected=f"nothing else in the place of {self.name(table)} "
                f"({self.folder(table) or 'a folder of the catalog'})",
                got=text.splitlines()[0][:300],
                fix="move away what is in its place, or give this run another root or catalog; "
                "nothing was written",
            )
        if isinstance(error, AnalysisException):
            return TableError(
                f"table '{table.name}' refuses the rows",
                expected="the columns and types that earlier runs wrote to it",
                got=" ".join(text.split("\n\nJVM")[0].split())[:600],
                fix="give this run another root or catalog, or name and type the columns as the "
                "table has them",
            )
        return error


class _OvertakenError(Exception):
    """A commit that another process's has replaced: not every file system renames atomically."""


def _lost_race(error: Exception) -> bool:
    return (
        isinstance(error, _OvertakenError)
        or _LOST_RACE.search(f"{type(error).__name__}: {error}") is not None
    )
