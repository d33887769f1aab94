"""Delta tables: the only way in which a stage reads or writes rows.

They are folders under the root of the runs, or tables of a catalog. Every table holds the rows of
many runs. A run replaces its own slice (``run_id = '...'``) in one atomic commit and touches
nothing else; it reads one pinned version.
"""

import json
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from delta.tables import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType

from reweight.errors import TableError
from reweight.section import quoted


@dataclass(frozen=True)
class Table:
    """A Delta table of the runs.

    Attributes:
        name: of its folder under ``<root>/tables``, or in the schema of a catalog.
        made_by: the stage that writes it, named in error messages.
        schema: DDL of the columns beside ``run_id``; None where the config names the columns.
        checks: CHECK constraints, name to SQL condition.
    """

    name: str
    made_by: str
    schema: str | None = None
    checks: Mapping[str, str] = field(default_factory=dict)

    def columns(self) -> StructType | None:
        """The declared schema with ``run_id`` in front, or None for an open table."""
        if self.schema is None:
            return None
        # Spark 3.5 has no other public way from DDL to a schema.
        ddl = "run_id string not null, " + self.schema
        return SparkSession.active().createDataFrame([], ddl).schema


EVENTS = Table("events", "clean_logs")
"""What happened, a row for each usable line of the logs; its columns are the config's.

Attributes:
    event_time: when it happened, UTC.
    ...: the other columns of ``cleaning.columns`` and of ``cleaning.lookups``.
"""
REJECTED = Table(
    "rejected",
    "clean_logs",
    "source string not null, source_file string, reasons array<string> not null, raw string",
)
"""Lines of the logs that are no events, each with all reasons against it.

Attributes:
    source: name of the source in ``cleaning.sources``.
    source_file: path of the file.
    reasons: names of all rules that the row breaks.
    raw: the row as it was read.
"""
TRUTH = Table(
    "truth",
    "simulate_logs",
    "impression_id string not null, relevance double, seen boolean, bot boolean, "
    "wanted boolean, would_buy boolean, delay_hours double, recorded boolean",
)
"""What a simulated log does not say, a row for each impression; only benchmarks may read it.

Attributes:
    impression_id: of the impression.
    relevance: probability of a click on what is seen.
    seen: whether the user looked at it.
    bot: whether the user is a program.
    wanted: whether the user wanted the item, seen or not.
    would_buy: whether a purchase follows, in the log or not.
    delay_hours: from the impression to the purchase; null where none follows.
    recorded: whether the log has a purchase.
"""
SAMPLES = Table(
    "samples",
    "build_samples",
    "sample_id bigint not null, group_id string not null, event_time timestamp not null, "
    "label float, label_time timestamp, mature boolean not null, elapsed double, delay double, "
    "split string not null, "
    "target boolean not null, segment string, position int, propensity double, value double, "
    "features array<float> not null, ids array<int> not null",
)
"""Training rows made of events.

Attributes:
    sample_id: hash of 64 bits of the sample's key.
    group_id: user or session: what intervals resample, and what a split by group keeps together.
    event_time: when the sample was, UTC.
    label: 1 or 0; null where it is not known yet.
    label_time: when the first label event came.
    mature: whether the label window was over when the label was taken.
    elapsed: how much of the window was over then, as a share of it.
    delay: when in the window the label came, as a share of it; null where none came.
    split: ``train``, ``validation`` or ``test``; ``immature`` and ``gap`` belong to none of them.
    target: whether the row is of the newest part of the training split (``splits.target``).
    segment: slice of the report, and what some methods weigh (``sampling.segment``).
    position: place in the list, counted from 1 (``sampling.keep``).
    propensity: known probability that the row was looked at (``sampling.keep``).
    value: what the row brought, if it is positive (``sampling.keep``).
    features: dense features, D numbers.
    ids: hashed categorical values, F numbers.
"""
WEIGHTS = Table(
    "weights",
    "score_weights",
    "method string not null, sample_id bigint not null, importance double not null, "
    "weight double not null, label float, in_sample boolean not null",
    # NaN passes `weight >= 0` in Spark (NaN is the largest value), so the upper bound is stated.
    {
        "weight_range": "weight >= 0 AND weight < double('Infinity')",
        "label_range": "label IS NULL OR (label >= 0 AND label <= 1)",
    },
)
"""Importance and weight, a row for each sample and method.

Attributes:
    method: name of the method in the run.
    sample_id: of the sample.
    importance: raw output of the method.
    weight: what the ranker is given; of mean 1 over the training split.
    label: soft label to train on; null where the recorded label counts.
    in_sample: whether all networks that scored this training row were trained on it; false with
        ``model_run_id``.
"""
PREDICTIONS = Table(
    "predictions",
    "train_ranker",
    "method string not null, sample_id bigint not null, group_id string not null, "
    "segment string, split string not null, label float not null, probability double not null",
    {"probability_range": "probability >= 0 AND probability <= 1"},
)
"""What the rankers say, a row for each validation and test sample and method.

Attributes:
    method: by whose weights the ranker was trained.
    sample_id: of the sample.
    group_id: of the sample.
    segment: of the sample.
    split: ``validation`` or ``test``.
    label: recorded label.
    probability: p(y = 1) by the ranker.
"""
METRICS = Table(
    "metrics",
    "evaluate",
    "method string not null, seed bigint not null, split string not null, segment string, "
    "name string not null, kind string not null, value double, low double, high double",
)
"""Results, a row for each number.

Attributes:
    method: that it is of.
    seed: of the run.
    split: on whose rows it was measured.
    segment: on whose rows it was measured; null for all.
    name: of the metric.
    kind: ``value``; ``difference``, to that of ``uniform`` on the same rows; ``weight``, of the
        weights of the training rows.
    value: the number.
    low: lower end of its interval.
    high: upper end of its interval.
"""
ATTRIBUTIONS = Table(
    "attributions",
    "explain",
    "method string not null, part string not null, rows bigint not null, mean double not null, "
    "mean_abs double not null, mean_0 double, mean_1 double",
)
"""What importance is made of, a row for each method and part.

Attributes:
    method: that it is of.
    part: a feature; ``(categories)``, all of them together; ``(base)``, what a row that has nothing
        gets; ``(remainder)``, what the sum leaves over.
    rows: training rows that were looked at.
    mean: of what the part adds to importance.
    mean_abs: of its absolute value: how much the part moves importance.
    mean_0: of what it adds in rows with label 0.
    mean_1: of what it adds in rows with label 1.
"""
BENCHMARK = Table(
    "benchmark",
    "benchmark",
    "cell string not null, table string not null, damage string not null, rate double not null, "
    "seed bigint not null, method string not null, name string not null, share double, "
    "value double, reason string",
    # A row says a number or why there is none.
    {"value_or_reason": "(value IS NULL) <> (reason IS NULL)"},
)
"""Which methods find planted faults, a row for each cell, method and number.

Attributes:
    cell: hash of the cell and of all that its result depends on.
    table: name of the public table.
    damage: kind of the planted fault.
    rate: share of the rows that it hit, of those that it can hit.
    seed: of the draw.
    method: that was judged.
    name: of the metric.
    share: of the rows that were removed, for curves.
    value: the number; null where the method failed.
    reason: why there is no number.
"""
CONDITIONS = Table(
    "conditions",
    "judge_conditions",
    "world string not null, log string not null, condition string not null, seed bigint not null, "
    "method string not null, name string not null, kind string not null, value double, "
    "low double, high double, reason string",
)
"""Which weights help the ranker, a row for each world, method and number.

Attributes:
    world: hash of the world and of all that its result depends on.
    log: hash of what the samples of all worlds depend on; methods of equal ones can be compared.
    condition: what goes wrong in it.
    seed: of the world.
    method: by whose weights the ranker was trained.
    name: of the metric.
    kind: ``value``, ``difference`` to ``uniform``, ``cost``, or ``failed``.
    value: the number.
    low: lower end of its interval.
    high: upper end of its interval.
    reason: why the method failed.
"""


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
class Store:
    """The tables of one place as one run sees them; remembers what was read and written.

    Where the tables are, the methods down to ``check`` know, and no others.

    Attributes:
        spark: the session.
        root: folder of the tables, where no catalog has them.
        run_id: whose slice is read and written.
        catalog: ``schema`` or ``catalog.schema`` of the tables; None keeps them under ``root``.
        lineage: facts that go into the commit's metadata (stage, config hash, revision).
        inputs: table name to version read, filled by ``read``.
        outputs: table name to version written, filled by ``write``.
        retries: how often a commit was tried again: it lost a race with another run's, or found a
            table half made.
    """

    spark: SparkSession
    root: str
    run_id: str
    catalog: str | None = None
    lineage: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, int] = field(default_factory=dict)
    retries: int = 0

    def name(self, table: Table) -> str:
        """The table as SQL names it, quoted."""
        if self.catalog is None:
            return f"delta.{quoted(self.folder(table))}"
        return quoted(*self.catalog.split("."), table.name)

    def folder(self, table: Table) -> str:
        """Where the table's files are; of a table of a catalog, where a metastore puts them.

        Unity Catalog has folders of its own for its tables: there, nothing is at this one, or the
        name of it is empty.
        """
        if self.catalog is None:
            return f"{self.root}/tables/{table.name}"
        schema = self.spark.catalog.getDatabase(quoted(*self.catalog.split(".")))
        return f"{schema.locationUri}/{table.name}" if schema.locationUri else ""

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""
        if self.catalog is None:
            return DeltaTable.isDeltaTable(self.spark, self.folder(table))
        return self.spark.catalog.tableExists(self.name(table))

    def _make(self, table: Table, columns: StructType) -> None:
        if self.catalog is None:
            builder = DeltaTable.createIfNotExists(self.spark).location(self.folder(table))
            builder.addColumns(columns).partitionedBy("run_id")
            # With its constraints at once: each that is added later is a commit and a scan.
            for name, condition in table.checks.items():
                builder.property(f"delta.constraints.{name}", condition)
            builder.execute()
            return
        # The builder takes no name of three parts; on Spark 3.5 only the JVM writes DDL.
        empty: Any = self.spark.createDataFrame([], columns)
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({empty._jdf.schema().toDDL()}) "
            "USING delta PARTITIONED BY (run_id)"
        )

    def _overwrite(self, table: Table, rows: DataFrame, own: str, options: dict[str, str]) -> None:
        if self.catalog is None:
            writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", own)
            writer.options(**options).save(self.folder(table))
        else:
            rows.writeTo(self.name(table)).options(**options).overwrite(F.expr(own))

    def check(self) -> None:
        """Looks for the schema of the tables, before work is done for them.

        Raises:
            TableError: the catalog has no such schema.
        """
        if self.catalog is None:
            return
        schema = quoted(*self.catalog.split("."))
        if not self.spark.catalog.databaseExists(schema):
            raise TableError(
                f"there is no schema '{self.catalog}' for the tables",
                expected="`catalog`: a schema, or catalog.schema, that this session can see",
                came="none of this name",
                do=f"make it once (CREATE SCHEMA {schema}), ask for the right to use it, or leave "
                "`catalog` out to keep the tables under `root`",
            )

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
        came = {f.name: f.dataType.simpleString() for f in rows.schema}
        if expected != came:
            differ = sorted(set(expected.items()) ^ set(came.items()))
            raise TableError(
                f"rows do not fit the table '{table.name}'",
                expected=str({k: v for k, v in differ if expected.get(k) == v}),
                came=str({k: v for k, v in differ if came.get(k) == v}),
                do=f"this is a fault of the stage '{table.made_by}': please report it",
            )
        return rows.select(*schema.names)

    def _create(self, table: Table, schema: StructType) -> None:
        if not self.exists(table):
            # Of an open table nothing is known but this run's rows: no column is NOT NULL.
            loose = StructType([StructField(f.name, f.dataType) for f in schema])
            self._make(table, table.columns() or loose)
        if self.catalog is None and not table.checks:
            return
        detail: Any = self.spark.sql(f"DESCRIBE DETAIL {self.name(table)}").first()
        if (detail["format"], detail["partitionColumns"]) != ("delta", ["run_id"]):
            raise TableError(
                f"there is another table in the place of '{table.name}'",
                expected=f"no table {self.name(table)}, or one that runs wrote before",
                came=f"one of the form {detail['format']}, cut by {detail['partitionColumns']}",
                do="give the runs a root or a schema of their own; nothing was written",
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

    def _missing(self, table: Table, run_id: str, came: str) -> TableError:
        return TableError(
            f"table '{table.name}' has nothing for run '{run_id}'",
            expected=f"rows with run_id = '{run_id}' in {self.name(table)}",
            came=came,
            do=f"run the stage '{table.made_by}' first",
        )

    def _explained(self, table: Table, error: Exception) -> Exception:
        text = str(error)
        for mark in ("DELTA_VIOLATE_CONSTRAINT", "DELTA_NOT_NULL_CONSTRAINT", "CHECK constraint"):
            if mark in text:
                line = next(line for line in text.splitlines() if mark in line)
                return TableError(
                    f"a row breaks a constraint of the table '{table.name}'",
                    expected=f"{dict(table.checks)} and the NOT NULL columns",
                    came=line.strip()[:500],
                    do="nothing was written; mend the rows that the stage read",
                )
        if _lost_race(error):
            return TableError(
                f"other runs write the table '{table.name}' all the time",
                expected=f"a turn within {_ATTEMPTS} attempts",
                came=text.splitlines()[0][:300],
                do="start the job again; nothing was written",
            )
        if _UNMADE.search(text):
            return TableError(
                f"the table '{table.name}' cannot be made",
                expected=f"nothing else in the place of {self.name(table)} "
                f"({self.folder(table) or 'a folder of the catalog'})",
                came=text.splitlines()[0][:300],
                do="move away what is in its place, or give this run another root or catalog; "
                "nothing was written",
            )
        if isinstance(error, AnalysisException):
            return TableError(
                f"table '{table.name}' refuses the rows",
                expected="the columns and types that earlier runs wrote to it",
                came=" ".join(text.split("\n\nJVM")[0].split())[:600],
                do="give this run another root or catalog, or name and type the columns as the "
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
