"""Batches: rows stay together and in order."""

from dataclasses import FrozenInstanceError, replace

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from reweight.importance.batch import Batch, Sequences


def batch_of(first: int, rows: int, fields_of_ids: int = 2) -> Batch:
    sample_id = torch.arange(first, first + rows)
    return Batch(
        sample_id=sample_id,
        features=sample_id[:, None] * torch.tensor([1.0, 10.0, 100.0]),
        ids=sample_id[:, None].repeat(1, fields_of_ids),
        label=(sample_id % 2).float(),
        extra={"position": sample_id / 4, "value": -sample_id.float()},
    )


def columns_of(batch: Batch) -> dict[str, Tensor]:
    columns = {n: getattr(batch, n) for n in ("sample_id", "features", "ids", "label")}
    if batch.sequence is not None:
        columns |= {"sequence_ids": batch.sequence.ids, "sequence_gaps": batch.sequence.gaps}
    return columns | dict(batch.extra)


def with_sequence(batch: Batch) -> Batch:
    ids = batch.sample_id[:, None, None].expand(-1, 4, 2).contiguous()
    return replace(batch, sequence=Sequences(ids, ids[:, :, 0] / 2))


def assert_equal(found: Batch, wanted: Batch) -> None:
    assert columns_of(found).keys() == columns_of(wanted).keys()
    for name, values in columns_of(wanted).items():
        torch.testing.assert_close(columns_of(found)[name], values, rtol=0, atol=0)


def test_length_is_the_number_of_rows() -> None:
    assert len(batch_of(0, 7)) == 7
    assert len(batch_of(0, 0)) == 0


def test_concat_keeps_the_order_of_rows_in_every_column() -> None:
    joined = Batch.concat([batch_of(5, 2), batch_of(7, 4), batch_of(11, 3)])
    assert_equal(joined, batch_of(5, 9))


def test_concat_keeps_rows_without_ids() -> None:
    joined = Batch.concat([batch_of(0, 2, fields_of_ids=0), batch_of(2, 3, fields_of_ids=0)])
    assert joined.ids.shape == (5, 0)
    assert joined.ids.dtype == torch.int64


def test_concat_keeps_ids_beyond_the_precision_of_floats() -> None:
    ids = torch.tensor([2**63 - 1, -(2**63), 2**53 + 1])
    one = Batch(ids, torch.zeros(3, 1), torch.zeros(3, 0, dtype=torch.int64), torch.zeros(3))
    assert Batch.concat([one, one]).sample_id.tolist() == ids.tolist() * 2


def test_to_moves_every_column() -> None:
    moved = batch_of(0, 4).to(torch.device("meta"))
    assert {values.device.type for values in columns_of(moved).values()} == {"meta"}


def test_rows_are_taken_whole_in_the_order_that_is_asked_for() -> None:
    batch = batch_of(5, 9)
    assert_equal(batch.rows(torch.tensor([2, 3, 4])), batch_of(7, 3))
    shuffled = batch.rows(torch.tensor([8, 0, 3, 3]))
    assert shuffled.sample_id.tolist() == [13, 5, 8, 8]
    for name, values in columns_of(shuffled).items():
        singles = torch.cat([columns_of(batch_of(i, 1))[name] for i in (13, 5, 8, 8)])
        assert torch.equal(values, singles)
    assert_equal(batch.rows(batch.label == 1), batch.rows(torch.tensor([0, 2, 4, 6, 8])))
    assert len(batch.rows(torch.tensor([], dtype=torch.int64))) == 0


def test_every_column_is_changed_alike() -> None:
    doubled = batch_of(3, 4).map(lambda values: torch.cat([values, values]))
    assert_equal(doubled, Batch.concat([batch_of(3, 4), batch_of(3, 4)]))


def test_sequences_go_with_their_rows() -> None:
    joined = Batch.concat([with_sequence(batch_of(5, 2)), with_sequence(batch_of(7, 4))])
    assert_equal(joined, with_sequence(batch_of(5, 6)))
    assert_equal(joined.rows(torch.tensor([1, 2])), with_sequence(batch_of(6, 2)))
    moved = joined.to(torch.device("meta"))
    assert {values.device.type for values in columns_of(moved).values()} == {"meta"}
    assert batch_of(0, 2).sequence is None


def test_a_sequence_is_read_from_two_columns_of_lists() -> None:
    columns = {
        "sample_id": pa.array([1, 2]),
        "features": pa.array([[0.5], [1.5]]),
        "label": pa.array([0.0, 1.0]),
        "sequence_ids": pa.array([[1, 2, 3, 4], [5, 6, 0, 0]], pa.list_(pa.int32())),
        "sequence_gaps": pa.array([[2.5, 1.0], [0.5, -1.0]]),
    }
    sequence = Batch.from_arrow(columns, {}).sequence
    assert sequence is not None
    assert sequence.ids.tolist() == [[[1, 2], [3, 4]], [[5, 6], [0, 0]]]
    assert sequence.gaps.tolist() == [[2.5, 1.0], [0.5, -1.0]]
    assert (sequence.ids.dtype, sequence.gaps.dtype) == (torch.int64, torch.float32)
    none = sequence.without_events()
    assert not none.ids.any() and (none.gaps == -1).all()
    no_rows = {name: values.slice(0, 0) for name, values in columns.items()}
    assert len(Batch.from_arrow(no_rows, {})) == 0


def test_a_batch_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        batch_of(0, 1).label = torch.ones(1)  # type: ignore[misc]
