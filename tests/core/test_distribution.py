"""Distributions of columns: exact at the edges of narrow bins, however rows are partitioned."""

import numpy as np
import pytest
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.distribution import distribution, distribution_by, quantile

ROWS = 2000
VALUES = {
    "skewed": np.random.default_rng(0).lognormal(0, 2, ROWS),
    "signed": np.random.default_rng(1).normal(0, 3, ROWS),
    "zeros": np.where(np.arange(ROWS) % 4, 0.0, np.arange(ROWS) / 7.0),
    "tied": np.arange(ROWS) % 5 - 2.0,
}
# Bins are 1/128 of a factor of two wide.
WIDTH = 2 ** (1 / 128)


@pytest.fixture(scope="module")
def rows(spark: SparkSession) -> DataFrame:
    rows = list(zip(*[values.tolist() for values in VALUES.values()], strict=True))
    return spark.createDataFrame(rows, list(VALUES)).repartition(2).cache()


def columns() -> dict[str, Column]:
    return {name: F.col(name) for name in VALUES}


@pytest.fixture(scope="module")
def found(rows: DataFrame) -> dict[str, tuple[tuple[float, float], ...]]:
    return distribution(rows, columns())


Found = dict[str, tuple[tuple[float, float], ...]]


@pytest.mark.parametrize("name", list(VALUES))
def test_every_point_is_on_the_empirical_distribution(found: Found, name: str) -> None:
    values, shares = np.array(found[name]).T
    assert (np.diff(values) > 0).all()
    assert (np.diff(shares) > 0).all()
    assert values[-1] == VALUES[name].max()
    wanted = np.searchsorted(np.sort(VALUES[name]), values, side="right") / ROWS
    np.testing.assert_allclose(shares, wanted, atol=1e-12)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("name", list(VALUES))
def test_quantiles_are_numpys_within_the_width_of_a_bin(
    found: Found, name: str, share: float
) -> None:
    wanted = np.quantile(VALUES[name], share, method="inverted_cdf")
    value = quantile(found[name], share)
    assert wanted <= value
    assert value - wanted <= abs(wanted) * (WIDTH - 1) + 1e-12


def test_values_far_apart_are_exact(found: Found) -> None:
    assert found["tied"] == ((-2.0, 0.2), (-1.0, 0.4), (0.0, 0.6), (1.0, 0.8), (2.0, 1.0))
    assert found["zeros"][0] == (0.0, 0.75 + 1 / ROWS)


def test_there_are_few_points_whatever_the_rows(found: Found) -> None:
    spread = np.log2(VALUES["skewed"].max() / VALUES["skewed"].min())
    assert len(found["skewed"]) <= 128 * spread + 1


@pytest.mark.parametrize("partitions", [1, 7])
def test_the_distribution_does_not_depend_on_partitions(
    rows: DataFrame, found: Found, partitions: int
) -> None:
    assert distribution(rows.repartition(partitions), columns()) == found


def test_expressions_have_distributions_too(rows: DataFrame) -> None:
    halved = distribution(rows, {"half": F.col("tied") / 2})["half"]
    assert [value for value, _ in halved] == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_a_key_gives_the_distributions_of_its_rows_and_of_all_in_one_pass(
    rows: DataFrame, found: Found
) -> None:
    key = F.when(F.col("tied") < 0, "below").when(F.col("tied") > 0, "above")
    by_key = distribution_by(rows, columns(), key)
    assert by_key.keys() == {None, "below", "above"}
    # Those without a key are in all rows alone.
    assert by_key[None] == found
    assert by_key["below"] == distribution(rows.where("tied < 0"), columns())
