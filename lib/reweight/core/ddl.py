"""The SQL of a schema: Spark itself writes it only where a JVM is at hand."""

from collections.abc import Mapping

from pyspark.sql.types import ArrayType, DataType, MapType, StructField, StructType

from reweight.core.section import quoted


def ddl(schema: StructType) -> str:
    """The columns of a schema as they stand in ``CREATE TABLE``."""
    return ", ".join(_column(field, " ") for field in schema)


def creation(name: str, columns: StructType, properties: Mapping[str, str]) -> str:
    """The statement that creates a Delta table, partitioned by ``run_id``, if there is none.

    Args:
        name: the quoted name of the table.
        columns: of the table.
        properties: of the table; its constraints cost a commit and a scan if they are added later.
    """
    statement = (
        f"CREATE TABLE IF NOT EXISTS {name} ({ddl(columns)}) USING delta PARTITIONED BY (run_id)"
    )
    pairs = ", ".join(f"{_text(key)} = {_text(value)}" for key, value in properties.items())
    return f"{statement} TBLPROPERTIES ({pairs})" if properties else statement


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _column(field: StructField, between: str) -> str:
    text = f"{quoted(field.name)}{between}{_sql(field.dataType)}"
    return text if field.nullable else f"{text} NOT NULL"


def _sql(kind: DataType) -> str:
    if isinstance(kind, ArrayType):
        return f"ARRAY<{_sql(kind.elementType)}>"
    if isinstance(kind, MapType):
        return f"MAP<{_sql(kind.keyType)}, {_sql(kind.valueType)}>"
    if isinstance(kind, StructType):
        return f"STRUCT<{', '.join(_column(field, ': ') for field in kind)}>"
    return kind.simpleString().upper()
