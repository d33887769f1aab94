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
    x = np.concatenate([values, draw.normal(size=99), [-9.0, 9.0, np.inf, -np.inf]])
    found = TENSORS.share_at_or_below(torch.tensor(x), points).numpy()
    np.testing.assert_array_equal(found, ARRAYS.share_at_or_below(x, points))
