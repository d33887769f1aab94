"""Negatives that were sampled: how many rows of the whole log a row stands for.

A log that keeps every positive and a share r of the negatives shows positives too often. A negative
that is left stands for 1 / r of them, its design weight (Horvitz & Thompson 1952, "A Generalization
of Sampling Without Replacement from a Finite Universe"): sums over the rows that are left, each
times its design weight, are those of the whole log in expectation, and so is what a ranker learns.
"""

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.sampling import Sampling
from reweight.core.errors import SampleError
from reweight.core.expressions import cast_to, check_expressions


def were_sampled(sampling: Sampling) -> bool:
    """Whether the log lacks negatives: not if their rate is known to be 1."""
    return sampling.negatives not in (None, 1.0)


def check_rate(labelled: DataFrame, sampling: Sampling) -> None:
    """Checks the expression of the rate against the samples, which have a ``label`` already.

    Raises:
        SourceError: it does not fit.
    """
    if isinstance(sampling.negatives, str):
        rate = {"negatives": sampling.negatives}
        check_expressions(labelled, rate, used_as=dict.fromkeys(rate, cast_to("double")))


def with_design_weight(samples: DataFrame, sampling: Sampling) -> DataFrame:
    """Adds ``design_weight``: 1 / rate, null where the rate is no share.

    A number is the rate of the samples with label 0, as it is when the log ends; a sample without a
    label was not sampled by it.
    """
    return samples.withColumn("design_weight", _design_weight(sampling))


def _design_weight(sampling: Sampling) -> Column:
    if sampling.negatives is None:
        return F.lit(1.0)
    if isinstance(sampling.negatives, float):
        return F.when(F.col("label") == 0, 1 / sampling.negatives).otherwise(1.0)
    rate = F.expr(sampling.negatives).cast("double")
    return F.when((rate > 0) & (rate <= 1), 1 / rate)


def rate_facts(sampling: Sampling) -> dict[str, Column]:
    """Conditions whose samples are counted: those with a rate that cannot be."""
    if not isinstance(sampling.negatives, str):
        return {}
    c = F.col("design_weight")
    return {"no_rate": c.isNull(), "thinned_positives": (F.col("label") == 1) & (c > 1)}


def check_rates(facts: dict[str, Any]) -> None:
    """Checks that every sample has a rate, and that positives were all kept.

    Args:
        facts: ``rows``, and the counts of ``rate_facts``.

    Raises:
        SampleError: a check fails.
    """
    if wrong := facts.get("no_rate"):
        raise SampleError(
            "some samples have no rate at which they were kept",
            expected="sampling.negatives above 0 and at most 1 for every sample",
            got=f"null, or a number outside (0, 1], for {wrong:,} of {facts['rows']:,} samples",
            fix="require the column in cleaning, or write the rate of these rows, such as "
            "negatives: coalesce(sample_rate, 1)",
        )
    if wrong := facts.get("thinned_positives"):
        raise SampleError(
            "some positives have a rate below 1",
            expected="sampling.negatives of 1 for positives: only negatives may be sampled",
            got=f"a rate below 1 for {wrong:,} positives",
            fix="if all positives were kept, write negatives: IF(label = 1, 1, sample_rate), with "
            "the column that holds the rate",
        )
