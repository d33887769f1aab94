"""Position bias from planted ratios: which kind of item decides, and how sure the exponent is."""

import math

import numpy as np
import pandas as pd
import pytest

from reweight.diagnose import position
from reweight.diagnose.findings import Finding
from reweight.diagnose.rates import Estimate, two_rates


def found(monkeypatch: pytest.MonkeyPatch, **kinds: tuple[float, float]) -> Finding:
    """The finding if the log ratio of position 3 to 1 within each kind has these (value, error)."""
    bands = pd.DataFrame(
        {"n": [2e4, 2e4, 2e4], "y": [2000.0, 1000.0, 500.0], "x": [0.0] * 3}, index=[1, 2, 3]
    )
    strata = {name: {3: Estimate(*ratio)} for name, ratio in kinds.items()}
    monkeypatch.setattr(position, "_bands", lambda *_: bands)
    monkeypatch.setattr(position, "_strata", lambda *_: strata)
    return position.position_bias(None, list(kinds))  # type: ignore[arg-type]


def test_a_kind_with_few_rows_in_common_does_not_hide_the_bias(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = found(monkeypatch, item=(math.log(0.25), 0.05), referrer=(-0.1, 0.9))
    assert seen.p is not None
    assert seen.p < 1e-6
    assert "Too few rows share a referrer to tell, so that this may be" in seen.text
    # Alone, it is all there is.
    alone = found(monkeypatch, referrer=(-0.1, 0.9))
    assert alone.p is not None
    assert alone.p > 0.5


@pytest.mark.parametrize("error", [0.05, 0.15, 0.3])
def test_a_kind_that_explains_the_effect_decides_though_it_is_less_sure(
    monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    seen = found(monkeypatch, category=(-0.8, 0.05), item=(-0.05, error))
    assert seen.p is not None
    assert seen.p > 0.5
    assert "Within the same item" in seen.text
    assert "to tell" not in seen.text


@pytest.mark.parametrize("bands", [5, 30])
def test_the_interval_of_the_exponent_holds_the_truth_as_often_as_it_says(bands: int) -> None:
    generator = np.random.default_rng(0)
    n, held = 4000.0, 0
    for _ in range(400):
        hits = generator.binomial(int(n), 0.1 / np.arange(1, bands + 1) ** 0.5).astype(float)
        ratios = {k: two_rates(hits[k - 1], n, hits[0], n) for k in range(2, bands + 1)}
        known = {k: ratio for k, ratio in ratios.items() if ratio}
        exponent = position._exponent(known, 1, (n, hits[0]))
        held += abs(exponent.value - 0.5) <= 1.96 * exponent.error
    assert 0.92 <= held / 400 <= 0.98
