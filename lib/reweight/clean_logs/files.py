"""The files under a path: how Spark is told to read them, and which of them it passes over.

Spark takes names with ``[``, ``{``, ``*`` or ``?`` for patterns, goes by the ending of a name to
unpack a file, and passes over files whose names begin with ``_`` or ``.`` and files in plain
folders below the path. Here a path that exists is read as it is written, and what is passed over
below it is known by name.
"""

import hashlib
import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import SourceError
from reweight.core.spark_files import first_bytes, input_files, listed, metadata_column

# A file that cannot be read to its end is an error; its first part alone is never used.
WHOLE = {"ignoreCorruptFiles": "false", "ignoreMissingFiles": "false"}

SUFFIXES = {"gzip": ".gz", "bzip2": ".bz2", "zstd": ".zst", "deflate": ".deflate"}

# A local file whose name has a colon cannot be read with its checksum, whose name would have one.
_NO_CHECKSUMS = {
    "fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",
    "fs.file.impl.disable.cache": "true",
}
_HIDDEN = re.compile(r"_[^=]*|\..*|.*\._COPYING_", re.DOTALL)
# What writers and file managers leave beside the data; no rows are in it.
_MARKER = re.compile(
    r"(.*/)?(_SUCCESS|_(common_)?metadata|_(started|committed)_\w+|\.DS_Store|\..*\.crc)"
    r"|.*/_(delta_log|spark_metadata)/.*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Files:
    """The files under a path.

    Attributes:
        read: the path for Spark, or those of links.
        options: options of the reader that this path needs.
        under: every file under the path, whether Spark reads it or not.
        home: the folder of files that are read under other names (links), whose form is ``link``.
        link: a regular expression with two groups, folder and name, of such a link.
        packed: whether the links say how the files are packed.
    """

    read: list[str]
    options: dict[str, str] = field(default_factory=dict)
    under: tuple[str, ...] = ()
    home: str = ""
    link: str = ""
    packed: bool = False

    def source_file(self, rows: DataFrame) -> Column:
        """The file of each row, by its own name."""
        # Not by the name `_metadata`, since the log may have a column of that name.
        file: Column = metadata_column(rows, "_metadata")["file_path"]
        if not self.link:
            return file
        parts = [F.regexp_extract(file, self.link, group) for group in (1, 2)]
        return F.concat(F.lit(quote(self.home, safe="/:=@")), *parts)

    @property
    def what(self) -> str:
        """What is under the path, in a few words."""
        names = ", ".join(self.under[:3])
        if self.under and all(map(_passed_over, self.under)):
            return f"only files whose names begin with _ or .: {names}"
        return f"an empty file: {names}" if len(self.under) == 1 else f"no lines in: {names}"

    def passed_over(self, rows: DataFrame) -> list[str]:
        """The files under the path that are not among those that were read, sorted."""
        data = [file for file in self.under if not _MARKER.fullmatch(file)]
        names = input_files(rows.select("_source_file"), unless=len(data))
        if names is None:
            return []
        if self.link:
            names = [re.sub(self.link, lambda m: self.home + m[1] + m[2], name) for name in names]
        return sorted(set(map(_bare, data)) - set(map(_bare, names)))


def find(spark: SparkSession, path: str, compression: str | None = None) -> Files:
    """The files under a path; lists them, and reads none.

    Args:
        spark: the session.
        path: file, folder or glob; a path that exists is taken as it is.
        compression: how files are packed whose names do not say so.
    """
    if ":" in path.split("/")[0] and Path(path).exists():
        path = f"file:{Path(path).absolute()}"  # not a scheme
    listing = listed(spark, path)
    roots, under = listing.roots, listing.under
    # Of Spark: the path is no pattern.
    options = {"__globPaths__": "false"} if listing.exists else {}
    colon = any(":" in _name(file) for file in under)
    if colon and under[0].startswith("file:"):
        options |= _NO_CHECKSUMS
    # One file that is given by its name is read, whatever the name begins with.
    hidden = under == [root for root, _ in roots] and len(under) == 1 and _passed_over(under[0])
    if under and (hidden or compression is not None):
        common = os.path.commonprefix(under)  # noqa: RUF071 (cut at a slash, for s3a:// too)
        root = roots[0][0] if len(roots) == 1 else common.rpartition("/")[0]
        files = _linked(under, root, SUFFIXES.get(compression or "", ""))
        return replace(files, options=options | files.options)
    return Files([path], options, tuple(under))


# The first bytes of files that are not text: what they are, and the compression that reads them.
_KINDS = {
    b"\x1f\x8b": ("gzip", "gzip"),
    b"BZh": ("bzip2", "bzip2"),
    b"\x28\xb5\x2f\xfd": ("zstandard", "zstd"),
    b"PK\x03\x04": ("a zip archive (a workbook of Excel is one, too)", ""),
    b"\xfd7zXZ": ("xz", ""),
    b"7z\xbc\xaf": ("a 7z archive", ""),
    b"PAR1": ("Parquet", ""),
    b"Obj\x01": ("Avro", ""),
    b"ORC": ("ORC", ""),
}
_MARK = max(map(len, _KINDS))
_UNPACKED = (".gz", ".bz2", ".zst", ".deflate", ".snappy", ".lz4")


def check_text(spark: SparkSession, files: Files, key: str) -> None:
    """Refuses archives and binary files in the place of text, by the first bytes of ten files.

    Args:
        spark: the session.
        files: the files of a source.
        key: key of the source in ``cleaning``, for messages.

    Raises:
        SourceError: a file is an archive or of a binary format.
    """
    plain = [f for f in files.under if not (_passed_over(f) or f.endswith(_UNPACKED))]
    for file in plain[:10] if not files.packed else ():
        first = first_bytes(spark, file, _MARK)
        kind, compression = next((v for k, v in _KINDS.items() if first.startswith(k)), ("", ""))
        if not kind:
            continue
        fix = "unpack it, and give the path of what is in it"
        if compression:
            fix = f"add `compression: {compression}` to cleaning.{key}, or let the names end in "
            fix += f"{SUFFIXES[compression]}, by which Spark knows what to unpack"
        elif kind == "Parquet":
            fix = f"set cleaning.{key}.format to parquet"
        elif kind in ("Avro", "ORC"):
            fix = "make a table or view of the files, and give its name as `table`"
        raise SourceError(
            f"a file of cleaning.{key} is not text",
            expected="lines of text",
            got=f"{kind}: {file}",
            fix=fix,
        )


def _passed_over(file: str) -> bool:
    """Whether Spark passes over a file because of its name."""
    return _HIDDEN.fullmatch(_name(file)) is not None


def _linked(under: list[str], root: str, suffix: str) -> Files:
    """The files by other names, which Hadoop's view of a file system knows: nothing is copied."""
    view = "reweight" + hashlib.sha256("\n".join([*under, suffix]).encode()).hexdigest()[:16]
    if under == [root]:
        home, groups = root, "()()[^/]*"
        links = {re.sub(r"[^\w.-]", "_", f"file{_name(root)}{suffix}"): root}
    else:
        home, groups = root.rstrip("/") + "/", rf"((?:[^/]*/)*)file([^/]*){re.escape(suffix)}"
        links = {}
        for file in under:
            *folders, name = file.removeprefix(home).split("/")
            if not any(map(_passed_over, [*folders, name])):
                links["/".join([*folders, f"file{name}{suffix}"])] = file
    mount = f"fs.viewfs.mounttable.{view}.link./"
    options = {f"{mount}{k}": quote(v, safe="/:=@") for k, v in links.items()}
    return Files(
        # Each by itself, since a folder of links cannot be listed with the places of its blocks.
        read=[f"viewfs://{view}/{link}" for link in links],
        options=options | {"basePath": f"viewfs://{view}/", "__globPaths__": "false"},
        under=tuple(under),
        home=home,
        link=f"^viewfs://{view}/{groups}$",
        packed=bool(suffix),
    )


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _bare(path: str) -> str:
    """A path without scheme and host."""
    return re.sub(r"^[\w+.-]+:(//[^/]*)?", "", path)
