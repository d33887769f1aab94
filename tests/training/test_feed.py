"""Snapshots as feeds: the same global batches for any number of ranks, and no row twice."""

import os
import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import TrainingError
from reweight.fit_importance.snapshot import write_snapshot
from reweight.importance.batch import Batch
from reweight.training.feed import SnapshotFeed
from reweight.training.readers import Reading

# Twelve files of unequal size, dealt to four shards of 113, 124, 117 and 136 rows.
SIZES = (40, 41, 42, 43, 34, 42, 37, 47, 39, 41, 38, 46)
SHARDS = 4
Columns = dict[str, np.ndarray]


def columns_of(rows: int) -> Columns:
    generator = np.random.default_rng(0)
    sample_id = generator.integers(-(2**63), 2**63 - 1, rows)
    sample_id[:4] = [2**63 - 1, -(2**63), 2**53 + 1, 0]
    return {
        "sample_id": sample_id,
        "features": generator.normal(size=(rows, 3)).astype(np.float32),
        "ids": generator.integers(0, 50, (rows, 2)).astype(np.int32),
        "label": (np.arange(rows) % 3 == 0).astype(np.float32),
        "position": (np.arange(rows) % 7).astype(np.float32),
        "value": generator.normal(size=rows).astype(np.float32),
    }


def write(folder: Path, columns: Columns, sizes: Iterable[int]) -> Path:
    """One file of one row group per size, named in their order."""
    folder.mkdir()
    start = 0
    for number, size in enumerate(sizes):
        part = {name: list(values[start : start + size]) for name, values in columns.items()}
        types = {
            "sample_id": pa.int64(),
            "features": pa.list_(pa.float32()),
            "ids": pa.list_(pa.int32()),
            "label": pa.float32(),
            "position": pa.float32(),
            "value": pa.float32(),
        }
        table = pa.table({name: pa.array(own, types[name]) for name, own in part.items()})
        pq.write_table(table, folder / f"part-{number:05d}.parquet")
        start += size
    (folder / "_key.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def columns() -> Columns:
    return columns_of(sum(SIZES))


@pytest.fixture(scope="module")
def folder(columns: Columns, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write(tmp_path_factory.mktemp("feed") / "snapshot", columns, SIZES))


@pytest.fixture(scope="module")
def feed(folder: str, reader: Reading) -> Callable[..., SnapshotFeed]:
    own = {"folder": folder, "batch_size": 40, "shards": SHARDS, "reader": reader}

    def make(**settings: object) -> SnapshotFeed:
        return SnapshotFeed(**(own | settings))  # type: ignore[arg-type]

    return make


def order(feed: SnapshotFeed, epoch: int = 0) -> list[list[int]]:
    """The ids of every batch of an epoch."""
    return [batch.sample_id.tolist() for batch in feed(epoch)]


Make = Callable[..., SnapshotFeed]


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_has_every_row_at_most_once_and_whole(
    feed: Make, columns: Columns, shuffle: bool
) -> None:
    batch = Batch.concat(list(feed(shuffle=shuffle)(0)))
    place = {sample_id: i for i, sample_id in enumerate(columns["sample_id"].tolist())}
    rows = [place[sample_id] for sample_id in batch.sample_id.tolist()]
    assert len(set(rows)) == len(rows) == 440
    for name in ("sample_id", "features", "ids", "label"):
        found = getattr(batch, name).numpy()
        np.testing.assert_array_equal(found, columns[name][rows].astype(found.dtype))
    assert batch.extra == {}
    assert (batch.sample_id.dtype, batch.ids.dtype) == (torch.int64, torch.int64)
    assert (batch.features.dtype, batch.label.dtype) == (torch.float32, torch.float32)


def test_further_columns_are_read_where_they_are_asked_for(feed: Make, columns: Columns) -> None:
    batch = Batch.concat(list(feed(extra=("position", "value"))(0)))
    place = {sample_id: i for i, sample_id in enumerate(columns["sample_id"].tolist())}
    rows = [place[sample_id] for sample_id in batch.sample_id.tolist()]
    assert list(batch.extra) == ["position", "value"]
    for name, values in batch.extra.items():
        assert values.dtype == torch.float32
        np.testing.assert_array_equal(values.numpy(), columns[name][rows])
    assert order(feed(extra=("value",))) == order(feed())


def test_a_snapshot_that_spark_wrote_is_read_back(
    spark: SparkSession, tmp_path: Path, reader: Reading
) -> None:
    columns = columns_of(120)
    schema = spark.createDataFrame(
        [],
        "sample_id bigint, features array<float>, ids array<int>, label float, "
        "position float, value float",
    ).schema
    rows = list(zip(*[columns[name].tolist() for name in schema.names], strict=True))
    samples = spark.createDataFrame(rows, schema)
    # Written as numbers whatever they were.
    typed = samples.withColumns(
        {"position": F.col("position").cast("int"), "target": F.col("label") == 1}
    )
    extra = ("position", "target")
    write_snapshot(typed, tmp_path / "s", rows=120, shards=2, with_ids=True, key="k", extra=extra)
    feed = SnapshotFeed(str(tmp_path / "s"), batch_size=2, shards=2, extra=extra, reader=reader)
    batch = Batch.concat(list(feed(0)))
    assert len(batch) > 60
    place = {sample_id: i for i, sample_id in enumerate(columns["sample_id"].tolist())}
    taken = [place[i] for i in batch.sample_id.tolist()]
    assert len(set(taken)) == len(taken)
    np.testing.assert_array_equal(batch.features.numpy(), columns["features"][taken])
    np.testing.assert_array_equal(batch.ids.numpy(), columns["ids"][taken])
    np.testing.assert_array_equal(batch.label.numpy(), columns["label"][taken])
    np.testing.assert_array_equal(batch.extra["position"].numpy(), columns["position"][taken])
    np.testing.assert_array_equal(batch.extra["target"].numpy(), columns["label"][taken])


def test_with_one_row_a_step_nothing_is_left_out(tmp_path: Path, reader: Reading) -> None:
    columns = columns_of(40)
    feed = SnapshotFeed(
        str(write(tmp_path / "s", columns, [20, 20])), batch_size=2, shards=2, reader=reader
    )
    seen = [i for batch in order(feed) for i in batch]
    assert sorted(seen) == sorted(columns["sample_id"].tolist())
    assert {2**63 - 1, -(2**63), 2**53 + 1} <= set(seen)


def test_steps_and_parts_follow_from_the_smallest_shard(feed: Make) -> None:
    assert feed().rows == sum(SIZES)
    assert (feed().part, feed().steps) == (10, 11)
    assert [len(batch) for batch in order(feed())] == [40] * 11
    assert (feed(batch_size=43).part, feed(batch_size=43).steps) == (10, 11)
    assert (feed(batch_size=1).part, feed(batch_size=1).steps) == (1, 113)


def test_a_batch_larger_than_the_shards_is_one_step_of_equal_parts(feed: Make) -> None:
    large = feed(batch_size=10_000)
    assert (large.part, large.steps) == (113, 1)
    assert [len(batch) for batch in order(large)] == [4 * 113]


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_global_batches_of_one_rank(feed: Make, world: int) -> None:
    ranks = [order(feed(rank=rank, world=world), 3) for rank in range(world)]
    assert [[len(batch) for batch in rank] for rank in ranks] == [[40 // world] * 11] * world
    together = [sorted(chain(*step)) for step in zip(*ranks, strict=True)]
    assert together == [sorted(batch) for batch in order(feed(), 3)]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_whole_pass_has_every_row_once_over_all_ranks(
    feed: Make, columns: Columns, world: int
) -> None:
    ranks = [order(feed(whole=True, rank=rank, world=world)) for rank in range(world)]
    seen = [i for rank in ranks for batch in rank for i in batch]
    assert sorted(seen) == sorted(columns["sample_id"].tolist())
    assert max(len(batch) for rank in ranks for batch in rank) == 40 // world


def test_every_shard_gives_the_same_number_of_rows_to_each_step(
    feed: Make, columns: Columns
) -> None:
    file = np.repeat(np.arange(len(SIZES)), SIZES)
    shard = dict(zip(columns["sample_id"].tolist(), (file % SHARDS).tolist(), strict=True))
    for batch in order(feed()):
        assert np.bincount([shard[i] for i in batch]).tolist() == [10] * SHARDS


def test_the_order_is_a_function_of_seed_and_epoch(feed: Make) -> None:
    torch.manual_seed(1)
    first = order(feed(seed=2), 1)
    torch.manual_seed(2)
    assert order(feed(seed=2), 1) == first
    assert order(feed(seed=3), 0) == first
    assert order(feed(seed=2), 2) != first
    assert order(feed(seed=2), 0) != first


def test_without_shuffling_rows_come_in_the_order_of_the_files_in_every_epoch(
    feed: Make, columns: Columns
) -> None:
    file = np.repeat(np.arange(len(SIZES)), SIZES)
    for epoch in (0, 4):
        batches = order(feed(shuffle=False), epoch)
        for shard in range(SHARDS):
            own = columns["sample_id"][file % SHARDS == shard].tolist()
            seen = [i for batch in batches for i in batch if i in set(own)]
            assert seen == own[: len(seen)]


def test_other_epochs_compose_other_batches(feed: Make) -> None:
    one, two = ([set(batch) for batch in order(feed(), epoch)] for epoch in (0, 1))
    assert not any(batch in two for batch in one)


def test_rows_within_a_file_are_mixed_anew_in_every_epoch_and_shard(
    tmp_path: Path, reader: Reading
) -> None:
    columns = columns_of(60)
    feed = SnapshotFeed(
        str(write(tmp_path / "s", columns, [30, 30])), batch_size=20, shards=2, reader=reader
    )
    place = {sample_id: i for i, sample_id in enumerate(columns["sample_id"].tolist())}
    orders = []
    for epoch in (0, 1):
        places = [place[i] for batch in order(feed, epoch) for i in batch]
        # Each shard is a single file here, so its row groups cannot change places.
        orders += [[n % 30 for n in places if n // 30 == shard] for shard in (0, 1)]
    assert [sorted(own) for own in orders] == [list(range(30))] * 4
    assert len({tuple(own) for own in orders}) == 4


def test_reading_leaves_torchs_random_numbers_alone(feed: Make) -> None:
    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    torch.manual_seed(5)
    batches = feed()(0)
    next(batches)
    next(batches)
    assert torch.equal(torch.rand(3), undisturbed)
    batches.close()  # type: ignore[attr-defined]


def test_shuffled_rows_are_mixed_across_files(feed: Make, columns: Columns) -> None:
    file = dict(
        zip(columns["sample_id"].tolist(), np.repeat(np.arange(12), SIZES).tolist(), strict=True)
    )
    batches = order(feed(batch_size=40, shards=4))
    assert all(len({file[i] for i in batch}) >= 4 for batch in batches)
    place = {i: n for n, i in enumerate(columns["sample_id"].tolist())}
    places = [place[i] for batch in batches for i in batch]
    assert abs(np.corrcoef(places, range(len(places)))[0, 1]) < 0.8


def test_rows_without_ids_have_none(tmp_path: Path, reader: Reading) -> None:
    columns = columns_of(30)
    del columns["ids"]
    feed = SnapshotFeed(
        str(write(tmp_path / "s", columns, [15, 15])), batch_size=10, shards=2, reader=reader
    )
    batch = next(iter(feed(0)))
    assert batch.ids.shape == (10, 0)
    assert batch.ids.dtype == torch.int64


def test_row_groups_within_a_file_are_dealt_like_files(tmp_path: Path, reader: Reading) -> None:
    columns = columns_of(60)
    folder = write(tmp_path / "s", columns, [60])
    (path,) = folder.glob("*.parquet")
    pq.write_table(pq.read_table(path), path, row_group_size=10)
    feed = SnapshotFeed(str(folder), batch_size=6, shards=2, reader=reader)
    assert (feed.part, feed.steps) == (3, 10)
    place = {sample_id: i for i, sample_id in enumerate(columns["sample_id"].tolist())}
    for batch in order(feed):
        assert sorted(place[i] // 10 % 2 for i in batch) == [0, 0, 0, 1, 1, 1]


def test_a_relative_folder_is_read_as_well(folder: str, feed: Make) -> None:
    assert order(feed(folder=os.path.relpath(folder))) == order(feed())


@pytest.mark.parametrize("world", [3, 8])
def test_ranks_that_do_not_divide_the_shards_are_refused(feed: Make, world: int) -> None:
    with pytest.raises(TrainingError, match=re.compile(rf"shards = 4.*{world} ranks", re.DOTALL)):
        feed(world=world)


def test_fewer_row_groups_than_shards_are_refused(feed: Make) -> None:
    with pytest.raises(TrainingError, match=re.compile(r"shards = 13.*12 in ", re.DOTALL)):
        feed(shards=13)
    assert feed(shards=12).steps > 0
