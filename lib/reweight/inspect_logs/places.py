"""Where a log is: the files under a path, or a table; and how the first of them is read."""

import glob
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from reweight.core.errors import SourceError
from reweight.core.section import expanded
from reweight.core.spark_files import is_delta
from reweight.inspect_logs.formats import HEAD, Form, seen

_TABLE = re.compile(r"\w+(\.\w+){0,2}")
# Endings that a packed file has after that of its format.
_PACKED = (".gz", ".bz2", ".zst", ".snappy", ".lz4")


@dataclass(frozen=True)
class Found:
    """A log that was found.

    Attributes:
        place: the path or name that was given.
        settings: the source in the config.
        evidence: what was seen.
    """

    place: str
    settings: dict[str, Any]
    evidence: tuple[str, ...]


def find(spark: SparkSession, place: str, given: str | None = None) -> Found:
    """Finds a log and how it is read.

    Args:
        spark: the session.
        place: a file, a folder, a glob, an address or the name of a table.
        given: the format, if the user has named it.

    Raises:
        SourceError: nothing is there, or nothing that can be read.
    """
    if re.match(r"\w[\w+.-]+:/", place):
        return _remote(spark, place, given)
    path = Path(expanded(place))
    if not path.exists() and not glob.glob(str(path)):  # noqa: PTH207 (absolute patterns too)
        if _TABLE.fullmatch(place) and spark.catalog.tableExists(place):
            return Found(place, {"table": place}, ("a table of the catalog",))
        raise SourceError(
            f"there is nothing at {place}",
            expected="a file, a folder, a glob, or the name of a table",
            got="no such file, and no such table",
            fix="correct the path; names of tables are schema.table or catalog.schema.table",
        )
    if given == "delta" or (path / "_delta_log").is_dir():
        evidence = ("a folder _delta_log: a Delta table",)
        return Found(place, {"path": place, "format": "delta"}, evidence)
    reading, first, notes = _local(place, path)
    with first.open("rb") as file:
        form = seen(str(first), file.read(HEAD), given)
    return Found(place, {"path": reading} | _settings(form), (*notes, *form.evidence))


def _settings(form: Form) -> dict[str, Any]:
    parts = {"compression": form.compression, "schema": form.schema, "options": form.options}
    return {"format": form.format} | {name: part for name, part in parts.items() if part}


def _local(place: str, path: Path) -> tuple[str, Path, list[str]]:
    """The path for the config, the file to look at, and what was seen."""
    if path.is_file():
        return place, path, []
    roots = [path] if path.is_dir() else [Path(p) for p in sorted(glob.glob(str(path)))]  # noqa: PTH207
    files = sorted(f for root in roots for f in _under(root) if f.stat().st_size)
    if not files:
        raise SourceError(
            f"there are no files with rows in {place}",
            expected="files whose names do not begin with _ or .",
            got="none",
            fix="name the folder that holds them, or a hidden file by its own path",
        )
    endings = Counter(_ending(f) for f in files)
    ending = endings.most_common(1)[0][0]
    notes = [f"{len(files):,} files" if len(files) > 1 else "1 file"]
    chosen = [f for f in files if _ending(f) == ending]
    reading = place.rstrip("/") if len(place) > 1 else place
    if path.is_dir():
        plain = [p for p in chosen[0].relative_to(path).parts[:-1] if "=" not in p]
        if plain:
            notes.append(f"they are in folders such as {'/'.join(plain)}, which the path must name")
            reading += "/*" * len(plain)
        if len(endings) > 1:
            all_endings = ", ".join(f"{n} {e or 'without an ending'}" for e, n in endings.items())
            notes.append(f"only those that end in {ending} are read, of {all_endings}")
            folders = sum("=" in p for p in chosen[0].relative_to(path).parts[:-1])
            reading += "/*" * folders + f"/*{ending}"
    return reading, chosen[0], notes


def _under(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return [
        f
        for f in root.rglob("*")
        if f.is_file() and not any(p[0] in "_." for p in f.relative_to(root).parts)
    ]


def _ending(file: Path) -> str:
    suffixes = [s for s in file.suffixes if s.lower() in _PACKED or s == file.suffix]
    if file.suffix.lower() in _PACKED and len(file.suffixes) > 1:
        suffixes = file.suffixes[-2:]
    return "".join(suffixes)


def _remote(spark: SparkSession, place: str, named_format: str | None) -> Found:
    """A place that only Spark can open: its lines tell the format as the bytes would."""
    if named_format == "delta" or is_delta(spark, place):
        return Found(place, {"path": place, "format": "delta"}, ("a Delta table",))
    try:
        # Small: the first lines.
        lines = [row[0] for row in spark.read.text(place).limit(1000).collect()]
    except PySparkException as error:
        raise SourceError(
            f"{place} cannot be inspected",
            expected="a file, folder or glob that Spark can list",
            got=str(error).splitlines()[0][:300],
            fix="correct the path, or the session's access to it",
        ) from error
    form = seen(place, "\n".join([*lines, ""]).encode()[: HEAD - 1], named_format)
    return Found(place, {"path": place} | _settings(form), form.evidence)
