"""A sample of a source, read as ``clean_logs`` reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import ArrayType, DataType, MapType, StructType

from reweight.clean_logs.raw import ADDED
from reweight.clean_logs.section import Source
from reweight.clean_logs.sources import read, readable
from reweight.core.errors import SourceError
from reweight.core.section import quoted
from reweight.inspect_logs.guesses import RawColumn
from reweight.inspect_logs.naming import WORDS
from reweight.inspect_logs.places import Found


@dataclass(frozen=True)
class Sample:
    """The first rows of a source.

    Attributes:
        name: name of the source.
        settings: the source in the config.
        evidence: what was seen of its files.
        columns: its columns; of nested ones the innermost.
        left_out: columns that no event can hold, with their types.
        rows: number of rows.
        whole: whether these are all rows.
        malformed: lines that do not parse.
        equal: number of rows that equal an earlier one in all fields, those left out too.
    """

    name: str
    settings: dict[str, Any]
    evidence: tuple[str, ...]
    columns: tuple[RawColumn, ...]
    left_out: tuple[str, ...]
    rows: int
    whole: bool
    malformed: tuple[str, ...] = ()
    equal: int = 0


def sample(spark: SparkSession, name: str, found: Found, rows: int) -> Sample:
    """Reads the first rows of a source.

    Args:
        spark: the session.
        name: name for the source.
        found: where it is and how it is read.
        rows: at most so many are read.

    Raises:
        SourceError: it cannot be read, or is empty.
    """
    settings = dict(found.settings)
    frame = _read(spark, settings)
    arrays = [
        f.name
        for f in frame.schema
        if isinstance(f.dataType, ArrayType)
        and isinstance(f.dataType.elementType, StructType)
        and not _is_of_pairs(f.dataType)
    ]
    evidence = list(found.evidence)
    if arrays:
        settings["explode"] = _quoted(arrays[0])
        frame = _read(spark, settings)
        evidence.append(f"a row of each element of the array {arrays[0]}")
    names = [c for c in _log_columns(frame) if c not in arrays[:1]]
    leaves, left_out = [], []
    for name_, sql, kind in _leaves(frame.select(*map(_quoted, names)).schema, ()):
        if isinstance(kind, ArrayType | MapType):
            one = f"; one of its values is filter({sql}, p -> p.key = '...')[0].value"
            left_out.append(f"{sql}: {kind.simpleString()}{one if _is_of_pairs(kind) else ''}")
        else:
            leaves.append((name_, sql, kind.simpleString()))
    if not leaves:
        raise SourceError(
            f"{found.place} has no columns that an event can hold",
            expected="numbers, texts or times",
            got=", ".join(left_out) or "no columns",
            fix="name files with rows",
        )
    texts = [F.expr(sql).cast("string").alias(f"c{i}") for i, (_, sql, _) in enumerate(leaves)]
    raw = [F.substring("_raw", 1, 200).alias("raw"), F.xxhash64("_raw").alias("hash")]
    with readable(f"the sample of {found.place}"):
        # Bounded: so many rows, whatever the source holds.
        read_rows = frame.select("_malformed", *raw, *texts).limit(rows + 1).collect()
    whole, read_rows = len(read_rows) <= rows, read_rows[:rows]
    good = [row for row in read_rows if not row["_malformed"]]
    if not good:
        raise SourceError(
            f"no row of {found.place} can be read",
            expected=f"{settings.get('format', 'a table')} with rows",
            got=f"{len(read_rows)} lines that do not parse" if read_rows else "nothing",
            fix="name files with rows, or the right --format",
        )
    columns = [
        RawColumn(name_, sql, kind, [row[f"c{i}"] for row in good])
        for i, (name_, sql, kind) in enumerate(leaves)
    ]
    return Sample(
        name,
        settings,
        tuple(evidence),
        tuple(columns),
        tuple(left_out),
        len(good),
        whole,
        tuple(row["raw"] or "" for row in read_rows if row["_malformed"]),
        len(good) - len({row["hash"] for row in good}),
    )


def _read(spark: SparkSession, settings: dict[str, Any]) -> DataFrame:
    rows = read(spark, "log", "sources.log", Source.model_validate(settings)).rows
    # Lines of column names are read, but are no rows.
    return rows.where("_left_out IS NULL")


def _log_columns(frame: DataFrame) -> list[str]:
    """The log's own columns; the reader adds its names for the source after them."""
    last = frame.columns.index("_source")
    added = [c for c in frame.columns[last:] if c == "element"]
    return [c for c in frame.columns[:last] if c not in ADDED] + added


def _leaves(schema: StructType, path: tuple[str, ...]) -> Iterator[tuple[str, str, DataType]]:
    """Name, expression and type of each innermost column."""
    for field in schema:
        inner = (*path, field.name)
        if isinstance(field.dataType, StructType):
            yield from _leaves(field.dataType, inner)
        else:
            named = inner[1:] if inner[0] == "element" and len(inner) > 1 else inner
            yield "_".join(named), ".".join(map(_quoted, inner)), field.dataType


def _is_of_pairs(kind: DataType) -> bool:
    """Whether it is a map, as web analytics write it: a row of each pair would repeat the event."""
    element = kind.elementType if isinstance(kind, ArrayType) else None
    return isinstance(element, StructType) and {*map(str.lower, element.names)} == {"key", "value"}


def _quoted(name: str) -> str:
    plain = name.isascii() and name.isidentifier() and name.lower() not in WORDS
    return name if plain else quoted(name)
