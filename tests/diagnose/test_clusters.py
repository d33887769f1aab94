"""The design effect: of simulated groups whose rows are alike, or not, or alone in their part."""

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.diagnose.clusters import counted, design_effect
from reweight.diagnose.rates import p_rates_vary

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


def test_rows_of_a_label_are_worth_one_and_independent_rows_are_worth_all() -> None:
    generator = np.random.default_rng(1)
    n = np.full((PARTS, GROUPS), float(ROWS))
    whole = ROWS * generator.binomial(1, 0.2, n.shape).astype(float)
    assert design_effect(parts_of(whole, n)) == pytest.approx(ROWS, rel=0.02)
    single = generator.binomial(ROWS, 0.2, n.shape).astype(float)
    assert design_effect(parts_of(single, n)) == pytest.approx(1, abs=0.1)
    assert design_effect(parts_of(single.sum(1)[:, None], n.sum(1)[:, None])) == GROUPS * ROWS
    assert design_effect(parts_of(0 * n, n)) == 1


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
