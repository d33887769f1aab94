"""Types that a table can hold."""

import re
from collections.abc import Iterator

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.types import DataType, StructType

from reweight.core.section import repeated

# Every reader of Delta and Parquet knows these, on every version of Spark that the library runs on.
_HELD = {
    *("boolean", "tinyint", "smallint", "int", "bigint", "float", "double", "string", "binary"),
    *("date", "timestamp"),
}
_OF_OTHERS = (T.ArrayType, T.MapType, T.DecimalType)


def with_zones(rows: DataFrame) -> DataFrame:
    """The rows with UTC as the zone of the times that have none.

    A table that was made without such times does not take them later on.
    """
    free = {f.name for f in rows.schema if f.dataType == T.TimestampNTZType()}
    zoned = {name: F.col(name).cast("timestamp") for name in free}
    return rows.withColumns(zoned) if zoned else rows


def unstorable(schema: StructType) -> dict[str, str]:
    """The columns whose type a table cannot hold: the column, or a part of it -> its type.

    Delta accepts the type of a bare ``null``, but then no run can read the table any more.
    """
    return {
        at: reason
        for field in schema
        for part in parts(field.name, field.dataType)
        for at, reason in _unstorable(*part)
    }


def stored(rows: DataFrame) -> DataFrame:
    """The rows without columns of the type of a bare ``null``, which have no values to read."""
    return rows.select(*[f.name for f in rows.schema if not isinstance(f.dataType, T.NullType)])


def parts(at: str, kind: DataType) -> Iterator[tuple[str, DataType]]:
    """A type and the types in it, each with its path."""
    yield at, kind
    if isinstance(kind, T.ArrayType):
        yield from parts(f"{at}[]", kind.elementType)
    elif isinstance(kind, T.MapType):
        yield from parts(f"{at} (keys)", kind.keyType)
        yield from parts(f"{at} (values)", kind.valueType)
    elif isinstance(kind, T.StructType):
        for field in kind:
            yield from parts(f"{at}.{field.name}", field.dataType)


def _unstorable(at: str, kind: DataType) -> Iterator[tuple[str, str]]:
    if isinstance(kind, T.StructType):
        twice = repeated(kind.names)
        for name in kind.names:
            if name in twice or re.search(r"[ ,;{}()\n\t=]", name):
                yield f"{at}.{name}", "a field name that is there twice or has odd characters"
    elif kind.simpleString() not in _HELD and not isinstance(kind, _OF_OTHERS):
        yield at, kind.simpleString()
