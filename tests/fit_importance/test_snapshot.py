"""Snapshots: the same files for the same rows, written when the rows have changed."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.fit_importance.snapshot import Content, content_of, write_snapshot
from reweight.training.feed import SnapshotFeed

ROWS = 300


@pytest.fixture(scope="module")
def samples(spark: SparkSession) -> DataFrame:
    number = F.col("id")
    rows = spark.range(ROWS, numPartitions=2).select(
        # Ids of all sizes, the largest far beyond what a double holds.
        F.xxhash64("id").alias("sample_id"),
        F.array((number / 7).cast("float"), F.sin(number).cast("float")).alias("features"),
        F.array((number % 5).cast("int")).alias("ids"),
        (number % 2).cast("float").alias("label"),
        F.lit("train").alias("split"),
        F.lit(True).alias("mature"),
        (number % 4 == 0).alias("target"),
        (number % 9).cast("int").alias("position"),
        F.array(number.cast("int"), F.lit(0)).alias("sequence_ids"),
        F.array(number.cast("float"), F.lit(-1.0).cast("float")).alias("sequence_gaps"),
    )
    return rows.cache()


@pytest.fixture(scope="module")
def folder(samples: DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshot") / "train"
    assert written(samples, folder)
    return folder


@pytest.fixture(scope="module")
def identity(samples: DataFrame) -> Content:
    return content_of(samples)


def written(samples: DataFrame, folder: Path, **settings: Any) -> bool:
    values = {"rows": ROWS, "shards": 2, "with_ids": True, "key": "one"} | settings
    return write_snapshot(samples, folder, **values)


def contents(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Number of a file -> its rows, in order."""
    return {
        re.match(r"part-\d+", path.name)[0]: pq.read_table(path).to_pylist()  # type: ignore[index]
        for path in sorted(folder.glob("*.parquet"))
    }


def test_a_snapshot_holds_the_rows_as_they_are(samples: DataFrame, folder: Path) -> None:
    rows = [row for part in contents(folder).values() for row in part]
    wanted = samples.select("sample_id", "features", "ids", "label").collect()
    assert len(rows) == ROWS
    assert {row["sample_id"]: row for row in rows} == {r["sample_id"]: r.asDict() for r in wanted}


@pytest.mark.parametrize("partitions", [1, 8])
def test_files_do_not_depend_on_how_rows_are_partitioned(
    samples: DataFrame, folder: Path, tmp_path: Path, partitions: int
) -> None:
    shuffled = samples.orderBy(F.rand(partitions)).repartition(partitions)
    written(shuffled, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(folder)


def test_every_shard_gets_four_files_of_one_row_group(folder: Path) -> None:
    groups = [pq.read_metadata(path).num_row_groups for path in folder.glob("*.parquet")]
    assert groups == [1] * 8
    assert SnapshotFeed(str(folder), batch_size=20, shards=2).rows == ROWS


def test_rows_are_not_sorted_by_their_label(folder: Path) -> None:
    labels = [row["label"] for part in contents(folder).values() for row in part]
    changes = sum(a != b for a, b in pairwise(labels))
    assert changes > ROWS / 4


def test_further_columns_are_written_as_numbers(samples: DataFrame, tmp_path: Path) -> None:
    written(samples, tmp_path / "s", extra=("position", "target"))
    rows = [row for part in contents(tmp_path / "s").values() for row in part]
    assert {type(row[name]) for row in rows for name in ("position", "target")} == {float}
    found = {row["sample_id"]: (row["position"], row["target"]) for row in rows}
    wanted = samples.select("sample_id", "position", "target").collect()
    assert found == {r["sample_id"]: (float(r["position"]), float(r["target"])) for r in wanted}


def test_sequences_are_written_where_training_reads_them(
    samples: DataFrame, folder: Path, tmp_path: Path
) -> None:
    names = ["sequence_ids", "sequence_gaps"]
    assert not set(names) & set(pq.read_schema(next(folder.glob("*.parquet"))).names)
    written(samples, tmp_path / "s", with_sequence=True)
    rows = [row for part in contents(tmp_path / "s").values() for row in part]
    found = {row["sample_id"]: [row[name] for name in names] for row in rows}
    wanted = samples.select("sample_id", *names).collect()
    assert found == {row[0]: [row[1], row[2]] for row in wanted}
    other = samples.withColumn("sequence_gaps", F.expr("array(-1f, -1f)"))
    assert content_of(other) == content_of(samples)
    assert content_of(other, with_sequence=True) != content_of(samples, with_sequence=True)


def test_the_same_key_leaves_the_folder_as_it_is(samples: DataFrame, folder: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not written(samples.limit(10), folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_another_key_replaces_the_folder(samples: DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    assert written(samples, folder)
    assert written(samples.where("label = 1"), folder, key="two", with_ids=False)
    rows = [row for part in contents(folder).values() for row in part]
    assert len(rows) == ROWS / 2
    assert set(rows[0]) == {"sample_id", "features", "label"}
    assert not written(samples, folder, key="two")


def test_a_folder_whose_writing_was_cut_short_is_written_again(
    samples: DataFrame, tmp_path: Path
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "part-00000-left-over.parquet").write_bytes(b"half a file")
    # What a full disk leaves of the mark.
    (folder / "_key.json").touch()
    assert written(samples, folder)
    assert sum(len(part) for part in contents(folder).values()) == ROWS


def test_the_fingerprint_does_not_depend_on_the_order_of_rows(
    samples: DataFrame, identity: Content
) -> None:
    shuffled = samples.orderBy(F.rand(1)).repartition(5)
    assert content_of(shuffled) == identity


@pytest.mark.parametrize(
    "changed",
    [
        {"label": "IF(id = 7, 1 - label, label)"},
        {"features": "IF(id = 7, array(features[0], float(9)), features)"},
        {"ids": "IF(id = 7, array(ids[0] + 1), ids)"},
        {"split": "IF(id = 7, 'test', split)"},
        {"mature": "id != 7"},
        {"sample_id": "IF(id = 7, sample_id + 1, sample_id)"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_fingerprint_tells_of_one_changed_value(
    samples: DataFrame, identity: Content, changed: dict[str, str]
) -> None:
    numbered = samples.withColumn("id", F.round(F.col("features")[0] * 7).cast("int"))
    other = numbered.withColumns({name: F.expr(sql) for name, sql in changed.items()})
    assert content_of(other) != identity


def test_the_fingerprint_tells_of_further_columns_that_training_reads(
    samples: DataFrame, identity: Content
) -> None:
    moved = samples.withColumn("position", F.expr("IF(sample_id = 1, 0, position + 1)"))
    assert content_of(moved) == identity
    assert content_of(moved, ("position",)) != content_of(samples, ("position",))
    assert content_of(samples, ("position",)) != content_of(samples, ("position", "target"))


def test_the_fingerprint_tells_of_a_doubled_and_of_a_missing_row(
    samples: DataFrame, identity: Content
) -> None:
    one, other = (samples.where(f"features[0] = float({n}) / float(7)") for n in (7, 14))
    assert (one.count(), other.count()) == (1, 1)
    assert content_of(samples.union(one)) != identity
    assert content_of(samples.exceptAll(one)) != identity
    # Two equal rows cancel in an exclusive or, and the count does not say which they are.
    twice, other_twice = (samples.union(row).union(row) for row in (one, other))
    assert content_of(twice) != content_of(other_twice)
