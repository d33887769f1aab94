"""Intervals and tests of rates: against scipy, textbooks and the planted truth."""

import math

import numpy as np
import pytest
from scipy import stats

from reweight.diagnose.rates import log_ratio, p_above, p_rates_vary, pooled, share, two_rates


def test_the_ratio_of_two_rates_has_katz_variance() -> None:
    found = two_rates(30, 200, 45, 150)
    assert found is not None
    assert found.value == pytest.approx(math.log((30 / 200) / (45 / 150)))
    assert found.error**2 == pytest.approx(1 / 30 - 1 / 200 + 1 / 45 - 1 / 150)
    measure = found.measure_ratio("ratio")
    assert measure.value == pytest.approx(0.5)
    assert measure.low == pytest.approx(0.5 * math.exp(-1.96 * found.error), rel=1e-4)


def test_the_interval_of_a_stratified_ratio_holds_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    strata, held = 40, 0
    base = generator.uniform(0.02, 0.3, strata)
    n1, n0 = generator.integers(5, 60, (2, strata)).astype(float)
    for _ in range(400):
        a, c = (
            generator.binomial(n1.astype(int), 0.6 * base),
            generator.binomial(n0.astype(int), base),
        )
        n = n1 + n0
        r, s = (a * n0 / n).sum(), (c * n1 / n).sum()
        found = log_ratio(r, s, (n1 * n0 * (a + c) / n**2 - a * c / n).sum())
        assert found is not None
        held += abs(found.value - math.log(0.6)) <= 1.96 * found.error
    assert 0.92 <= held / 400 <= 0.98


def test_a_side_without_a_case_has_no_ratio() -> None:
    assert two_rates(0, 10, 3, 10) is None
    assert two_rates(3, 10, 0, 10) is None
    assert two_rates(3, 10, 0, 0) is None


def test_a_share_has_wilsons_interval() -> None:
    measure = share("share", 10, 100)
    # As in Newcombe 1998 and every calculator.
    assert (measure.low, measure.high) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_without_a_material_spread_it_is_the_chi_square_test_of_a_table() -> None:
    generator = np.random.default_rng(1)
    rows = generator.integers(100, 400, 12).astype(float)
    hits = generator.binomial(rows.astype(int), 0.2).astype(float)
    wanted = stats.chi2_contingency([hits, rows - hits], correction=False).pvalue
    assert p_rates_vary(hits, rows, 0.0) == pytest.approx(wanted)
    # Against a spread that matters the same table says less.
    assert p_rates_vary(hits, rows, 0.1) > wanted


def test_rates_that_differ_by_less_than_matters_are_no_finding_however_many_rows() -> None:
    rows = np.full(20, 1e6)
    rates = 0.1 * (1 + 0.05 * np.tile([-1, 1], 10))
    assert p_rates_vary(rows * rates, rows, 0.0) < 1e-6
    assert p_rates_vary(rows * rates, rows, 0.1) > 0.99
    assert p_rates_vary(rows * 0.1 * (1 + 0.2 * np.tile([-1, 1], 10)), rows, 0.1) < 1e-6


def test_parts_with_few_rows_are_pooled_with_their_neighbours() -> None:
    rows = np.array([1.0, 60, 60, 500, 40, 100, 30, 20])
    assert pooled(0.1 * rows, rows).tolist() == [0, 3, 4]
    # The rarer class decides, and what expects too little of it is one part.
    assert pooled(0.9 * rows, rows).tolist() == [0, 3, 4]
    for hits in (0.02 * rows, 0 * rows, rows):
        begins = pooled(hits, rows)
        assert begins.tolist() == [0]
        sums = [np.add.reduceat(column, begins) for column in (hits, rows)]
        assert p_rates_vary(*sums, 0.1) == 1.0


def test_a_log_that_grows_shows_no_drift_of_its_one_rate() -> None:
    generator = np.random.default_rng(2)
    rows = np.maximum(1, np.round(50_000 * 1.8 ** np.arange(-20.0, 0.0)))
    alone, visible = 0, 0
    for _ in range(500):
        hits = generator.binomial(rows.astype(int), 0.01).astype(float)
        alone += p_rates_vary(hits, rows, 0.1) < 0.05 / 7
        begins = pooled(hits, rows)
        sums = [np.add.reduceat(column, begins) for column in (hits, rows)]
        visible += p_rates_vary(*sums, 0.1) < 0.05 / 7
    assert alone > 25
    assert visible <= 5


def test_a_share_above_its_limit_is_the_binomial_tail_also_between_whole_counts() -> None:
    for hits, rows in ((0, 40), (1, 40), (9, 40), (40, 40)):
        assert p_above(hits, rows, 0.1) == pytest.approx(stats.binom.sf(hits - 1, rows, 0.1))
    assert p_above(9, 40, 0.1) < p_above(8.5, 40, 0.1) < p_above(8, 40, 0.1)
