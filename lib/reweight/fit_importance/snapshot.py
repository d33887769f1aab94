"""Samples -> a Parquet folder for training.

A feed must not read a Delta folder (it would see files of old versions), so the rows of a split are
written again as plain Parquet. Their order depends on their ids only: a hash decides the file and
the place in the file.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import number
from reweight.core.sequences import SEQUENCE

# Rows per file, which is one row group: enough to read fast, few enough to shuffle well.
_FILE_ROWS = 50_000


class Content(NamedTuple):
    """What is known of the rows after one pass over them.

    Attributes:
        fingerprint: a hash of the rows' content, independent of their order.
        validation: number of validation rows.
    """

    fingerprint: str
    validation: int


def content_of(
    samples: DataFrame, extra: Sequence[str] = (), *, with_sequence: bool = False
) -> Content:
    """Reads the rows once, to name them and to count the validation rows.

    Args:
        samples: rows of all splits.
        extra: additional columns that training reads.
        with_sequence: whether it reads the sequences.
    """
    read = [*extra, *(SEQUENCE if with_sequence else ())]
    row = F.xxhash64("sample_id", "label", "features", "ids", "split", "mature", *read)
    hashes = samples.select(row.alias("h"), "split").agg(
        F.count("*"),
        F.bit_xor("h"),
        F.sum(F.col("h") % 1_000_003),
        F.count_if(F.col("split") == "validation"),
    )
    count, xor, total, validation = hashes.first()  # type: ignore[misc]
    return Content(f"{count}-{xor & (2**64 - 1):016x}-{total}", validation)


def write_snapshot(
    samples: DataFrame,
    folder: Path,
    *,
    rows: int,
    shards: int,
    with_ids: bool,
    key: str,
    extra: Sequence[str] = (),
    segments: Sequence[str] = (),
    with_sequence: bool = False,
) -> bool:
    """Writes the rows for training, unless the folder already holds them.

    Args:
        samples: the rows of one split.
        folder: the folder to write, replaced as a whole.
        rows: number of rows.
        shards: number of shards of the feed; every shard gets at least four files.
        with_ids: whether the samples have categorical ids.
        extra: additional columns, written as float.
        segments: segments of the training rows; ``segment`` in ``extra`` is written as its number.
        with_sequence: whether training reads the sequences.
        key: identity of the content; a folder with the same key is left as it is.

    Returns:
        Whether the folder was written.
    """
    mark = folder / "_key.json"
    if mark.exists() and mark.read_text() == _mark(key, folder):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    numbers = [number(name, segments).alias(name) for name in extra]
    files = max(4, -(-rows // (_FILE_ROWS * shards))) * shards
    names = ["sample_id", "features", *(["ids"] if with_ids else []), "label"]
    names += SEQUENCE if with_sequence else ()
    written = samples.select(*names, *numbers)
    (
        # By all columns: rows that share an id must have a fixed order too.
        written.repartition(files, "sample_id")
        .sortWithinPartitions(F.xxhash64("sample_id"), *written.columns)
        .write.mode("overwrite")
        .option("parquet.block.size", 1 << 30)
        # The folder is short-lived and read once per epoch: decoding speed is what counts.
        .option("compression", "none")
        .option("parquet.enable.dictionary", "false")
        .parquet(str(folder))
    )
    mark.write_text(_mark(key, folder))
    return True


def _mark(key: str, folder: Path) -> str:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.parquet"))}
    return json.dumps({"key": key, "files": sizes})
