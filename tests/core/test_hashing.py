"""Random numbers by hash: uniform, repeatable, independent between uses."""

import numpy as np
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.core.hashing import uniform

ROWS = 20_000


def test_numbers_are_uniform_repeatable_and_independent_between_seeds_and_streams(
    spark: SparkSession,
) -> None:
    ids = spark.range(ROWS, numPartitions=3)
    drawn = {
        "one": uniform(0, "split", "id"),
        "again": uniform(0, "split", F.col("id")),
        "other_seed": uniform(1, "split", "id"),
        "other_stream": uniform(0, "sample", "id"),
    }
    found = ids.select("id", *[column.alias(name) for name, column in drawn.items()]).toPandas()
    counts, _ = np.histogram(found["one"], bins=20, range=(0, 1))
    # 20 bins of 1,000: five standard deviations are 154.
    assert np.abs(counts - ROWS / 20).max() < 154
    assert found["one"].between(0, 1, inclusive="neither").all()
    assert found["one"].is_unique
    assert (found["one"] == found["again"]).all()
    for name in ("id", "other_seed", "other_stream"):
        assert abs(np.corrcoef(found["one"], found[name])[0, 1]) < 5 / ROWS**0.5


def test_numbers_do_not_depend_on_rows_around_or_their_partitions(spark: SparkSession) -> None:
    few, many = (
        {row[0]: row[1] for row in rows.select("id", uniform(3, "x", "id")).collect()}
        for rows in (spark.range(5, 12, numPartitions=1), spark.range(40, numPartitions=7))
    )
    assert few == {key: many[key] for key in few}
