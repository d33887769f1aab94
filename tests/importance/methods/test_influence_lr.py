"""Influence: coefficients of scikit-learn, and the change that leaving a row out really makes."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.methods.influence_lr import InfluenceLr, InfluenceLrModel
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory
from reweight.training.models import fitted as look_again

CARDINALITIES = (4, 3)


def rows_of(rows: int, scale: float = 1.0, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn((rows, 3), generator=draw)
    noise = torch.randn(rows, generator=draw)
    ids = [torch.randint(0, n, (rows,), generator=draw) for n in CARDINALITIES]
    return Batch(
        sample_id=torch.arange(rows),
        features=features * torch.tensor([scale, 1.0, 1.0]),
        ids=torch.stack(ids, 1),
        label=(features[:, 0] + 0.5 * (ids[0] == 1) + noise > 0.3).float(),
        extra={"target": (torch.rand(rows, generator=draw) < 0.3).float()},
    )


def matrix(batch: Batch) -> NDArray[np.float64]:
    hot = [np.eye(n)[batch.ids[:, f].numpy()] for f, n in enumerate(CARDINALITIES)]
    return np.concatenate([batch.features.double().numpy(), *hot], axis=1)


def fitted(batch: Batch, method: InfluenceLr, batch_size: int = 64) -> InfluenceLrModel:
    facts = TrainFacts(
        dim=3, cardinalities=CARDINALITIES, rows=len(batch), positives=int(batch.label.sum())
    )
    stored, _ = fit_in_memory([method], facts, batch, batch, batch_size=batch_size)
    model = stored[method.name].model()
    assert isinstance(model, InfluenceLrModel)
    return model


@torch.inference_mode()
def scores(model: InfluenceLrModel, batch: Batch) -> Tensor:
    return model(batch)


def sklearn_fit(x: NDArray[np.float64], y: NDArray[np.float64], c: float) -> LogisticRegression:
    return LogisticRegression(C=c, solver="newton-cholesky", tol=1e-12).fit(x, y)


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_coefficients_are_scikit_learns(c: float, scale: float) -> None:
    batch = rows_of(300, scale)
    model = fitted(batch, InfluenceLr(C=c))
    wanted = sklearn_fit(matrix(batch), batch.label.numpy(), c)
    np.testing.assert_allclose(model.coefficients[:-1], wanted.coef_[0], rtol=1e-5, atol=1e-6)
    assert model.coefficients[-1].item() == pytest.approx(wanted.intercept_[0], abs=1e-5)


def test_influence_is_what_leaving_a_row_out_changes() -> None:
    rows, left_out = 300, 100
    batch = rows_of(rows)
    x, y = matrix(batch), batch.label.double().numpy()
    target = batch.extra["target"].numpy() == 1

    def target_loss(kept: NDArray[np.bool_]) -> float:
        model = sklearn_fit(x[kept], y[kept], 1.0)
        return float(log_loss(y[target], model.predict_proba(x[target])[:, 1]))

    whole = target_loss(np.full(rows, True))
    rise = np.array([target_loss(np.arange(rows) != i) - whole for i in range(left_out)])
    found = scores(fitted(batch, InfluenceLr()), batch).numpy()[:left_out] / rows
    assert np.corrcoef(found, rise)[0, 1] > 0.99
    assert np.polyfit(rise, found, 1)[0] == pytest.approx(1, abs=0.1)
    assert (rise < 0).sum() > 10
    assert (rise > 0).sum() > 10


def test_influence_equals_the_formula_with_the_whole_hessian() -> None:
    batch, new, c = rows_of(200), rows_of(20, seed=9), 0.5
    model = fitted(batch, InfluenceLr(C=c), batch_size=37)

    def gradients(rows: Batch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x = np.concatenate([matrix(rows), np.ones((len(rows), 1))], axis=1)
        p = 1 / (1 + np.exp(-x @ model.coefficients.numpy()))
        penalty = np.append(np.full(x.shape[1] - 1, 1 / (c * 200)), 0)
        hessian = (x.T * (p * (1 - p))) @ x / 200 + np.diag(penalty)
        return (p - rows.label.double().numpy())[:, None] * x, hessian

    own, hessian = gradients(batch)
    direction = np.linalg.solve(hessian, own[batch.extra["target"].numpy() == 1].mean(0))
    for rows in (batch, new):
        wanted = gradients(rows)[0] @ direction
        np.testing.assert_allclose(scores(model, rows), wanted, rtol=1e-4, atol=1e-6)


def test_rows_with_wrong_labels_are_harmful() -> None:
    batch = rows_of(1000)
    flipped = torch.arange(1000) % 10 == 0
    label = torch.where(flipped, 1 - batch.label, batch.label)
    target = batch.extra["target"] * ~flipped
    noisy = replace(batch, label=label, extra={"target": target})
    found = scores(fitted(noisy, InfluenceLr()), noisy)
    assert found[flipped].mean() < 0 < found[~flipped].mean()
    assert roc_auc_score(~flipped, found) > 0.7


def test_features_that_are_all_zero_or_all_alike_do_no_harm() -> None:
    batch = rows_of(200)
    batch.features[:, 1] = 0
    batch.features[:, 2] = 1
    model = fitted(batch, InfluenceLr())
    assert model.coefficients[1].item() == pytest.approx(0, abs=1e-9)
    assert scores(model, batch).isfinite().all()


def test_passes_end_when_all_is_solved_and_all_are_of_the_same_rows() -> None:
    batch, passes = rows_of(200), []

    def feed(epoch: int) -> Iterator[Batch]:
        passes.append(epoch)
        return iter([batch])

    facts = TrainFacts(dim=3, cardinalities=CARDINALITIES, rows=200, positives=90)
    method = InfluenceLr()
    look_again([method], [], facts, feed, lambda epoch: iter(()), {}, torch.device("cpu"))
    assert set(passes) == {0}
    assert len(passes) < 100 < method.passes


def test_too_few_passes_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InfluenceLr, "passes", 10)
    with pytest.raises(TrainingError, match="has not converged"):
        fitted(rows_of(200), InfluenceLr())


def test_ids_may_be_so_many_that_no_hessian_could_be_held() -> None:
    draw, many = torch.Generator().manual_seed(0), 200_000
    batch = rows_of(400)
    batch.ids[:, 0] = torch.randint(0, many, (400,), generator=draw)
    facts = TrainFacts(dim=3, cardinalities=(many, 3), rows=400, positives=150)
    stored, _ = fit_in_memory([InfluenceLr()], facts, batch, batch, batch_size=400)
    model = stored["influence_lr"].model()
    assert isinstance(model, InfluenceLrModel)
    untouched = torch.ones(many, dtype=torch.bool)
    untouched[batch.ids[:, 0]] = False
    assert not model.coefficients[3 : 3 + many][untouched].any()
    assert scores(model, batch).std() > 0


def test_no_target_rows_is_an_error() -> None:
    batch = rows_of(50)
    batch.extra["target"].zero_()
    with pytest.raises(TrainingError, match="0 target rows of 50"):
        fitted(batch, InfluenceLr())
