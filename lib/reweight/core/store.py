"""The only way for a stage to read or write tables.

A run replaces its own slice (``run_id = '...'``) in one atomic commit and touches nothing else. It
reads a pinned version.
"""

import json
import random
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from reweight.core.ddl import ddl
from reweight.core.errors import TableError
from reweight.core.failed_commits import (
    HALF_CREATED,
    OvertakenError,
    explained,
    lost_race,
    now_nullable,
)
from reweight.core.persisted import keep
from reweight.core.section import quoted
from reweight.core.slices import Written
from reweight.core.spark_files import drop_empty_log
from reweight.core.storable import stored, unstorable
from reweight.core.tables import Table

_ATTEMPTS = 6
# After so many attempts (3 to 10 seconds) no other run can still be creating it.
_PATIENCE = 3


@dataclass
class Store(ABC):
    """The tables as one run sees them, with a record of what was read and written.

    Attributes:
        spark: the session.
        run_id: the run whose slice is read and written.
        lineage: facts for the metadata of commits (stage, config hash, revision).
        inputs: table name -> version read; filled by ``read``.
        outputs: table name -> version written; filled by ``write``.
        own: table name -> the run's slice as this store wrote it; filled by ``write``.
        retries: how often a commit was retried because it lost a race with another run or found a
            half-created table.
        kept: frees the small slices that Spark keeps while stages are run; None at other times.
    """

    spark: SparkSession
    run_id: str
    lineage: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    own: dict[str, Written] = field(default_factory=dict)
    retries: int = 0
    kept: ExitStack | None = None

    @abstractmethod
    def name(self, table: Table) -> str:
        """The quoted SQL name of the table."""

    @abstractmethod
    def folder(self, table: Table) -> str:
        """The folder of the table's files; empty where only the catalog knows it."""

    @abstractmethod
    def exists(self, table: Table) -> bool:
        """Whether the table exists."""

    @abstractmethod
    def make_view(self, name: str, query: str) -> bool:
        """Makes a view beside the tables, unless it exists; returns whether the place has views.

        Args:
            name: name of the view.
            query: SQL, with the names of tables as ``name`` gives them.
        """

    @abstractmethod
    def check(self) -> None:
        """Checks that the place for the tables exists, before any work is done.

        Raises:
            TableError: it does not exist.
        """

    @abstractmethod
    def _make(self, table: Table, columns: StructType) -> None:
        """Creates the table if it does not exist."""

    @abstractmethod
    def _commit(
        self, table: Table, rows: DataFrame, instead_of: str | None, options: dict[str, str]
    ) -> None:
        """Writes rows in one commit, in place of those that meet a condition if there is one."""

    @abstractmethod
    def _can_be_foreign(self) -> bool:
        """Whether another kind of table may already have this name.

        If not, a table that this store has just made has the constraints that it was made with.
        """

    @contextmanager
    def keeping_small_slices(self) -> Iterator[None]:
        """Lets Spark keep the small slices that this store writes and reads within the block."""
        with ExitStack() as self.kept:
            try:
                yield
            finally:
                self.kept = None

    def read(
        self, table: Table, run_id: str | None = None, *, may_be_empty: bool = False
    ) -> DataFrame:
        """The run's slice of the table, pinned to the current version.

        What this store wrote itself is read as it wrote it: nobody else replaces the run's slice,
        so neither the version nor whether there are rows has to be asked for.

        Args:
            table: the table.
            run_id: the run; by default that of the store.
            may_be_empty: whether the run may have written no rows.

        Raises:
            TableError: the table does not exist or has no rows of the run.
        """
        run_id = run_id or self.run_id
        own = self.own.get(table.name) if run_id == self.run_id else None
        if own is None:
            if not self.exists(table):
                raise self._missing(table, run_id, "no such table")
            own = Written(int(self.history(table, 1)[0]["version"]))
        frame = self._pinned(table, own.version).where(F.col("run_id") == run_id)
        if own.small and self.kept is not None:
            keep(frame, self.kept)
        if not (own.rows or may_be_empty) and frame.isEmpty():
            raise self._missing(table, run_id, "the table has no row of this run")
        self.inputs[table.name] = own.version
        return frame

    def read_of_all_runs(self, table: Table) -> DataFrame | None:
        """The rows of all runs, pinned to the current version; None if there is no table."""
        if not self.exists(table):
            return None
        version = int(self.history(table, 1)[0]["version"])
        self.inputs[table.name] = version
        return self._pinned(table, version)

    def _pinned(self, table: Table, version: int) -> DataFrame:
        # Safe to interpolate: the name is quoted, and the version is a number.
        return stored(
            self.spark.sql(f"SELECT * FROM {self.name(table)} VERSION AS OF {version}")  # noqa: S608
        )

    def history(self, table: Table, commits: int) -> list[Row]:
        """The newest commits of the table, newest first."""
        # The Python class of open-source Delta does not accept three-part names.
        return self.spark.sql(f"DESCRIBE HISTORY {self.name(table)} LIMIT {commits}").collect()

    def check_types(self, table: Table, schema: StructType) -> None:
        """Checks that the table can hold columns of these types, before the rows are computed.

        Raises:
            TableError: it cannot.
        """
        if wrong := unstorable(schema):
            name = min(wrong)
            raise TableError(
                f"the table '{table.name}' cannot hold all columns",
                expected="numbers, texts, times, booleans, and arrays, maps and structs of them",
                got=", ".join(f"{column}: {kind}" for column, kind in wrong.items()),
                fix=f"cast them in the config: {name}: cast(null AS string) for a null, "
                f"{name}: cast(... AS string) or a number for another type; nothing was written",
            )

    def write(self, table: Table, rows: DataFrame, where: str | None = None) -> int:
        """Replaces the run's slice of the table in one commit.

        Args:
            table: the table to write to.
            rows: the slice; ``run_id`` is added here.
            where: a condition that all of ``rows`` meet; only rows that meet it are replaced.

        Returns:
            The number of rows written, as counted by Delta.

        Raises:
            TableError: columns or types differ from the table's, a row breaks a constraint, or the
                table cannot be created or written.
        """
        rows = self._conformed(table, rows)
        facts = {"run_id": self.run_id, **self.lineage, "inputs": self.inputs}
        commit = json.dumps(facts | {"commit": uuid.uuid4().hex})
        # An earlier version may have made the table without a column that is declared now.
        options = {"mergeSchema": "true", "userMetadata": commit}
        condition = f"run_id = '{self.run_id}'" + (f" AND ({where})" if where else "")
        nullable = ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                is_new = self._create(table, rows.schema)
                if nullable:
                    self._allow_nulls(table, nullable)
                if where is not None:
                    self._add_columns(table)
                # What is new has nothing to replace, and looking takes as long as writing few rows.
                self._commit(table, rows, None if is_new else condition, options)
                written = self._committed(table, commit, rows, is_new)
                if where is not None:
                    written = written._replace(bytes=None)
                self.own[table.name], self.outputs[table.name] = written, written.version
                return written.rows
            except Exception as error:
                half_created = HALF_CREATED.search(str(error)) is not None
                if isinstance(error, TableError):
                    raise
                if (
                    attempt < _ATTEMPTS
                    and not nullable
                    and (nullable := now_nullable(table, error))
                ):
                    continue
                if attempt == _ATTEMPTS or not (half_created or lost_race(error)):
                    place = self.folder(table) or "a folder of the catalog"
                    named = f"{self.name(table)} ({place})"
                    raise explained(error, table, named, _ATTEMPTS) from error
                if half_created and attempt == _PATIENCE:
                    self._clear(table)
                # Somebody else is at it: nothing that was known of the table holds.
                self.own.pop(table.name, None)
                self.retries += 1
                # Random, so that runs that collided do not collide again.
                time.sleep(random.uniform(0.5, 1.5) * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def _add_columns(self, table: Table) -> None:
        """Adds the declared columns that an earlier version did not have: a condition may use them.

        Raises:
            AnalysisException: somebody else has just added them.
        """
        schema = table.columns()
        if schema is None or table.name in self.own:
            return
        name = self.name(table)
        present = self.spark.sql(f"SELECT * FROM {name} LIMIT 0").columns  # noqa: S608
        missing = StructType([f for f in schema if f.name not in present])
        if missing.fields:
            self.spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({ddl(missing)})")

    def _allow_nulls(self, table: Table, column: str) -> None:
        """Lifts the NOT NULL that the column had when an earlier version made the table."""
        name = self.name(table)
        self.spark.sql(f"ALTER TABLE {name} ALTER COLUMN {quoted(column)} DROP NOT NULL")

    def _conformed(self, table: Table, rows: DataFrame) -> DataFrame:
        rows = rows.select(
            F.lit(self.run_id).alias("run_id"), *[c for c in rows.columns if c != "run_id"]
        )
        schema = table.columns()
        if schema is None:
            self.check_types(table, rows.schema)
            return rows
        expected = {f.name: f.dataType.simpleString() for f in schema}
        got = {f.name: f.dataType.simpleString() for f in rows.schema}
        if expected != got:
            differ = sorted(set(expected.items()) ^ set(got.items()))
            raise TableError(
                f"rows do not fit the table '{table.name}'",
                expected=str({k: v for k, v in differ if expected.get(k) == v}),
                got=str({k: v for k, v in differ if got.get(k) == v}),
                fix=f"report this: it is a bug in the stage '{table.made_by}'",
            )
        return rows.select(*schema.names)

    def _create(self, table: Table, schema: StructType) -> bool:
        """Makes the table, or checks the one that is there, unless this store wrote it before.

        Returns:
            Whether there was none, and so no row of the run.
        """
        if table.name in self.own:
            return False
        is_new = not self.exists(table)
        if is_new:
            # The rows of one run cannot tell which columns of an open table are never null.
            nullable = StructType([StructField(f.name, f.dataType) for f in schema])
            self._make(table, table.columns() or nullable)
            if not self._can_be_foreign():
                return True
        if not (table.checks or self._can_be_foreign()):
            return False
        detail: Any = self.spark.sql(f"DESCRIBE DETAIL {self.name(table)}").first()
        if (detail["format"], detail["partitionColumns"]) != ("delta", ["run_id"]):
            raise TableError(
                f"there is another table in the place of '{table.name}'",
                expected=f"no table {self.name(table)}, or one that earlier runs wrote",
                got=f"a {detail['format']} table, partitioned by {detail['partitionColumns']}",
                fix="use a separate root or schema for the runs; nothing was written",
            )
        for name, condition in table.checks.items():
            if f"delta.constraints.{name}" not in detail["properties"]:
                self.spark.sql(
                    f"ALTER TABLE {self.name(table)} ADD CONSTRAINT {name} CHECK ({condition})"
                )
        return is_new

    def _clear(self, table: Table) -> None:
        """Removes the log of a half-created table, over which Delta refuses to create one."""
        folder = self.folder(table)
        if folder and not self.exists(table):
            drop_empty_log(self.spark, folder)

    def _committed(self, table: Table, commit: str, rows: DataFrame, is_new: bool) -> Written:
        # Several entries, since other runs may have committed in the meantime.
        history = self.history(table, 20)
        matching = [entry for entry in history if entry["userMetadata"] == commit]
        if matching:
            before = history[history.index(matching[0]) + 1 :]
            own = f'"run_id": "{self.run_id}"'
            if is_new and any(own in (entry["userMetadata"] or "") for entry in before):
                raise OvertakenError(f"another job of the run wrote to the new table {table.name}")
            measured, version = matching[0]["operationMetrics"], int(matching[0]["version"])
            size = measured.get("numOutputBytes")
            count = int(measured.get("numOutputRows", 0))
            return Written(version, count, None if size is None else int(size))
        # Replacing no rows with no rows makes no commit; writing rows always does.
        if not rows.isEmpty():
            raise OvertakenError(f"a commit to '{table.name}' is not in its history")
        return Written(int(history[0]["version"]))

    def _missing(self, table: Table, run_id: str, got: str) -> TableError:
        return TableError(
            f"table '{table.name}' has nothing for run '{run_id}'",
            expected=f"rows with run_id = '{run_id}' in {self.name(table)}",
            got=got,
            fix=f"run the stage '{table.made_by}' first",
        )
