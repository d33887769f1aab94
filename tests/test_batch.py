"""Batches: rows stay together and in order."""

from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from reweight.batch import Batch


def batch_of(first: int, rows: int, fields_of_ids: int = 2) -> Batch:
    sample_id = torch.arange(first, first + rows)
    return Batch(
        sample_id=sample_id,
        features=sample_id[:, None] * torch.tensor([1.0, 10.0, 100.0]),
        ids=sample_id[:, None].repeat(1, fields_of_ids),
        label=(sample_id % 2).float(),
    )


def test_length_is_the_number_of_rows() -> None:
    assert len(batch_of(0, 7)) == 7
    assert len(batch_of(0, 0)) == 0


def test_concat_keeps_the_order_of_rows_in_every_column() -> None:
    whole = batch_of(5, 9)
    joined = Batch.concat([batch_of(5, 2), batch_of(7, 4), batch_of(11, 3)])
    for field in fields(Batch):
        torch.testing.assert_close(
            getattr(joined, field.name), getattr(whole, field.name), rtol=0, atol=0
        )


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
    assert {getattr(moved, field.name).device.type for field in fields(Batch)} == {"meta"}


def test_a_batch_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        batch_of(0, 1).label = torch.ones(1)  # type: ignore[misc]
