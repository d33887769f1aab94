"""Samples -> a Parquet folder for training.

A feed must not read a Delta folder (it would list files of old versions), so the rows of a split
are written once more, plainly, in an order that depends on their ids alone: rows go to files by
hash, and within a file by hash.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import number

# Rows of a file, which is one row group: enough to read at speed, few enough to shuffle well.
_FILE_ROWS = 50_000


def fingerprint(samples: DataFrame, extra: Sequence[str] = ()) -> str:
    """A hash of the rows that does not depend on their order: the identity of the content.

    Args:
        samples: rows of all splits.
        extra: further columns that training reads.
    """
    row = F.xxhash64("sample_id", "label", "features", "ids", "split", "mature", *extra)
    found = samples.select(row.alias("h")).agg(
        F.count("*"), F.bit_xor("h"), F.sum(F.col("h") % 1_000_003)
    )
    count, xor, total = found.first()  # type: ignore[misc]
    return f"{count}-{xor & (2**64 - 1):016x}-{total}"


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
) -> bool:
    """Writes the rows for training, unless the folder holds just these.

    Args:
        samples: the rows of one split.
        folder: replaced as a whole.
        rows: how many there are.
        shards: of the feed; every shard gets at least four files.
        with_ids: whether the samples have categorical ids at all.
        extra: further columns, written as float.
        segments: of the training rows, which number those of ``extra``.
        key: identity of the content; a folder with the same key is left as it is.

    Returns:
        Whether it was written.
    """
    mark = folder / "_key.json"
    if mark.exists() and mark.read_text() == _mark(key, folder):
        return False
    shutil.rmtree(folder, ignore_errors=True)
    numbers = [number(name, segments).alias(name) for name in extra]
    files = max(4, -(-rows // (_FILE_ROWS * shards))) * shards
    names = ["sample_id", "features", *(["ids"] if with_ids else []), "label"]
    written = samples.select(*names, *numbers)
    (
        # By all columns: where ids are not unique, equals that differ must have an order too.
        written.repartition(files, "sample_id")
        .sortWithinPartitions(F.xxhash64("sample_id"), *written.columns)
        .write.mode("overwrite")
        .option("parquet.block.size", 1 << 30)
        # It is read once per epoch and then dropped: what counts is how fast it is decoded.
        .option("compression", "none")
        .option("parquet.enable.dictionary", "false")
        .parquet(str(folder))
    )
    mark.write_text(_mark(key, folder))
    return True


def _mark(key: str, folder: Path) -> str:
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.parquet"))}
    return json.dumps({"key": key, "files": sizes})
