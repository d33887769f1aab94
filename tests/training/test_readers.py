"""What every reader of a shard promises, and that both give the same batches."""

import re
import sys
import threading
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.training.feed import SnapshotFeed
from reweight.training.readers import READERS, Reading, Shard, row_groups

# Files of two unequal row groups, dealt to three shards of 59, 66 and 59 rows.
SIZES, GROUP, SHARDS = (33, 33, 33, 33, 26, 26), 20, 3
ROWS = sum(SIZES)


def write(
    folder: Path,
    sizes: Iterable[int] = SIZES,
    width: int = 3,
    group: int = GROUP,
    *,
    with_sequence: bool = False,
) -> Path:
    """Files of rows that are numbered through, in the order of the files."""
    folder.mkdir()
    first = 0
    for number, size in enumerate(sizes):
        sample_id = np.arange(first, first + size)
        numbers = np.random.default_rng(number).normal(size=size * width).astype(np.float32)
        features = pa.ListArray.from_arrays(np.arange(size + 1, dtype=np.int32) * width, numbers)
        columns = {
            "sample_id": pa.array(sample_id),
            "features": features,
            "ids": pa.array([[i % 7] for i in sample_id.tolist()], pa.list_(pa.int32())),
            # As a column of weights in a ranker's training has it; a batch holds float32.
            "label": pa.array((sample_id % 3 == 0).astype(np.float64)),
            "value": pa.array(sample_id.astype(np.float32) / 4),
        }
        if with_sequence:
            ids = [[i % 5, i % 3, 0, 0] for i in sample_id.tolist()]
            gaps = [[i / 8, -1.0] for i in sample_id.tolist()]
            columns["sequence_ids"] = pa.array(ids, pa.list_(pa.int32()))
            columns["sequence_gaps"] = pa.array(gaps, pa.list_(pa.float32()))
        path = folder / f"part-{number:05d}.parquet"
        pq.write_table(pa.table(columns), path, group, compression="none", use_dictionary=False)
        first += size
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("readers") / "snapshot")


Read = Callable[..., list[Batch]]


@pytest.fixture(scope="module")
def read(folder: Path, reader: Reading) -> Read:
    def batches(number: int = 0, seed: int | None = 5, extra: tuple[str, ...] = ()) -> list[Batch]:
        return list(READERS[reader](Shard(folder, number, SHARDS, 7, seed, extra)))

    return batches


def ids(batches: Iterable[Batch]) -> list[int]:
    return [i for batch in batches for i in batch.sample_id.tolist()]


@pytest.mark.parametrize("seed", [None, 0, 2**32 - 1])
def test_the_shards_together_have_every_row_exactly_once(read: Read, seed: int | None) -> None:
    shards = [ids(read(number, seed)) for number in range(SHARDS)]
    assert sorted(chain(*shards)) == list(range(ROWS))
    assert [len(shard) for shard in shards] == [59, 66, 59]


def test_parts_are_whole_but_for_the_last(read: Read) -> None:
    assert [len(batch) for batch in read(0)] == [7] * 8 + [3]
    assert [len(batch) for batch in read(1)] == [7] * 9 + [3]


def test_the_order_is_a_function_of_the_seed_alone(read: Read) -> None:
    first = ids(read(seed=1))
    torch.manual_seed(3)
    np.random.seed(3)
    assert ids(read(seed=1)) == first
    others = [ids(read(seed=seed)) for seed in (2, 3, 1 << 16)]
    assert len({tuple(order) for order in (first, *others)}) == 4
    assert all(sorted(order) == sorted(first) for order in others)


def test_without_a_seed_rows_come_in_the_order_of_the_files(read: Read) -> None:
    assert all(ids(read(number, None)) == sorted(ids(read(number))) for number in range(SHARDS))


def test_columns_of_a_row_stay_together(read: Read) -> None:
    batch = Batch.concat(read(extra=("value",)))
    assert torch.equal(batch.extra["value"], batch.sample_id / 4)
    assert torch.equal(batch.label, (batch.sample_id % 3 == 0).float())
    assert torch.equal(batch.ids[:, 0], batch.sample_id % 7)
    assert Batch.concat(read()).extra == {}


def test_sequences_stay_with_their_row(tmp_path: Path, reader: Reading) -> None:
    folder = write(tmp_path / "snapshot", with_sequence=True)
    batches = list(READERS[reader](Shard(folder, 1, SHARDS, 7, 5)))
    batch = Batch.concat(batches)
    assert batch.sequence is not None
    i, none = batch.sample_id, torch.zeros_like(batch.sample_id)
    assert batch.sequence.ids.dtype == torch.int64
    wanted = torch.stack([i % 5, i % 3, none, none], dim=1).reshape(-1, 2, 2)
    assert torch.equal(batch.sequence.ids, wanted)
    assert torch.equal(batch.sequence.gaps, torch.stack([i / 8, none - 1.0], dim=1))


@pytest.mark.skipif(find_spec("petastorm") is None, reason="Petastorm is not installed here")
@pytest.mark.parametrize("epoch", [0, 1, 6])
@pytest.mark.parametrize("shuffle", [True, False])
def test_both_readers_give_the_same_batches(folder: Path, epoch: int, shuffle: bool) -> None:
    one, other, either = (
        list(SnapshotFeed(str(folder), 20, SHARDS, seed=3, shuffle=shuffle, reader=reader)(epoch))
        for reader in ("petastorm", "arrow", "auto")
    )
    assert len(one) == 9
    for batches in (other, either):
        assert ids(batches) == ids(one)
        for mine, theirs in zip(batches, one, strict=True):
            for name in ("features", "ids", "label"):
                found, wanted = getattr(mine, name), getattr(theirs, name)
                assert found.dtype == wanted.dtype
                assert torch.equal(found, wanted)


def test_a_training_that_is_taken_up_reads_on_as_if_never_stopped(
    folder: Path, reader: Reading
) -> None:
    def feed() -> SnapshotFeed:
        return SnapshotFeed(str(folder), 30, SHARDS, seed=3, reader=reader)

    through = feed()
    orders = [ids(through(epoch)) for epoch in range(4)]
    stopped = feed()
    next(stopped(2))
    assert [ids(stopped(2)), ids(feed()(3))] == orders[2:]
    assert len({tuple(order) for order in orders}) == 4


def test_an_empty_folder_is_refused(tmp_path: Path, reader: Reading) -> None:
    with pytest.raises(TrainingError, match=re.escape(f"0 in {tmp_path}")):
        SnapshotFeed(str(tmp_path), 30, SHARDS, reader=reader)


def test_a_file_that_was_cut_short_is_named_before_anything_is_read(
    tmp_path: Path, reader: Reading
) -> None:
    path = sorted(write(tmp_path / "s").iterdir())[3]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=re.escape(str(path))):
        SnapshotFeed(str(tmp_path / "s"), 30, SHARDS, reader=reader)


def test_a_file_with_broken_rows_ends_the_epoch_with_its_name_and_no_thread(
    tmp_path: Path, reader: Reading
) -> None:
    path = sorted(write(tmp_path / "s").iterdir())[3]
    content = path.read_bytes()
    footer = pq.read_metadata(path).serialized_size
    path.write_bytes(content[:4] + b"\xff" * (len(content) - footer - 12) + content[-footer - 8 :])
    before = set(threading.enumerate())
    feed = SnapshotFeed(str(tmp_path / "s"), 30, SHARDS, shuffle=False, reader=reader, whole=True)
    seen = []
    with pytest.raises(TrainingError, match=re.escape(str(path))):
        for batch in feed(0):
            seen += batch.sample_id.tolist()
    assert seen
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("closed", [True, False])
def test_who_stops_early_leaves_no_thread(folder: Path, reader: Reading, closed: bool) -> None:
    before = set(threading.enumerate())
    batches = SnapshotFeed(str(folder), 30, SHARDS, reader=reader)(0)
    next(batches)
    if closed:
        batches.close()  # type: ignore[attr-defined]
    del batches
    assert set(threading.enumerate()) <= before


def test_memory_does_not_grow_with_the_number_of_row_groups(
    tmp_path: Path, reader: Reading
) -> None:
    def peak(groups: int) -> float:
        """MB of this process while it reads so many row groups of 1 MB each."""
        path = write(tmp_path / str(groups), [2_500] * groups, width=100, group=2_500)
        used = []
        for batch in READERS[reader](Shard(path, 0, 1, 500, 1)):
            used.append(psutil.Process().memory_info().rss / 2**20)
            del batch
        assert len(used) == groups * 5
        return max(used)

    few = peak(6)
    assert peak(60) - few < 25


def test_row_groups_are_listed_in_the_order_of_the_files(folder: Path) -> None:
    found = row_groups(folder)
    assert [group.rows for group in found] == [20, 13] * 4 + [20, 6] * 2
    assert [group.number for group in found] == [0, 1] * 6
    assert [group.path for group in found] == sorted(group.path for group in found)


def test_where_petastorm_is_not_installed_arrow_reads(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "petastorm", None)
    shard = Shard(folder, 0, SHARDS, 7, 5)
    assert ids(READERS["auto"](shard)) == ids(READERS["arrow"](shard))
    with pytest.raises(TrainingError, match=r"write fitting: \{feed: arrow\}"):
        next(READERS["petastorm"](shard))


@pytest.mark.parametrize("name", ["my shöp", "50%20", "a;b", "a#b", "a?b"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    shard = Shard(write(tmp_path / name / "snapshot"), 0, SHARDS, 7, 5)
    assert ids(READERS["auto"](shard)) == ids(READERS["arrow"](shard))


@pytest.mark.skipif(find_spec("petastorm") is None, reason="Petastorm is not installed here")
def test_petastorm_refuses_a_folder_that_it_would_not_find(tmp_path: Path) -> None:
    folder = write(tmp_path / "a#b")
    with pytest.raises(TrainingError, match="cannot open the path") as caught:
        next(READERS["petastorm"](Shard(folder, 0, SHARDS, 7, 5)))
    assert f"got:      {folder}" in str(caught.value)
