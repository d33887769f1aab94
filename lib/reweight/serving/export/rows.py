"""Samples and weights as Parquet, in the forms that other trainers take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight
from reweight.core.errors import WeightError

# Weights of a group that differ by less are equal: they are sums of floats.
_EQUAL = 1e-9


def trainer_rows(samples: DataFrame, weights: DataFrame, fields: Sequence[str]) -> DataFrame:
    """One row for each sample with a label, in the order of its groups.

    Args:
        samples: rows of the table ``samples``.
        weights: rows of the table ``weights`` of one method.
        fields: names of the categorical fields.

    Returns:
        ``split``, ``group_id``, ``sample_id``, ``label`` (the soft one of a soft method),
        ``weight``, ``features``, ``id_<field>`` for each categorical field, and ``design_weight``.
    """
    weights = weights.select("sample_id", "weight", F.col("label").alias("_soft"))
    joined = samples.where("split IN ('train', 'validation', 'test')").join(
        weights, on="sample_id", how="inner"
    )
    ids = [F.col("ids")[index].alias(f"id_{name}") for index, name in enumerate(fields)]
    label = F.coalesce("_soft", "label").alias("label")
    own = ("split", "group_id", "sample_id", label, "weight", "features")
    rows = joined.select(*own, *ids, design_weight(samples).alias("design_weight"))
    return rows.where(F.col("label").isNotNull())


def group_weights(rows: DataFrame, rule: str, method: str) -> DataFrame:
    """One row for each group of a split, with the mean of its weights without design weights.

    With them a group would weigh by how many of its negatives were kept.

    Args:
        rows: the output of ``trainer_rows``.
        rule: ``mean``, or ``equal``, which refuses groups whose weights differ.
        method: the method, for messages.

    Returns:
        ``split``, ``group_id``, ``rows``, ``weight``.

    Raises:
        WeightError: the rule is ``equal``, and the weights of some groups differ.
    """
    learnt = F.col("weight") / design_weight(rows)
    spread = F.max(learnt) - F.min(learnt)
    groups = rows.groupBy("split", "group_id").agg(
        F.count("*").alias("rows"), F.avg(learnt).alias("weight"), spread.alias("_spread")
    )
    if rule == "equal":
        differ = F.col("_spread") > _EQUAL * F.greatest(F.lit(1.0), F.col("weight"))
        counts: Any = groups.agg(F.count("*"), F.count_if(differ)).first()
        if counts[1]:
            raise WeightError(
                f"the weights of '{method}' differ within groups",
                expected="one weight for each group: exporting.groups is equal",
                got=f"{counts[1]} of {counts[0]} groups whose rows have different weights",
                fix="write exporting: {groups: mean} for the mean of a group's weights, or train "
                "on rows",
            )
    return groups.drop("_spread")


def write_rows(rows: DataFrame, folder: Path, order: Sequence[str]) -> None:
    """Writes rows as Parquet by split; the files of a split, by name, are in the given order."""
    keys = ["split", *order]
    # Where it may be null, Spark sorts once more by it alone, which may undo the order.
    rows = rows.withColumn("split", F.coalesce("split", F.lit("")))
    # A group is never cut: equal keys go to the same partition.
    placed = rows.repartitionByRange("split", "group_id").sortWithinPartitions(*keys)
    placed.write.mode("overwrite").partitionBy("split").parquet(str(folder.absolute()))
