"""The ranker: Spark ML's logistic regression on weighted samples.

scikit-learn minimises C sum_i w_i l_i + |b|^2 / 2; Spark sum_i w_i l_i / sum_i w_i + r |b|^2 / 2.
So r = 1 / (C sum_i w_i), with ``standardization=False``. At the same r, w and c w give the same
fit: a constant factor in the weights matters only through the sum in r.

A soft label g is trained as two rows, (y = 1, weight w g) and (y = 0, weight w (1 - g)).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from pydantic import Field
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.feature import OneHotEncoder, VectorAssembler
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import soft_label
from reweight.core.errors import WeightError
from reweight.core.left_out import Refusals
from reweight.core.section import Name, Section
from reweight.core.session_kind import slots

# A value of a sparse vector takes 12 bytes: an int32 and a float64.
_VALUE_BYTES = 12
_PARTITION_BYTES = 128 << 20
# A pass over so many bytes takes as long as Spark takes to start a task.
_TASK_BYTES = 4 << 20


class Ranking(Section):
    """The section ``ranking``.

    Attributes:
        C: inverse strength of regularisation, as in scikit-learn.
        max_iter: largest number of L-BFGS iterations.
        tol: relative change of the loss at which L-BFGS stops before ``max_iter``.
        recalibrate: methods whose intercept is refitted so that the mean prediction on the
            (unweighted) training rows equals their label rate (for soft labels, their mean).
        aggregation_depth: depth of the tree that sums gradients; increase it for wide data.
    """

    C: float = Field(default=1.0, gt=0)
    max_iter: int = Field(default=100, ge=1)
    tol: float = Field(default=1e-6, gt=0)
    recalibrate: tuple[Name, ...] = ()
    aggregation_depth: int = Field(default=2, ge=2)


@dataclass(frozen=True)
class Ranker:
    """A fitted ranker.

    Attributes:
        model: the Spark ML model.
        shift: what recalibration adds to the intercept.
    """

    model: LogisticRegressionModel
    shift: float = 0.0


def with_vector(samples: DataFrame, cardinalities: Sequence[int]) -> DataFrame:
    """Adds ``vector``: the dense features, then every id field one-hot (sparse)."""
    dense = array_to_vector(F.col("features"))
    if not cardinalities:
        return samples.withColumn("vector", dense)
    fields = [f"_id_{f}" for f in range(len(cardinalities))]
    # With the sizes as metadata, the encoder needs no pass to find them.
    columns = {
        name: F.col("ids")[f].cast("double").alias(name, metadata=_nominal(size))
        for f, (name, size) in enumerate(zip(fields, cardinalities, strict=True))
    }
    samples = samples.select("*", dense.alias("_dense"), *columns.values())
    hot = [f"{name}_hot" for name in fields]
    encoder = OneHotEncoder(inputCols=fields, outputCols=hot, dropLast=False)
    samples = encoder.fit(samples).transform(samples)
    assembler = VectorAssembler(inputCols=["_dense", *hot], outputCol="vector")
    return assembler.transform(samples).drop("_dense", *fields, *hot)


def gathered(train: DataFrame, rows: int, width: int) -> DataFrame:
    """Coalesces the rows into one partition per core; more of 128 MB, or fewer of 4 MB.

    L-BFGS visits every partition about a hundred times, and each visit has a fixed cost.

    Args:
        train: rows with ``vector``.
        rows: number of rows.
        width: number of stored values per vector.
    """
    cores, size = slots(train.sparkSession), rows * width * _VALUE_BYTES
    small, large = (-(-size // limit) for limit in (_TASK_BYTES, _PARTITION_BYTES))
    return train.coalesce(max(1, min(cores, small), large))


def doubled(train: DataFrame, method: str) -> DataFrame:
    """Each row as the two rows of its soft label, without rows of weight 0; no shuffle.

    Args:
        train: rows with ``vector``, the weights of the method and its soft labels.
        method: name of the column of weights.
    """
    w, g = F.col(method), F.col(soft_label(method))
    parts = [
        F.struct(F.lit(label).alias("label"), weight.alias(method))
        for label, weight in ((1.0, w * g), (0.0, w * (1 - g)))
    ]
    return train.select("vector", F.inline(F.array(*parts))).where(F.col(method) > 0)


def check_training(
    train: DataFrame,
    methods: Sequence[str],
    floor: float,
    soft: Collection[str] = (),
    refusals: Refusals | None = None,
) -> dict[str, float]:
    """Checks in one pass that the weights of all methods can be trained on.

    Args:
        train: rows with ``label`` and a column of weights per method.
        methods: names of these columns.
        floor: smallest allowed ESS, as a share of the rows.
        soft: methods with soft labels, in columns named by ``columns.soft_label``.
        refusals: receives the methods that cannot be trained on; by default they are errors.

    Returns:
        The sum of the weights of each method that can be trained on.

    Raises:
        WeightError: weights that are null, not finite or negative; soft labels outside [0, 1]; a
            class without weight (Spark would return zero coefficients and an infinite intercept);
            an ESS below ``floor``.
    """
    sums_by_name: Any = train.agg(
        F.count("*").alias("rows"),
        *[part for m in methods for part in _weight_facts(m, m in soft)],
    ).first()
    refusals, sums = refusals or Refusals(), {}
    for method in methods:
        bad, zero, one = (sums_by_name[f"{method}.{k}"] or 0.0 for k in ("bad", "zero", "one"))
        total, squares = zero + one, sums_by_name[f"{method}.squares"] or 0.0
        got = None
        if bad:
            got = f"{bad} weights that are null, negative or not finite"
            got += ", or soft labels outside [0, 1]" if method in soft else ""
        elif min(zero, one) <= 0:
            got = f"weight sums {zero:.4g} for label 0 and {one:.4g} for label 1"
        elif (share := total**2 / (sums_by_name["rows"] * squares)) < floor:
            got = f"an effective sample size of {share:.1%} of the rows"
        if got:
            error = WeightError(
                f"the ranker cannot be trained on the weights of '{method}'",
                expected=f"finite weights >= 0, both classes with weight, ESS >= {floor:.0%}",
                got=got,
                fix="change the weight policy (section weighting), or leave the method out",
            )
            refusals.add(method, error)
            continue
        sums[method] = total
    return sums


def fit_ranker(train: DataFrame, weight: str, weight_sum: float, ranking: Ranking) -> Ranker:
    """Fits the ranker on one column of weights.

    Args:
        train: rows with ``vector``, ``label`` and the weights; should be cached.
        weight: name of the column of weights.
        weight_sum: the sum of weights in r = 1 / (C sum w).
        ranking: the section ``ranking``.
    """
    regression = LogisticRegression(
        featuresCol="vector",
        labelCol="label",
        weightCol=weight,
        regParam=1 / (ranking.C * weight_sum),
        elasticNetParam=0.0,
        standardization=False,
        maxIter=ranking.max_iter,
        tol=ranking.tol,
        aggregationDepth=ranking.aggregation_depth,
    )
    return Ranker(regression.fit(train))


def recalibrated(ranker: Ranker, train: DataFrame) -> Ranker:
    """The ranker with its intercept shifted so that mean prediction = label rate on ``train``."""
    scored = with_margins(train, {"z": ranker})
    bins = scored.groupBy(F.floor(F.col("z") * 200)).agg(
        F.count("*").alias("n"), F.avg("z").alias("z"), F.sum("label").alias("positives")
    )
    # Small by nature: occupied bins of 0.005 in log odds.
    rows = bins.collect()
    n, z = (np.array([row[name] for row in rows], dtype=float) for name in ("n", "z"))
    positives, shift = sum(row["positives"] for row in rows), 0.0
    for _ in range(50):
        p = 1 / (1 + np.exp(-(z + shift)))
        step = (positives - n @ p) / max(float(n @ (p * (1 - p))), 1e-12)
        # A full Newton step from far away can land where the slope is almost 0.
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return Ranker(ranker.model, ranker.shift + shift)


def with_margins(rows: DataFrame, rankers: Mapping[str, Ranker]) -> DataFrame:
    """Adds a column of log odds per ranker."""
    for name, ranker in rankers.items():
        raw = f"_raw_{name}"
        model = ranker.model.copy().setRawPredictionCol(raw)
        # An empty name makes Spark leave the column out.
        model = model.setPredictionCol("").setProbabilityCol("")
        z = vector_to_array(F.col(raw))[1] + ranker.shift
        rows = model.transform(rows).withColumn(name, z).drop(raw)
    return rows


def with_probabilities(rows: DataFrame, rankers: Mapping[str, Ranker]) -> DataFrame:
    """Adds a column of probabilities per ranker."""
    rows = with_margins(rows, rankers)
    return rows.withColumns({name: 1 / (1 + F.exp(-F.col(name))) for name in rankers})


def _nominal(size: int) -> dict[str, Any]:
    return {"ml_attr": {"type": "nominal", "num_vals": size}}


def _weight_facts(method: str, soft: bool) -> list[Column]:
    w, y = F.col(method), F.col(soft_label(method) if soft else "label")
    faults = [w.isNull(), F.isnan(w), w < 0, w == float("inf")]
    if soft:
        faults += [y.isNull(), F.isnan(y), y < 0, y > 1]
    return [
        F.count(F.when(reduce(Column.__or__, faults), 1)).alias(f"{method}.bad"),
        F.sum(w * (1 - y)).alias(f"{method}.zero"),
        F.sum(w * y).alias(f"{method}.one"),
        F.sum(w * w).alias(f"{method}.squares"),
    ]
