"""The places that can hold the tables: a folder, or a schema of a catalog."""

from dataclasses import dataclass

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from reweight.core.ddl import creation
from reweight.core.errors import TableError
from reweight.core.section import quoted
from reweight.core.spark_files import is_delta, make_delta
from reweight.core.store import Store
from reweight.core.tables import Table


def open_store(spark: SparkSession, root: str, run_id: str, catalog: str | None = None) -> Store:
    """Opens the tables under the root of the runs, or those of a catalog.

    Args:
        spark: the session.
        root: folder of the runs, which holds the tables unless a catalog does.
        run_id: the run whose slice is read and written.
        catalog: ``schema`` or ``catalog.schema`` of the tables; None keeps them under ``root``.
    """
    if catalog is None:
        return FolderStore(spark, run_id, root=root)
    return CatalogStore(spark, run_id, catalog=catalog)


@dataclass
class FolderStore(Store):
    """Tables in folders.

    Attributes:
        root: folder of the runs.
    """

    root: str = ""

    def name(self, table: Table) -> str:
        """The quoted SQL name of the table."""
        return f"delta.{quoted(self.folder(table))}"

    def folder(self, table: Table) -> str:
        """``<root>/tables/<name>``."""
        return f"{self.root}/tables/{table.name}"

    def exists(self, table: Table) -> bool:
        """Whether the table exists."""
        return is_delta(self.spark, self.folder(table))

    def make_view(self, name: str, query: str) -> bool:
        """Makes nothing: folders have no views."""
        return False

    def check(self) -> None:
        """Checks nothing: Delta creates missing folders."""

    def _make(self, table: Table, columns: StructType) -> None:
        # With its constraints at once: adding one later costs a commit and a scan.
        make_delta(self.spark, self.folder(table), columns, _constraints(table))

    def _commit(
        self, table: Table, rows: DataFrame, instead_of: str | None, options: dict[str, str]
    ) -> None:
        writer = rows.write.format("delta").options(**options)
        if instead_of is None:
            writer = writer.mode("append")
        else:
            writer = writer.mode("overwrite").option("replaceWhere", instead_of)
        writer.save(self.folder(table))

    def _can_be_foreign(self) -> bool:
        return False


@dataclass
class CatalogStore(Store):
    """Tables in a catalog.

    Attributes:
        catalog: ``schema`` or ``catalog.schema`` of the tables.
    """

    catalog: str = ""

    def name(self, table: Table) -> str:
        """The quoted SQL name of the table."""
        return quoted(*self.catalog.split("."), table.name)

    def folder(self, table: Table) -> str:
        """The folder in which a metastore puts the table's files.

        Unity Catalog chooses its own folders: there, this one has no files, or its name is empty.
        """
        schema = self.spark.catalog.getDatabase(quoted(*self.catalog.split(".")))
        return f"{schema.locationUri}/{table.name}" if schema.locationUri else ""

    def exists(self, table: Table) -> bool:
        """Whether the table exists."""
        return self.spark.catalog.tableExists(self.name(table))

    def make_view(self, name: str, query: str) -> bool:
        """Makes a view in the schema, unless it exists."""
        view = quoted(*self.catalog.split("."), name)
        self.spark.sql(f"CREATE VIEW IF NOT EXISTS {view} AS {query}")
        return True

    def check(self) -> None:
        """Checks that the schema for the tables exists, before any work is done.

        Raises:
            TableError: the catalog has no such schema.
        """
        schema = quoted(*self.catalog.split("."))
        if not self.spark.catalog.databaseExists(schema):
            raise TableError(
                f"there is no schema '{self.catalog}' for the tables",
                expected="`catalog`: a schema, or catalog.schema, that this session can see",
                got="no schema of this name",
                fix=f"create it once (CREATE SCHEMA {schema}), ask for the right to use it, or "
                "remove `catalog` to keep the tables under `root`",
            )

    def _make(self, table: Table, columns: StructType) -> None:
        # The builder of Delta does not accept three-part names.
        try:
            self.spark.sql(creation(self.name(table), columns, _constraints(table)))
        except AnalysisException:
            # A governed catalog may refuse them here; then they are added one by one.
            if not table.checks:
                raise
            self.spark.sql(creation(self.name(table), columns, {}))

    def _commit(
        self, table: Table, rows: DataFrame, instead_of: str | None, options: dict[str, str]
    ) -> None:
        writer = rows.writeTo(self.name(table)).options(**options)
        if instead_of is None:
            writer.append()
        else:
            writer.overwrite(F.expr(instead_of))

    def _can_be_foreign(self) -> bool:
        return True


def _constraints(table: Table) -> dict[str, str]:
    """The properties that give a table its constraints."""
    return {f"delta.constraints.{name}": condition for name, condition in table.checks.items()}
