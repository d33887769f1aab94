"""What weights must be so that a ranker of groups can be trained on them."""

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.errors import WeightError


def check_groups(rows: DataFrame, group: str, ranker: str, *, even: bool) -> None:
    """Checks in one pass the groups in which rows are ranked.

    Args:
        rows: with ``sample_id``, ``label``, ``weight`` and the group.
        group: the column of groups.
        ranker: name of the ranker.
        even: whether all rows of a group have to weigh the same.

    Raises:
        WeightError: rows without a group, soft labels, no group with rows of both labels, or with
            ``even`` different weights in a group.
    """
    heavy, weight = F.col("weight") > 0, F.col("weight")
    groups = rows.groupBy(group).agg(
        F.count_if(heavy).alias("_rows"),
        F.countDistinct(F.when(heavy, F.col("sample_id"))).alias("_samples"),
        (F.max(weight) - F.min(weight)).alias("_spread"),
        F.coalesce(
            F.max(F.when(heavy, F.col("label"))) > F.min(F.when(heavy, F.col("label"))),
            F.lit(False),
        ).alias("_mixed"),
    )
    facts: Any = groups.agg(
        F.count("*").alias("groups"),
        F.sum(F.when(F.col(group).isNull(), F.col("_rows")).otherwise(0)).alias("without"),
        F.count_if(F.col("_rows") > F.col("_samples")).alias("doubled"),
        F.count_if(F.col("_spread") > 1e-9).alias("uneven"),
        F.count_if("_mixed").alias("mixed"),
    ).first()
    count = facts["groups"]
    checks = (
        (
            facts["without"],
            f"a value of {group} for every training row",
            f"null for {facts['without']} rows",
            "give them groups of their own, such as coalesce(list, order_id)",
        ),
        (
            facts["doubled"],
            "labels 0 or 1, since rows are ranked by them",
            "soft labels, whose rows would stand twice in their group",
            "use objective: classify for methods with soft labels",
        ),
        (
            not facts["mixed"],
            "groups with rows of both labels, between which an order can be learnt",
            f"{count} groups, none with rows of both labels that weigh something",
            "set `group` to what is ranked together, or use objective: classify",
        ),
        (
            even and facts["uneven"],
            "one weight per group (group_weight: refuse)",
            f"different weights within {facts['uneven']} of {count} groups",
            "set group_weight: mean, or use objective: classify, which takes one per row",
        ),
    )
    for wrong, expected, got, fix in checks:
        if wrong:
            raise WeightError(
                f"the ranker '{ranker}' with objective: rank cannot take these weights",
                expected=expected,
                got=got,
                fix=fix,
            )
