"""Data Shapley: the exact value by enumeration lies within the standard errors that it states."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.batched_logistic_regression import BatchedLogisticRegression
from reweight.importance.methods.data_shapley import DataShapley, Estimate
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import Valuation


def valuation(n: int, others: int = 60, seed: int = 0) -> Valuation:
    draw = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Batch:
        features = torch.randn((count, 2), generator=draw)
        noise = torch.randn(count, generator=draw)
        ids = torch.zeros((count, 0), dtype=torch.int64)
        return Batch(torch.arange(count), features, ids, (features[:, 0] + noise > 0).float())

    return Valuation(rows(n), rows(others), TrainFacts(dim=2, rows=n, positives=1, seed=seed))


def loss_of(rows: Valuation, subset: tuple[int, ...]) -> float:
    """By scikit-learn where it can fit, that is with both classes."""
    x, v = (np.c_[b.features.numpy(), np.ones(len(b))] for b in (rows.train, rows.validation))
    y, chosen = rows.train.label.numpy(), list(subset)
    if len(set(y[chosen])) == 2:
        model = LogisticRegression(fit_intercept=False, solver="newton-cholesky", tol=1e-12)
        p = model.fit(x[chosen], y[chosen]).predict_proba(v)[:, 1]
        return float(log_loss(rows.validation.label.numpy(), p))
    refits = BatchedLogisticRegression.of(rows, ridge=1.0)
    member = torch.zeros((1, len(x))).double()
    member[0, chosen] = 1
    return refits.log_loss(refits.fit(member, torch.zeros((1, 3)).double())).item()


def exact(rows: Valuation) -> NDArray[np.float64]:
    n = len(rows.train)
    subsets = [s for size in range(n + 1) for s in combinations(range(n), size)]
    loss = {subset: loss_of(rows, subset) for subset in subsets}
    found = np.zeros(n)
    for subset in subsets:
        for i in set(range(n)) - set(subset):
            weight = 1 / (n * math.comb(n - 1, len(subset)))
            found[i] += weight * (loss[subset] - loss[tuple(sorted((*subset, i)))])
    return found


def estimate(rows: Valuation, **settings: float) -> Estimate:
    return DataShapley.model_validate(settings).estimate(rows)


@pytest.fixture(scope="module")
def six() -> tuple[Valuation, NDArray[np.float64]]:
    rows = valuation(6, seed=4)
    return rows, exact(rows)


def test_exact_values_lie_within_the_standard_errors(
    six: tuple[Valuation, NDArray[np.float64]],
) -> None:
    rows, wanted = six
    found = estimate(rows, tolerance=0, relative_error=0.001, budget=6000)
    # As many t values as rows; those of an order add up to a constant, so they are not independent.
    t = (found.value.numpy() - wanted) / found.error.numpy()
    assert abs(t).max() < 4
    assert found.error.mean() < 0.1 * wanted.std()
    assert abs(t).mean() > 0.05


def test_the_standard_error_falls_with_the_square_root_of_the_fits(
    six: tuple[Valuation, NDArray[np.float64]],
) -> None:
    few, many = (
        estimate(six[0], tolerance=0, relative_error=1e-9, budget=budget) for budget in (601, 9601)
    )
    assert (few.orders, many.orders) == (100, 1600)
    assert (few.error / many.error).mean().item() == pytest.approx(4, rel=0.2)


def test_without_truncation_values_add_up_to_what_all_rows_take_off_the_loss(
    six: tuple[Valuation, NDArray[np.float64]],
) -> None:
    rows, _ = six
    found = estimate(rows, tolerance=0, budget=30)
    saved = loss_of(rows, ()) - loss_of(rows, tuple(range(6)))
    assert found.value.sum().item() == pytest.approx(saved, abs=1e-9)


def test_it_stops_when_the_standard_error_is_small_beside_the_spread() -> None:
    rows = valuation(12)
    found = estimate(rows, relative_error=0.1, budget=50_000)
    assert 0 < found.relative_error < 0.1
    assert found.fits < 25_000
    assert found.relative_error == pytest.approx(
        (found.error.mean() / found.value.std()).item(), rel=1e-9
    )
    finer = estimate(rows, relative_error=0.05, budget=50_000)
    assert finer.orders > 2 * found.orders


@pytest.mark.parametrize("budget", [25, 100, 1000])
def test_the_budget_of_fits_is_used_and_never_passed(budget: int) -> None:
    found = estimate(valuation(12), tolerance=0, relative_error=1e-9, budget=budget)
    assert budget - 12 < found.fits <= budget
    assert found.fits == 1 + 12 * found.orders


def test_truncation_saves_fits_and_moves_values_little() -> None:
    rows = valuation(60, others=100)
    settings = {"relative_error": 1e-9, "budget": 6001}
    whole, cut = (estimate(rows, tolerance=t, **settings) for t in (0.0, 0.2))
    assert whole.orders == 100
    assert cut.orders > 1.3 * whole.orders
    assert cut.fits <= 6001
    agree = np.corrcoef(whole.value.numpy(), cut.value.numpy())[0, 1]
    assert agree > 0.8


def test_the_seed_decides_and_no_other_random_number() -> None:
    rows = valuation(10)
    torch.manual_seed(0)
    one = estimate(rows, budget=200)
    torch.manual_seed(1)
    assert torch.equal(estimate(rows, budget=200).value, one.value)
    other = Valuation(rows.train, rows.validation, rows.facts.model_copy(update={"seed": 9}))
    assert not torch.equal(estimate(other, budget=200).value, one.value)


def test_budget_and_standard_error_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="reweight")
    found = estimate(valuation(10), relative_error=1e-9, budget=501)
    lines = [record.getMessage() for record in caplog.records]
    assert all(line.startswith("data_shapley: ") for line in lines)
    assert "a budget of 501 fits" in lines[0]
    assert f"{found.fits} of 501 fits, {found.orders} orders" in lines[-1]
    assert f"standard error {found.relative_error:.1%} of the spread" in lines[-1]


def test_a_budget_without_a_standard_error_is_refused_before_the_work() -> None:
    facts = TrainFacts(dim=2, rows=100, positives=1)
    DataShapley(budget=201).model(facts)
    with pytest.raises(TrainingError, match=r"two orders of 100 rows, 201 fits[\s\S]*budget 200"):
        DataShapley(budget=200).model(facts)
