"""The column that looks a share up: that of a search through all points, from few comparisons."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.core.arithmetic import ARRAYS, COLUMNS
from reweight.core.distribution import Distribution, distribution_of

Array = NDArray[np.float64]
DRAW = np.random.default_rng(0)
NORMAL = DRAW.normal(size=3000)
VALUES: dict[str, Array] = {
    "normal": NORMAL.astype(np.float32).astype(float),
    "heavy": NORMAL * np.exp(4 * DRAW.normal(size=3000)),
    "powers": 2.0 ** np.arange(-20, 20),
    "tied": np.array([-2.0, 0.0, 0.0, 3.0]),
    "one": np.array([0.25]),
    "nothing": np.zeros(3),
}
POINTS: dict[str, Distribution] = {name: distribution_of(values) for name, values in VALUES.items()}


def looked_up(points: Distribution) -> Array:
    """The points, their neighbours, the edges of bins, and numbers far from all of them."""
    values = np.array([value for value, _ in points])
    edges = 2.0 ** (np.arange(-300, 300) / 128)
    near = [np.nextafter(v, to) for v in (values, edges) for to in (-np.inf, np.inf)]
    far = np.array([0.0, -0.0, 5e-324, 1e-300, 1e300, np.inf, np.nan])
    every = np.concatenate([values, *near, edges, far])
    return np.concatenate([every, -every])


@pytest.mark.parametrize("name", list(VALUES))
def test_the_share_is_that_of_a_search_through_all_points(spark: SparkSession, name: str) -> None:
    points = POINTS[name]
    x = looked_up(points)
    rows = spark.createDataFrame([*zip(x.tolist()), (None,)], "x double").coalesce(1)
    found = rows.select(COLUMNS.share_at_or_below(F.col("x"), points).alias("share"))
    shares = [row["share"] for row in found.collect()]
    np.testing.assert_array_equal(shares[:-1], ARRAYS.share_at_or_below(x, points))
    assert np.isnan(shares[:-1]).tolist() == np.isnan(x).tolist()
    assert shares[-1] is None
    # No function of arrays that visits every point.
    assert "lambda" not in found._jdf.queryExecution().optimizedPlan().toString()


def test_what_is_limited_and_no_number_stays_none(spark: SparkSession) -> None:
    values = [-1.0, 0.5, 2.0, np.nan, None]
    rows = spark.createDataFrame([(v,) for v in values], "x double").coalesce(1)
    limited = rows.select(COLUMNS.clip(F.col("x"), 0.0, 1.0).alias("x")).collect()
    found = [row["x"] for row in limited]
    np.testing.assert_array_equal(found[:-1], ARRAYS.clip(np.array(values[:-1], float), 0.0, 1.0))
    assert found[-1] is None
