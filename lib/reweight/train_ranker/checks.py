"""What weights must be so that rankers can be trained on them."""

from collections.abc import Collection, Sequence
from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import soft_label
from reweight.core.errors import WeightError
from reweight.core.left_out import Refusals

_MISSING = "run score_weights again: it weighs every sample, and the samples were made anew since"


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
        names = ("bad", "missing", "zero", "one")
        bad, missing, zero, one = (sums_by_name[f"{method}.{k}"] or 0.0 for k in names)
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
                fix=_MISSING
                if missing
                else "change the weight policy (section weighting), or leave the method out",
            )
            refusals.add(method, error)
            continue
        sums[method] = total
    return sums


def _weight_facts(method: str, soft: bool) -> list[Column]:
    w, y = F.col(method), F.col(soft_label(method) if soft else "label")
    faults = [w.isNull(), F.isnan(w), w < 0, w == float("inf")]
    if soft:
        faults += [y.isNull(), F.isnan(y), y < 0, y > 1]
    return [
        F.count(F.when(reduce(Column.__or__, faults), 1)).alias(f"{method}.bad"),
        F.count(F.when(w.isNull(), 1)).alias(f"{method}.missing"),
        F.sum(w * (1 - y)).alias(f"{method}.zero"),
        F.sum(w * y).alias(f"{method}.one"),
        F.sum(w * w).alias(f"{method}.squares"),
    ]
