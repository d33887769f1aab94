"""The operations of the weight policy on tensors."""

import numpy as np
import pytest
import torch

from reweight.core.arithmetic import ARRAYS
from reweight.serving.export.tensors import TENSORS


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9, 10, 50, 3600])
def test_shares_are_those_of_arrays(number: int) -> None:
    draw = np.random.default_rng(number)
    values = np.sort(draw.normal(size=number))
    points = tuple(zip(values.tolist(), np.linspace(0.1, 1, number).tolist(), strict=True))
    x = np.concatenate([values, draw.normal(size=99), [-9.0, 9.0, np.inf, -np.inf, np.nan]])
    found = TENSORS.share_at_or_below(torch.tensor(x), points).numpy()
    np.testing.assert_array_equal(found, ARRAYS.share_at_or_below(x, points))
    assert np.isnan(found).tolist() == np.isnan(x).tolist()


def test_what_is_no_number_stays_none() -> None:
    x = np.array([-1.0, 0.5, 2.0, np.nan])
    found = TENSORS.clip(torch.tensor(x), 0, 1).numpy()
    np.testing.assert_array_equal(found, ARRAYS.clip(x, 0, 1))
    np.testing.assert_array_equal(found, [0, 0.5, 1, np.nan])
