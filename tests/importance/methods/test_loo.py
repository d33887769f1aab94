"""Leave-one-out: what scikit-learn finds when it is fitted again without each row."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from reweight.core.heartbeat import Heartbeat, signs
from reweight.importance.batch import Batch
from reweight.importance.batched_logistic_regression import BatchedLogisticRegression
from reweight.importance.methods.loo import Loo
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import Valuation


def valuation(n: int = 30, others: int = 25, seed: int = 0) -> Valuation:
    draw = torch.Generator().manual_seed(seed)

    def rows(count: int) -> Batch:
        features = torch.randn((count, 3), generator=draw)
        noise = torch.randn(count, generator=draw)
        ids = torch.randint(0, 4, (count, 1), generator=draw)
        label = (2 * features[:, 0] + (ids[:, 0] == 1) + noise > 0).float()
        return Batch(torch.arange(count), features, ids, label)

    return Valuation(rows(n), rows(others), TrainFacts(dim=3, rows=n, positives=1))


def matrix(rows: Valuation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features, one-hot ids and a 1."""
    train, validation = (
        np.hstack([b.features.numpy(), np.eye(4)[b.ids[:, 0].numpy()], np.ones((len(b), 1))])
        for b in (rows.train, rows.validation)
    )
    return train.astype(float), validation.astype(float)


def sklearn_losses(rows: Valuation, c: float, without: list[int | None]) -> NDArray[np.float64]:
    x, v = matrix(rows)
    y, found = rows.train.label.numpy(), []
    for row in without:
        kept = np.arange(len(x)) != (-1 if row is None else row)
        model = LogisticRegression(C=c, fit_intercept=False, solver="newton-cholesky", tol=1e-13)
        model.fit(x[kept], y[kept])
        found.append(log_loss(rows.validation.label.numpy(), model.predict_proba(v)[:, 1]))
    return np.array(found)


def test_a_rank_that_fits_for_hours_does_not_look_as_if_it_hung(tmp_path: Path) -> None:
    rows = valuation()
    with Heartbeat(tmp_path, 0).beating():
        Loo().values(rows)
        time.sleep(1.5)
        (sign,) = signs(tmp_path)
    assert sign.doing == "fitting logistic regressions"
    assert sign.turn > 1


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
def test_values_equal_a_loop_of_scikit_learn(c: float) -> None:
    rows = valuation()
    everything, *without = sklearn_losses(rows, c, [None, *range(30)])
    found = Loo(C=c).values(rows).numpy()
    np.testing.assert_allclose(found, np.array(without) - everything, rtol=1e-6, atol=1e-10)
    assert np.ptp(found) > 1e-5


def test_refits_that_do_not_fit_into_memory_together_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = valuation()
    together = Loo().values(rows)
    monkeypatch.setattr(
        "reweight.importance.batched_logistic_regression._NUMBERS_AT_ONCE", 7 * 8 * 30
    )
    assert BatchedLogisticRegression.of(rows, ridge=1.0).at_once == 7
    torch.testing.assert_close(Loo().values(rows), together, rtol=0, atol=1e-12)


def test_a_row_that_contradicts_its_kind_is_worth_less_than_nothing() -> None:
    rows = valuation(n=60, others=200)
    rows.train.features[7] = torch.tensor([4.0, 0, 0])
    rows.train.label[7] = 0
    found = Loo().values(rows)
    assert found.argmin().item() == 7
    assert found[7] < 0


def test_subsets_without_rows_or_of_one_class_have_finite_optima() -> None:
    rows = valuation()
    refits = BatchedLogisticRegression.of(rows, ridge=1.0)
    none, positives = torch.zeros(30), rows.train.label
    member = torch.stack([none, positives, 1 - positives]).double()
    found = refits.fit(member, torch.zeros((3, refits.x.shape[1])).double())
    assert not found[0].any()
    assert (refits.x[positives == 1] @ found[1] > 0).all()
    assert (refits.x[positives == 0] @ found[2] < 0).all()
    assert refits.log_loss(found)[0].item() == pytest.approx(np.log(2))


def test_a_fit_that_begins_far_away_ends_at_the_same_optimum() -> None:
    refits = BatchedLogisticRegression.of(valuation(), ridge=0.01)
    member, p = torch.ones((2, 30)).double(), refits.x.shape[1]
    start = torch.stack([torch.zeros(p), 50 * torch.randn(p, generator=torch.Generator())]).double()
    near, far = refits.fit(member, start)
    torch.testing.assert_close(far, near, rtol=0, atol=1e-8)
