"""The ranker `lightgbm`: the trees of the package used alone, with its weights."""

from importlib.util import find_spec

import numpy as np
import pytest
from pyspark.sql import SparkSession

from reweight.core.errors import TrainingError
from reweight.train_ranker.rankers.base import RankerJob
from reweight.train_ranker.rankers.lightgbm import LightGbm

ROWS = 400


@pytest.mark.skipif(
    find_spec("lightgbm") is None,
    reason="lightgbm is not installed: pip install 'reweight[lightgbm]'",
)
def test_rows_get_the_trees_of_the_library_used_alone(spark: SparkSession) -> None:
    from lightgbm import LGBMClassifier

    draw = np.random.default_rng(4)
    x = draw.normal(size=(ROWS, 3)).astype(np.float32)
    item = draw.integers(0, 20, ROWS)
    score = 2 * x[:, 0] * (x[:, 1] > 0) + (item % 3) - 1
    label = (draw.random(ROWS) < 1 / (1 + np.exp(-score))).astype(float)
    weight = draw.gamma(1.0, 1.0, ROWS)
    columns = (np.arange(ROWS), x, item[:, None], label, weight)
    values = list(zip(*[column.tolist() for column in columns], strict=True))
    schema = "sample_id bigint, features array<float>, ids array<int>, label double, weight double"
    # In another order, and as two partitions.
    rows = spark.createDataFrame(values[::-1], schema).repartition(2).cache()
    job = RankerJob(0.0, seed=5, names=("a", "b", "c"), fields={"item": 20})
    fitted = LightGbm(trees=10, leaves=7).fit(rows, job)
    scored = fitted.with_log_odds(rows, "z").orderBy("sample_id").select("z").toPandas()
    alone = LGBMClassifier(
        n_estimators=10,
        num_leaves=7,
        min_child_weight=1.0,
        min_child_samples=0,
        reg_lambda=1.0,
        n_jobs=1,
        verbosity=-1,
        **{"min_data_in_bin": 1, "min_data_per_group": 1, "cat_smooth": 0.0},
        **{"deterministic": True, "force_row_wise": True},
    )
    inputs = np.concatenate([x, item[:, None]], axis=1).astype(np.float32)
    alone.fit(inputs, label, sample_weight=weight, categorical_feature=[3])
    wanted = alone.predict(inputs, raw_score=True)
    np.testing.assert_allclose(scored["z"], wanted, atol=1e-5)
    assert wanted.std() > 0.3
    # What LightGBM says of a setting that it refuses, and not where Spark was when it did.
    with pytest.raises(TrainingError) as caught:
        LightGbm(leaves=200_000).fit(rows, job)
    assert caught.value.got.startswith("lightgbm.basic.LightGBMError: ")
    assert "num_leaves" in caught.value.got
