"""KNN-Shapley: the closed form equals the definition, summed over all subsets."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reweight.importance.batch import Batch
from reweight.importance.methods.knn_shapley import KnnShapley
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import Valuation


def valuation(n: int, others: int, seed: int, ids: bool = False) -> Valuation:
    draw = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Batch:
        fields = torch.randint(0, 3, (count, int(ids)), generator=draw)
        return Batch(
            torch.arange(count),
            torch.randn((count, 2), generator=draw),
            fields,
            (torch.rand(count, generator=draw) < 0.5).float(),
        )

    return Valuation(rows(n), rows(others), TrainFacts(dim=2, rows=n, positives=1))


def shapley(n: int, utility: Callable[[tuple[int, ...]], float]) -> NDArray[np.float64]:
    """The definition."""
    found = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            weight = 1 / (n * math.comb(n - 1, size))
            for subset in combinations(others, size):
                found[i] += weight * (utility((*subset, i)) - utility(subset))
    return found


def wanted(rows: Valuation, k: int) -> NDArray[np.float64]:
    x, v = (part.numpy() for part in rows.design())
    distance = ((v[:, None] - x[None]) ** 2).sum(-1)
    match = rows.validation.label.numpy()[:, None] == rows.train.label.numpy()[None]

    def utility(subset: tuple[int, ...]) -> float:
        chosen = np.array(sorted(subset), dtype=int)
        nearest = distance[:, chosen].argsort(axis=1, kind="stable")[:, :k]
        return float(np.take_along_axis(match[:, chosen], nearest, 1).sum(1).mean() / k)

    return shapley(len(x), utility)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (1, 3), (4, 1), (7, 3), (8, 8), (6, 10)])
def test_values_equal_shapley_values_over_all_subsets(n: int, k: int) -> None:
    rows = valuation(n, 5, seed=n, ids=n > 4)
    found = KnnShapley(k=k).values(rows).numpy()
    np.testing.assert_allclose(found, wanted(rows, k), rtol=0, atol=1e-12)
    assert k > n or n == 1 or np.ptp(found) > 0


def test_rows_that_are_equally_far_count_in_the_order_of_their_ids() -> None:
    rows = valuation(6, 40, seed=3)
    rows.train.features[1:4] = rows.train.features[0]
    found = KnnShapley(k=2).values(rows).numpy()
    np.testing.assert_allclose(found, wanted(rows, 2), rtol=0, atol=1e-12)


def test_values_of_many_rows_add_up_to_the_utility_of_all() -> None:
    rows = valuation(300, 130, seed=5)
    x, v = rows.design()
    nearest = torch.cdist(v, x).argsort(1)[:, :10]
    match = (rows.train.label[nearest] == rows.validation.label[:, None]).double()
    found = KnnShapley().values(rows)
    assert found.sum().item() == pytest.approx(match.mean().item(), abs=1e-12)
    assert KnnShapley().k == 10


def test_a_wrong_label_among_right_ones_is_worth_least() -> None:
    rows = valuation(60, 40, seed=9)
    for batch in (rows.train, rows.validation):
        batch.label[:] = (torch.arange(len(batch)) % 2).float()
        batch.features[:] = batch.features * 0.3 + 4 * batch.label[:, None]
    rows.train.label[17] = 1 - rows.train.label[17]
    assert KnnShapley(k=5).values(rows).argmin().item() == 17
