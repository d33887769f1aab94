"""The design effect: of simulated groups whose rows are alike, or not, or alone in their part."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.diagnose.clusters import counted, design_effect
from reweight.diagnose.rates import p_rates_vary, pooled

PARTS, GROUPS, ROWS = 20, 100, 20


def parts_of(y: np.ndarray, n: np.ndarray) -> pd.DataFrame:
    """The sums over groups, from counts of groups [parts, groups]."""
    sums = {"n": n, "y": y, "nn": n * n, "ny": n * y, "yy": y * y}
    return pd.DataFrame({name: values.sum(1) for name, values in sums.items()})


def test_sums_are_those_of_the_rows(spark: SparkSession) -> None:
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(generator.integers(0, (3, 9, 2), (300, 3)), columns=["p", "g", "label"])
    frame = spark.createDataFrame(
        rows.astype({"label": float, "g": str}).rename(columns={"g": "group_id"})
    )
    found = counted(frame, F.col("p")).toPandas().sort_values("part").drop(columns="part")
    y, n = (
        rows.pivot_table(index="p", columns="g", values="label", aggfunc=how, fill_value=0)
        for how in ("sum", "size")
    )
    wanted = parts_of(y.to_numpy(float), n.to_numpy(float))
    wanted["groups"] = (n > 0).sum(axis=1).to_numpy(float)
    np.testing.assert_allclose(found.to_numpy(float), wanted.to_numpy())


def test_of_sampled_negatives_each_counts_for_those_that_were_left_out(spark: SparkSession) -> None:
    generator = np.random.default_rng(3)
    label = (generator.random(20_000) < 0.1).astype(float)
    kept = (label == 1) | (generator.random(20_000) < 0.1)
    rows = pd.DataFrame({"label": label, "group_id": np.arange(20_000).astype(str)})[kept]
    rows["design_weight"] = np.where(rows["label"] == 1, 1.0, 10.0)
    found = counted(spark.createDataFrame(rows), F.lit(0)).toPandas()
    assert found["n"][0] == pytest.approx(20_000, rel=0.03)
    # Var(y - q n) = n q (1 - q) (1 - q + q / r): what the estimated n adds.
    assert design_effect(found) == pytest.approx(0.9 + 0.1 / 0.1, rel=0.1)


def test_rows_of_a_label_are_worth_one_and_independent_rows_are_worth_all() -> None:
    generator = np.random.default_rng(1)
    n = np.full((PARTS, GROUPS), float(ROWS))
    whole = ROWS * generator.binomial(1, 0.2, n.shape).astype(float)
    assert design_effect(parts_of(whole, n)) == pytest.approx(ROWS, rel=0.02)
    single = generator.binomial(ROWS, 0.2, n.shape).astype(float)
    assert design_effect(parts_of(single, n)) == pytest.approx(1, abs=0.1)
    assert design_effect(parts_of(single.sum(1)[:, None], n.sum(1)[:, None])) == GROUPS * ROWS
    assert design_effect(parts_of(0 * n, n)) == 1


@pytest.mark.parametrize("groups", [2, 3])
def test_rates_of_few_groups_are_not_rejected_more_often(groups: int) -> None:
    generator, rejected = np.random.default_rng(4), 0
    for _ in range(1000):
        n = generator.integers(1, 100, (PARTS, groups)).astype(float)
        rate = 1 / (1 + np.exp(1.5 - generator.normal(size=n.shape)))
        parts = parts_of(generator.binomial(n.astype(int), rate).astype(float), n)
        y, n = (parts[name].to_numpy() / design_effect(parts) for name in ("y", "n"))
        begins = pooled(y, n)
        y, n = (np.add.reduceat(column, begins) for column in (y, n))
        rejected += p_rates_vary(y, n, 0.1, PARTS * (groups - 1)) < 0.01
    assert rejected / 1000 <= 0.025


@pytest.mark.parametrize("rows", [1, ROWS])
def test_rates_that_do_not_vary_are_rejected_as_often_as_they_should_be(rows: int) -> None:
    generator = np.random.default_rng(2)
    rejected = 0
    for _ in range(400):
        n = generator.integers(1, 2 * rows + 1, (PARTS, GROUPS)).astype(float)
        parts = parts_of(n * generator.binomial(1, 0.2, n.shape), n)
        y, n = (parts[name].to_numpy() / design_effect(parts) for name in ("y", "n"))
        rejected += p_rates_vary(y, n, 0.0) < 0.05
    assert 0.02 <= rejected / 400 <= 0.09
