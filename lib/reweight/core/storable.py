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
    return {at: kind for field in schema for at, kind in _unstorable(field.name, field.dataType)}


def stored(rows: DataFrame) -> DataFrame:
    """The rows without columns of the type of a bare ``null``, which have no values to read."""
    return rows.select(*[f.name for f in rows.schema if not isinstance(f.dataType, T.NullType)])


def _unstorable(at: str, kind: DataType) -> Iterator[tuple[str, str]]:
    if isinstance(kind, T.ArrayType):
        yield from _unstorable(f"{at}[]", kind.elementType)
    elif isinstance(kind, T.MapType):
        yield from _unstorable(f"{at} (keys)", kind.keyType)
        yield from _unstorable(f"{at} (values)", kind.valueType)
    elif isinstance(kind, T.StructType):
        twice = repeated(kind.names)
        for field in kind:
            if field.name in twice or re.search(r"[ ,;{}()\n\t=]", field.name):
                yield f"{at}.{field.name}", "a field name that is there twice or has odd characters"
            yield from _unstorable(f"{at}.{field.name}", field.dataType)
    elif kind.simpleString() not in _HELD and not isinstance(kind, T.DecimalType):
        yield at, kind.simpleString()
