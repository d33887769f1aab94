"""Value-weighted importance: odds become the expected value."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from reweight.importance.batch import Batch
from reweight.importance.methods.value_weighted import ValueWeighted
from reweight.importance.training import TrainFacts


def scores(method: ValueWeighted, label: list[float], value: list[float]) -> torch.Tensor:
    n = len(label)
    batch = Batch(
        torch.arange(n),
        torch.zeros(n, 1),
        torch.zeros(n, 0).long(),
        torch.tensor(label),
        {"value": torch.tensor(value)},
    )
    facts = TrainFacts(dim=1, rows=n, positives=1)
    found: torch.Tensor = method.build(facts)(batch)
    return found


def test_the_odds_of_a_weighted_regression_are_the_value_per_negative() -> None:
    draw = np.random.default_rng(0)
    x = np.repeat([0, 1], 5000)
    label = (draw.random(10_000) < np.where(x == 1, 0.05, 0.1)).astype(float)
    value = draw.lognormal(np.where(x == 1, 3.0, 1.0), 1.0)
    weight = scores(ValueWeighted(), label.tolist(), value.tolist()).numpy()
    # The scale of weights leaves the odds as they are.
    for scale in (1.0, 1 / weight.mean()):
        ranker = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000)
        ranker.fit(x[:, None], label, sample_weight=scale * weight)
        odds = np.exp(ranker.decision_function([[0], [1]]))
        for group, found in enumerate(odds):
            own = x == group
            brought = (label * value)[own]
            assert found == pytest.approx(brought.sum() / (label[own] == 0).sum(), rel=1e-3)
            # By showing a row, up to 1 / (1 - p).
            p = label[own].mean()
            assert found * (1 - p) == pytest.approx(brought.mean(), rel=1e-3)
    assert odds[1] > odds[0]


def test_a_positive_weighs_its_value_and_a_negative_1_whatever_its_value() -> None:
    found = scores(ValueWeighted(), [1, 1, 1, 0, 0, 0], [2.5, 0.0, 300.0, 7.0, math.nan, -1.0])
    assert found.tolist() == [2.5, 0.0, 300.0, 1.0, 1.0, 1.0]


def test_a_cap_and_a_logarithm_are_of_positives_alone_and_in_this_order() -> None:
    label, value = [1.0, 1.0, 1.0, 0.0], [3.0, 40.0, 900.0, 900.0]
    capped = scores(ValueWeighted(cap=40.0), label, value)
    assert capped.tolist() == [3.0, 40.0, 40.0, 1.0]
    logs = scores(ValueWeighted(log=True), label, value)
    torch.testing.assert_close(logs, torch.tensor([4.0, 41.0, 901.0, math.e]).log())
    both = scores(ValueWeighted(cap=40.0, log=True), label, value)
    torch.testing.assert_close(both, torch.tensor([4.0, 41.0, 41.0, math.e]).log())


@pytest.mark.parametrize("options", [{}, {"cap": 5.0}, {"log": True}, {"cap": 0.5, "log": True}])
def test_a_positive_of_no_known_or_a_negative_value_weighs_0(options: dict[str, float]) -> None:
    unknown = [math.nan, -3.0, math.inf, -math.inf]
    found = scores(ValueWeighted.model_validate(options), [1.0] * 4, unknown)
    assert found.tolist() == [0.0] * 4


def test_nothing_is_trained_and_the_value_is_what_is_asked_for() -> None:
    assert not ValueWeighted().trained
    assert ValueWeighted().columns() == ("value",)
    with pytest.raises(ValueError, match="greater than 0"):
        ValueWeighted(cap=0.0)
