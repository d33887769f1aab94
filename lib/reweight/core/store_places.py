"""The kinds of places that have the tables: a folder, or a schema of a catalog."""

from dataclasses import dataclass
from typing import Any

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from reweight.core.errors import TableError
from reweight.core.section import quoted
from reweight.core.store import Store
from reweight.core.tables import Table


def open_store(spark: SparkSession, root: str, run_id: str, catalog: str | None = None) -> Store:
    """The tables under the root of the runs, or those of a catalog.

    Args:
        spark: the session.
        root: folder of the runs, which has the tables where no catalog does.
        run_id: whose slice is read and written.
        catalog: ``schema`` or ``catalog.schema`` of the tables; None keeps them under ``root``.
    """
    if catalog is None:
        return FolderStore(spark, run_id, root=root)
    return CatalogStore(spark, run_id, catalog=catalog)


@dataclass
class FolderStore(Store):
    """Tables that are folders.

    Attributes:
        root: folder of the runs.
    """

    root: str = ""

    def name(self, table: Table) -> str:
        """The table as SQL names it, quoted."""
        return f"delta.{quoted(self.folder(table))}"

    def folder(self, table: Table) -> str:
        """``<root>/tables/<name>``."""
        return f"{self.root}/tables/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""
        return DeltaTable.isDeltaTable(self.spark, self.folder(table))

    def check(self) -> None:
        """A folder is made where it is not there."""

    def _make(self, table: Table, columns: StructType) -> None:
        builder = DeltaTable.createIfNotExists(self.spark).location(self.folder(table))
        builder.addColumns(columns).partitionedBy("run_id")
        # With its constraints at once: each that is added later is a commit and a scan.
        for name, condition in table.checks.items():
            builder.property(f"delta.constraints.{name}", condition)
        builder.execute()

    def _overwrite(self, table: Table, rows: DataFrame, own: str, options: dict[str, str]) -> None:
        writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", own)
        writer.options(**options).save(self.folder(table))

    def _can_be_foreign(self) -> bool:
        return False


@dataclass
class CatalogStore(Store):
    """Tables of a catalog.

    Attributes:
        catalog: ``schema`` or ``catalog.schema`` of the tables.
    """

    catalog: str = ""

    def name(self, table: Table) -> str:
        """The table as SQL names it, quoted."""
        return quoted(*self.catalog.split("."), table.name)

    def folder(self, table: Table) -> str:
        """Where a metastore puts the table's files.

        Unity Catalog has folders of its own for its tables: there, nothing is at this one, or its
        name is empty.
        """
        schema = self.spark.catalog.getDatabase(quoted(*self.catalog.split(".")))
        return f"{schema.locationUri}/{table.name}" if schema.locationUri else ""

    def exists(self, table: Table) -> bool:
        """Whether the table was ever written."""
        return self.spark.catalog.tableExists(self.name(table))

    def check(self) -> None:
        """Looks for the schema of the tables, before work is done for them.

        Raises:
            TableError: the catalog has no such schema.
        """
        schema = quoted(*self.catalog.split("."))
        if not self.spark.catalog.databaseExists(schema):
            raise TableError(
                f"there is no schema '{self.catalog}' for the tables",
                expected="`catalog`: a schema, or catalog.schema, that this session can see",
                got="none of this name",
                fix=f"make it once (CREATE SCHEMA {schema}), ask for the right to use it, or leave "
                "`catalog` out to keep the tables under `root`",
            )

    def _make(self, table: Table, columns: StructType) -> None:
        # The builder takes no name of three parts; on Spark 3.5 only the JVM writes DDL.
        empty: Any = self.spark.createDataFrame([], columns)
        self.spark.sql(
            f"CREATE TABLE IF NOT EXISTS {self.name(table)} ({empty._jdf.schema().toDDL()}) "
            "USING delta PARTITIONED BY (run_id)"
        )

    def _overwrite(self, table: Table, rows: DataFrame, own: str, options: dict[str, str]) -> None:
        rows.writeTo(self.name(table)).options(**options).overwrite(F.expr(own))

    def _can_be_foreign(self) -> bool:
        return True
