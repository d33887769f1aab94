"""Recalibration of binned log odds, against scikit-learn on the rows."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from reweight.evaluate.recalibration import recalibrated

RNG = np.random.default_rng(3)
Z = np.sort(RNG.normal(-1, 1.5, 600))
N = RNG.integers(1, 30, 600).astype(float)
POS = RNG.binomial(N.astype(int), 1 / (1 + np.exp(-(0.4 + 0.6 * Z)))).astype(float)


def test_a_linear_recalibration_is_the_logistic_regression_on_the_log_odds() -> None:
    x = np.concatenate([Z, Z])[:, None]
    y, w = np.repeat([1, 0], len(Z)), np.concatenate([POS, N - POS])
    model = LogisticRegression(C=1e10, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=w)
    expected = model.predict_proba(Z[:, None])[:, 1]
    np.testing.assert_allclose(recalibrated(Z, N, POS, "linear"), expected, atol=1e-6)


def test_an_isotonic_recalibration_is_that_of_scikit_learn() -> None:
    fitted = IsotonicRegression(out_of_bounds="clip").fit(Z, POS / N, N)
    shown = np.linspace(-8, 8, 50)
    expected = np.clip(fitted.predict(shown), 1e-6, 1 - 1e-6)
    found = recalibrated(Z, N, POS, "isotonic", shown)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert (np.diff(found) >= 0).all()


def test_masses_beyond_a_row_are_fitted_like_rows() -> None:
    # Half of the positives are seen, and count 2 and -1.
    seen = RNG.binomial(POS.astype(int), 0.5).astype(float)
    signed = recalibrated(Z, N, 2 * seen, "linear")
    assert float(N @ signed / N.sum()) == pytest.approx(2 * seen.sum() / N.sum(), abs=1e-6)
    np.testing.assert_allclose(signed, recalibrated(Z, N, POS, "linear"), atol=0.03)


def test_masses_that_no_probability_fits_leave_the_rate() -> None:
    # At the top the masses of positives are above those of rows, so any slope can be beaten.
    found = recalibrated(Z, N, 2 * POS, "linear")
    np.testing.assert_allclose(found, 2 * POS.sum() / N.sum(), atol=1e-9)


@pytest.mark.parametrize("kind", ["linear", "isotonic"])
def test_without_both_classes_nothing_is_recalibrated(kind: str) -> None:
    p = 1 / (1 + np.exp(-Z))
    np.testing.assert_allclose(recalibrated(Z, N, 0 * POS, kind), p)
    np.testing.assert_allclose(recalibrated(Z, N, N, kind), p)


def test_predictions_that_rank_the_wrong_way_become_the_rate() -> None:
    found = recalibrated(-Z[::-1], N[::-1], POS[::-1], "linear")
    np.testing.assert_allclose(found, POS.sum() / N.sum(), atol=1e-9)


@pytest.mark.parametrize("apart", [0.02, 0.2, 3.0])
def test_log_odds_that_separate_the_labels_or_hardly_differ_keep_their_order(apart: float) -> None:
    z, n = np.array([-apart, apart]), np.array([100.0, 100.0])
    low, high = recalibrated(z, n, np.array([0.0, 100.0]), "linear")
    assert low == pytest.approx(1 - high, abs=1e-6)
    assert high > 0.73
    # As a ranker whose coefficients are a hundredth of what they should be.
    found = recalibrated(Z / 100, N, POS, "linear")
    rate = POS.sum() / N.sum()
    assert float(N @ found / N.sum()) == pytest.approx(rate, abs=1e-9)
    assert np.corrcoef(found, recalibrated(Z, N, POS, "linear"))[0, 1] > 0.99
