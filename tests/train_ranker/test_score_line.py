"""The line that makes log odds of scores."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reweight.train_ranker.score_line import fitted_line

Array = NDArray[np.float64]
SCORE = np.linspace(-2.0, 2.0, 81)
MASS = 50 * np.exp(-(SCORE**2))
# Exactly on the line 1.5 s - 1.
RATE = 1 / (1 + np.exp(1 - 1.5 * SCORE))


def line(score: Array, rate: Array = RATE, mass: Array = MASS) -> tuple[float, float]:
    positive = mass * rate
    total = positive.sum()
    return fitted_line(
        score, positive, mass - positive, float(np.log(total / (mass.sum() - total)))
    )


@pytest.mark.parametrize("unit", [1e-4, 0.01, 1.0, 300.0])
@pytest.mark.parametrize("zero", [0.0, -3.0])
def test_the_line_is_found_in_any_unit_of_the_score(unit: float, zero: float) -> None:
    intercept, slope = line(unit * (SCORE + zero))
    assert slope * unit == pytest.approx(1.5, rel=1e-3)
    assert intercept + slope * unit * zero == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_score_that_says_nothing_gives_the_rate(value: float) -> None:
    for bins in (1, 3):
        score, rate = np.full(bins, value), np.full(bins, 0.2)
        intercept, slope = line(score, rate, np.full(bins, 7.0))
        assert slope == pytest.approx(0, abs=1e-9)
        assert intercept == pytest.approx(np.log(0.25), abs=1e-6)


def test_a_score_that_separates_the_labels_gives_finite_numbers() -> None:
    intercept, slope = line(SCORE, (SCORE > 0).astype(float))
    assert 0 < slope < 1e3
    assert abs(intercept) < 1e3
