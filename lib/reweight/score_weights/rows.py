"""The rows of the table ``weights``."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight, in_sample_flag, soft_label
from reweight.score_weights.policy import PolicyStats, Weighting, weight


def weight_rows(
    scores: DataFrame, policy: Weighting, stats: Mapping[str, PolicyStats], *, in_sample: bool
) -> DataFrame:
    """Rows of the table ``weights``: one per sample and method.

    Args:
        scores: with ``sample_id``, ``split`` and the columns of ``scoring.scored``; with
            ``design_weight`` if negatives were sampled, with ``event_time`` if that is stored.
        policy: the section ``weighting``.
        stats: what the policy learnt, by method.
        in_sample: whether the models may have been trained on rows of the training split.
    """
    columns = set(scores.columns)
    rows = [
        F.struct(
            F.lit(method).alias("method"),
            F.col(method).cast("double").alias("importance"),
            (weight(F.col(method), policy, s) * design_weight(scores))
            .cast("double")
            .alias("weight"),
            (F.col(soft_label(method)) if soft_label(method) in columns else F.lit(None))
            .cast("float")
            .alias("label"),
            # Only rows of the training split were trained on.
            (
                F.col(in_sample_flag(method)) & (F.col("split") == "train")
                if in_sample and in_sample_flag(method) in columns
                else F.lit(False)
            ).alias("in_sample"),
        )
        for method, s in stats.items()
    ]
    time = F.col("event_time") if "event_time" in columns else F.lit(None).cast("timestamp")
    return scores.select("sample_id", F.inline(F.array(*rows)), time.alias("event_time"))


def wide_weights(weights: DataFrame, methods: Sequence[str], soft: Sequence[str] = ()) -> DataFrame:
    """Rows of the table ``weights`` as one row per ``sample_id`` with a column per method.

    Args:
        weights: rows of the table.
        methods: the methods whose weights are needed.
        soft: the methods whose labels are needed too, in columns named by ``columns.soft_label``.
    """

    def value(method: str, column: str) -> Column:
        # Faster than a pivot, which aggregates arrays: here each cell has exactly one value.
        return F.max(F.when(F.col("method") == method, F.col(column)))

    columns = [value(m, "weight").alias(m) for m in methods]
    columns += [value(m, "label").alias(soft_label(m)) for m in soft]
    return weights.groupBy("sample_id").agg(*columns)
