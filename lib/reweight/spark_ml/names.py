"""Columns of a frame by name, found and quoted as Spark does."""

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, StructType

from reweight.core.errors import SampleError
from reweight.core.section import quoted

# Columns that are added while a model scores, and removed again, begin like this.
INTERNAL = "_reweight_"


def found(schema: StructType, name: str | None) -> str | None:
    """The name of a column as the frame spells it; None if there is no such column.

    Raises:
        SampleError: Spark cannot tell which of several columns is meant.
    """
    if name is None:
        return None
    same = [column for column in schema.names if _key(column) == _key(name)]
    if len(same) > 1:
        raise SampleError(
            f"the column '{name}' is ambiguous",
            expected="columns whose names differ in more than case",
            got=f"columns {same}",
            fix="rename or drop all but one of them",
        )
    return same[0] if same else None


def column(schema: StructType, name: str | None) -> Column | None:
    """A column, whatever characters its name has; None if there is no such column."""
    spelt = found(schema, name)
    return None if spelt is None else F.col(quoted(spelt))


def type_of(schema: StructType, name: str) -> DataType:
    """The type of a column that is there."""
    spelt = found(schema, name)
    assert spelt is not None
    return schema[spelt].dataType


def check_free(schema: StructType, added: list[str]) -> None:
    """Checks that the columns to add have names of their own.

    Raises:
        SampleError: the frame has one of them, or two of them are one to Spark.
    """
    fix = "drop them, or set other names, such as outputCol='sample_weight'"
    if existing := [name for name in added if _key(name) in map(_key, schema.names)]:
        raise SampleError(
            f"the frame already has the column(s) {existing}",
            expected="no columns with the names in outputCol, importanceCol and softLabelCol",
            got=f"columns {schema.names}",
            fix=fix,
        )
    if len({_key(name) for name in added}) < len(added):
        raise SampleError(
            "the columns to add have the same name",
            expected="different names in outputCol, importanceCol and softLabelCol",
            got=str(added),
            fix="set other names, such as outputCol='sample_weight'",
        )
    if internal := [n for n in (*schema.names, *added) if n.lower().startswith(INTERNAL)]:
        raise SampleError(
            "columns have names that are used while rows are scored",
            expected=f"names that do not begin with {INTERNAL}",
            got=str(internal),
            fix="rename them",
        )


def _key(name: str) -> str:
    """What two names have in common that are one to Spark."""
    spark = SparkSession.getActiveSession()
    strict = spark is not None and spark.conf.get("spark.sql.caseSensitive") == "true"
    return name if strict else name.lower()
