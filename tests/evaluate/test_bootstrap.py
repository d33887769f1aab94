"""Bootstrap over buckets of groups: coverage, pairing, and what cannot be told."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from reweight.evaluate.bootstrap import TOO_FEW, draws, effective, interval, standard_error, tail

Array = NDArray[np.float64]

# So many that no correction is left.
MANY = 10**9


def test_draws_resample_as_many_buckets_as_there_are() -> None:
    drawn = draws(30, 500, seed=1)
    assert drawn.shape == (500, 30)
    assert drawn.dtype == np.float64
    np.testing.assert_array_equal(drawn.sum(1), 30)
    assert (drawn >= 0).all()
    np.testing.assert_array_equal(drawn, np.round(drawn))


def test_draws_are_those_of_sampling_with_replacement() -> None:
    drawn = draws(50, 4000, seed=2)
    # Multinomial counts: mean 1, variance 1 - 1/n; a bucket is left out with (1 - 1/n)^n.
    np.testing.assert_allclose(drawn.mean(0), 1, atol=0.08)
    assert drawn.var() == pytest.approx(1 - 1 / 50, rel=0.03)
    assert (drawn == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, rel=0.03)


def test_the_seed_decides_the_draws() -> None:
    np.testing.assert_array_equal(draws(20, 10, seed=3), draws(20, 10, seed=3))
    assert not np.array_equal(draws(20, 10, seed=3), draws(20, 10, seed=4))


def test_an_interval_is_the_percentiles_of_the_resamples() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    point = float(values.mean())
    low, high = interval(values, point=point, confidence=0.9, buckets=MANY)
    assert (low, high) == pytest.approx((np.quantile(values, 0.05), np.quantile(values, 0.95)))
    wide = interval(values, point=point, confidence=0.99, buckets=MANY)
    assert wide[0] < low < high < wide[1]


def test_an_interval_is_moved_by_what_coarser_bins_lose_and_noise_adds() -> None:
    values = np.linspace(0.4, 0.6, 201)
    low, high = interval(values, point=0.52, confidence=0.95, buckets=MANY)
    assert (low, high) == pytest.approx((0.405 + 0.02, 0.595 + 0.02))
    # Resamples of an error are larger than the error, which may be below all of them.
    low, high = interval(values, point=0.05, confidence=0.95, buckets=MANY, floor=0.0)
    assert (low, high) == pytest.approx((0.0, 0.05 + 0.095))


def test_resamples_without_a_value_are_left_out() -> None:
    values = np.array([np.nan, 1.0, 2.0, 3.0, np.nan])
    known = interval(values[1:4], 2.0, 0.95, 9)
    assert interval(values, 2.0, 0.95, 9) == known
    assert standard_error(values, 9) == standard_error(values[1:4], 9)


@pytest.mark.parametrize(
    ("values", "point"),
    [([np.nan, np.nan, np.nan], 0.5), ([np.nan, 0.5], 0.5), ([], 0.5), ([0.4, 0.5, 0.6], np.nan)],
)
def test_what_cannot_be_told_has_no_interval(values: list[float], point: float) -> None:
    assert np.isnan(interval(np.array(values), point, 0.95, 9)).all()


def test_a_single_bucket_has_neither_an_interval_nor_an_error() -> None:
    values = np.array([0.4, 0.5, 0.6])
    assert np.isnan(interval(values, 0.5, 0.95, 1)).all()
    assert math.isnan(standard_error(values, 1))


def test_intervals_of_few_buckets_are_as_much_wider_as_students_t_asks() -> None:
    values = np.linspace(0.4, 0.6, 201)
    low, high = interval(values, 0.5, 0.95, 5)
    wider = stats.t.ppf(0.975, 4) / stats.norm.ppf(0.975) * math.sqrt(5 / 4)
    assert (low, high) == pytest.approx((0.5 - 0.095 * wider, 0.5 + 0.095 * wider))
    assert standard_error(values, 5) == pytest.approx(values.std(ddof=1) * math.sqrt(5 / 4))


@pytest.mark.parametrize("buckets", [2, 3, 5, 10])
def test_of_few_buckets_what_is_equal_is_called_different_as_rarely_as_of_many(
    buckets: int,
) -> None:
    generator, drawn = np.random.default_rng(buckets), draws(buckets, 300, seed=buckets)
    called = 0
    for _ in range(2000):
        differences = generator.normal(size=buckets)
        error = standard_error(drawn @ differences / buckets, buckets)
        called += 2 * tail(abs(differences.mean()), error, buckets) < 0.05
    assert 0.035 <= called / 2000 <= 0.065


def test_the_effective_number_is_that_of_buckets_of_equal_size_that_show_as_much() -> None:
    assert effective(np.full(7, 3.0)) == pytest.approx(7)
    assert effective(np.array([9.0, 0.0, 0.0])) == 1
    assert effective(np.array([80.0, *[1.0] * 20])) == pytest.approx(100**2 / (80**2 + 20))
    assert effective(np.zeros(3)) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_where_one_group_has_most_rows_what_is_equal_is_not_called_different_more_often(
    share: float,
) -> None:
    generator, buckets, called = np.random.default_rng(9), 100, 0
    rows = np.full(buckets, 10.0)
    if share:
        rows[0] = share / (1 - share) * rows[1:].sum()
    drawn, known = draws(buckets, 300, seed=1), effective(rows)
    for _ in range(600):
        # Rows of a group are alike.
        sums = rows * generator.normal(size=buckets)
        error = standard_error((drawn @ sums) / (drawn @ rows), known)
        point = abs(sums.sum() / rows.sum())
        called += known > TOO_FEW and 2 * tail(point, error, known) < 0.05
    assert called / 600 <= 0.09


def clustered(generator: np.random.Generator) -> tuple[Array, Array, Array]:
    """Per bucket: rows, and sums of two outcomes whose rows share an effect of their group."""
    groups, buckets = 300, 60
    sizes = generator.integers(1, 15, groups)
    of_row = np.repeat(np.arange(groups), sizes)
    shared = generator.normal(0, 1, groups)[of_row]
    one = 5 + shared + generator.normal(0, 1, len(of_row))
    two = one - 0.1 + generator.normal(0, 0.2, len(of_row))
    bucket = generator.integers(0, buckets, groups)[of_row]
    rows, first, second = (
        np.bincount(bucket, weights=w, minlength=buckets) for w in (np.ones(len(of_row)), one, two)
    )
    return rows, first, second


def test_intervals_cover_the_mean_of_clustered_rows_as_often_as_they_say() -> None:
    generator, covered = np.random.default_rng(7), 0
    for repetition in range(300):
        rows, first, _ = clustered(generator)
        drawn = draws(len(rows), 300, seed=repetition)
        point = first.sum() / rows.sum()
        low, high = interval((drawn @ first) / (drawn @ rows), point, 0.95, len(rows))
        covered += low <= 5 <= high
    assert 0.90 <= covered / 300 <= 0.99


def test_the_same_draws_make_a_difference_a_paired_one() -> None:
    generator = np.random.default_rng(8)
    rows, first, second = clustered(generator)
    drawn = draws(len(rows), 2000, seed=0)
    one, two = (drawn @ first) / (drawn @ rows), (drawn @ second) / (drawn @ rows)
    point = (first.sum() - second.sum()) / rows.sum()
    paired = interval(one - two, point, 0.95, len(rows))
    other = draws(len(rows), 2000, seed=1)
    unpaired = interval(one - (other @ second) / (other @ rows), point, 0.95, len(rows))
    assert paired[0] < 0.1 < paired[1]
    assert paired[1] - paired[0] < 0.25 * (unpaired[1] - unpaired[0])
    assert paired[0] > 0 > unpaired[0]
