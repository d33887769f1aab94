"""Position bias: on clicks made from a known relevance and a known chance of being looked at."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from tests.importance.clicks import PLACES, TRAINING, TRUTH, Array, clicks, fit, simulated
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.ipw_position import IpwPosition
from reweight.importance.position_bias import EstimatedModel, PositionModel, between


def method_of(**options: Any) -> IpwPosition:
    training = TRAINING | options.pop("training", {})
    return IpwPosition.model_validate({"training": training} | options)


@cache
def both() -> list[PositionModel]:
    """By soft labels and by inverse propensities, of one training."""
    return fit(method_of(), method_of(name="ips", estimator="ips", clip=20), batch=clicks()[0])


def estimated() -> EstimatedModel:
    found = both()[0]
    assert isinstance(found, EstimatedModel)
    return found


@torch.inference_mode()
def labels(model: PositionModel, batch: Batch) -> Tensor:
    return model.soft_label(EnsembleOutputs(batch))


@torch.inference_mode()
def importance(model: PositionModel, batch: Batch) -> Tensor:
    return model(batch)


def likeliest(batch: Batch, gamma: Array) -> Array:
    """theta by maximum likelihood for one who knows the relevance of each item."""
    y, k = batch.label.double().numpy(), batch.extra["position"].numpy()

    def loss(theta: float, at: int) -> float:
        p = theta * gamma[k == at]
        return -float(np.where(y[k == at] == 1, np.log(p), np.log1p(-p)).sum())

    found = [
        minimize_scalar(loss, bounds=(1e-3, 1.0), args=(at,), method="bounded").x
        for at in range(1, PLACES + 1)
    ]
    return np.array(found) / found[0]


def test_theta_is_found_as_well_as_by_one_who_knows_the_relevance() -> None:
    batch, gamma = clicks()
    found = estimated().theta[1 : PLACES + 1].numpy()
    np.testing.assert_allclose(found, likeliest(batch, gamma), rtol=0.06)
    # 10,000 lists leave about 500 clicks at the last place: 5 % is one standard error there.
    np.testing.assert_allclose(found, TRUTH, rtol=0.15)


def test_the_soft_label_is_the_posterior_of_relevance() -> None:
    batch, gamma = clicks()
    found, clicked = labels(estimated(), batch).numpy(), batch.label.numpy() == 1
    theta = batch.extra["propensity"].double().numpy()
    wanted = np.where(clicked, 1, (1 - theta) * gamma / (1 - theta * gamma))
    assert np.abs(found - wanted).mean() < 0.04
    assert found.mean() == pytest.approx(gamma.mean(), abs=0.02)
    # Clicks say half as much of it or less.
    assert clicked.mean() < gamma.mean() / 2
    assert (importance(estimated(), batch) == 1).all()


def test_a_row_without_position_or_at_one_without_rows_keeps_its_label() -> None:
    batch, _ = clicks()
    for position in (float("nan"), 15.0):
        elsewhere = replace(batch, extra={"position": torch.full((len(batch),), position)})
        torch.testing.assert_close(labels(estimated(), elsewhere), batch.label)


def test_positions_beyond_the_last_share_its_theta() -> None:
    batch, gamma = simulated(3000)
    (few,) = fit(method_of(training={"max_position": 3, "epochs": 4}), batch=batch)
    assert isinstance(few, EstimatedModel)
    beyond = batch.extra["position"].numpy() >= 3
    wanted = batch.label.numpy()[beyond].sum() / gamma[beyond].sum()
    assert few.theta[3] == pytest.approx(wanted, rel=0.1)
    third, ninth = (
        labels(few, replace(batch, extra={"position": torch.full_like(batch.label, k)}))
        for k in (3, 9)
    )
    assert torch.equal(third, ninth)


def test_known_propensities_give_the_posterior_without_estimating_them() -> None:
    batch, gamma = simulated(5000)
    own = replace(batch, extra={"propensity": batch.extra["propensity"]})
    (model,) = fit(method_of(training={"propensity": "column", "epochs": 6}), batch=own)
    assert not hasattr(model, "theta")
    assert model.smallest == pytest.approx(0.1)
    theta = own.extra["propensity"].double().numpy()
    wanted = np.where(own.label == 1, 1, (1 - theta) * gamma / (1 - theta * gamma))
    assert np.abs(labels(model, own).numpy() - wanted).mean() < 0.05


@pytest.mark.parametrize("snips", [False, True])
def test_inverse_propensities_weigh_clicks_and_are_clipped(snips: bool) -> None:
    batch, _ = clicks()
    own = replace(batch, extra={"propensity": batch.extra["propensity"]})
    method = method_of(estimator="ips", clip=4, snips=snips, training={"propensity": "column"})
    assert method.learns() is None
    assert method.columns() == ("propensity",)
    (model,) = fit(method, batch=own)
    position = batch.extra["position"]
    wanted = torch.where(own.label == 1, position.clamp(max=4), 1.0)
    wanted = wanted / wanted.double().mean().float() if snips else wanted
    torch.testing.assert_close(importance(model, own), wanted)
    assert torch.equal(labels(model, own), own.label)
    assert not method.soft
    assert model.clipped == pytest.approx(0.6)


def test_inverse_propensities_by_estimated_theta_sum_to_the_relevant_rows() -> None:
    (batch, gamma), model = clicks(), both()[1]
    clicked = batch.label == 1
    assert importance(model, batch)[clicked].sum() == pytest.approx(gamma.sum(), rel=0.05)
    assert model.mean == pytest.approx(importance(model, batch).double().mean().item(), rel=1e-4)


def test_what_should_be_known_before_the_weights_are_used_is_printed(
    logged: Callable[[], str],
) -> None:
    batch, _ = simulated(200)
    method = method_of(clip=4, training={"epochs": 1, "propensity": "column"})
    fit(method, batch=replace(batch, extra={"propensity": batch.extra["propensity"]}))
    said = logged()
    assert "ipw_position: smallest propensity 0.1; 60.0% of the training rows are below" in said


NAN = float("nan")


@pytest.mark.parametrize(
    ("position", "came"),
    [
        ([NAN], "0 rows below 1, 0 at 1, 0 above 1"),
        ([1.0], "2000 at 1, 0 above 1"),
        ([2.0, 3.0], "0 at 1, 2000 above 1"),
        ([0.0, 1.0], "1000 rows below 1, 1000 at 1"),
    ],
)
def test_positions_that_say_nothing_are_refused(position: list[float], came: str) -> None:
    batch, _ = simulated(200)
    moved = torch.tensor(position).repeat(len(batch) // len(position))
    with pytest.raises(TrainingError, match="cannot tell positions apart") as caught:
        fit(method_of(training={"epochs": 1}), batch=replace(batch, extra={"position": moved}))
    assert came in str(caught.value)


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.5, NAN])
@pytest.mark.parametrize("estimator", ["em", "ips"])
def test_propensities_that_are_none_are_refused(estimator: str, bad: float) -> None:
    batch, _ = simulated(200)
    given = batch.extra["propensity"].clone()
    given[7] = bad
    method = method_of(estimator=estimator, training={"epochs": 1, "propensity": "column"})
    with pytest.raises(TrainingError, match="cannot use the propensities") as caught:
        fit(method, batch=replace(batch, extra={"propensity": given}))
    assert "1 of 2000 training rows" in str(caught.value)


def test_a_feature_that_tells_the_position_is_refused() -> None:
    batch, _ = simulated(200)
    told = batch.features.clone()
    told[:, 2] = batch.extra["position"].log()
    with pytest.raises(TrainingError, match="cannot tell position bias from relevance") as caught:
        fit(method_of(training={"epochs": 1}), batch=replace(batch, features=told))
    assert "1 feature(s) that follow from it: feature_2" in str(caught.value)


def test_a_feature_set_in_one_row_that_stands_alone_does_not_tell_the_position() -> None:
    position = torch.tensor([1] * 100 + [2] * 100 + [3])
    x = torch.stack([position.double(), (position == 3).double()], 1)
    rows = torch.bincount(position).double()
    moments = torch.zeros(4, 4).double().index_add_(0, position, torch.cat([x, x.square()], 1))
    assert between(rows, moments).tolist() == pytest.approx([1, 0])
    assert between(rows * 0, moments * 0).tolist() == [0, 0]
