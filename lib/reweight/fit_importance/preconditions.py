"""What models may know of the training rows, and checks that methods can be fitted on them."""

from collections.abc import Sequence
from typing import Any

import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import feature_quantiles
from reweight.core.errors import TrainingError
from reweight.core.hashing import uniform
from reweight.fit_importance.job import FitJob
from reweight.importance.base import ImportanceMethod
from reweight.importance.label_windows import check_delays, check_windows
from reweight.importance.position_bias import PositionMethod, between
from reweight.importance.position_checks import check_features, check_positions, check_propensities
from reweight.importance.target import check_target
from reweight.importance.training import TrainFacts

_MOST_SEGMENTS = 1000
# A feature that depends on the position shows it in any sample of rows.
_POSITION_ROWS = 20_000


def training_facts(
    job: FitJob, samples: DataFrame, methods: Sequence[ImportanceMethod]
) -> TrainFacts:
    """What models may know of the training rows.

    Args:
        job: the settings.
        samples: rows of all splits.
        methods: the methods to fit.

    Raises:
        TrainingError: a method cannot be fitted on these rows, or methods need different numbers
            of bins.
    """
    train = samples.where("split = 'train'")
    position, propensity = F.col("position"), F.col("propensity")
    settled = F.col("mature") & (F.col("label") == 1)
    usable = F.coalesce((propensity > 0) & (propensity <= 1), F.lit(False))
    counts: Any = train.agg(
        F.count("*").alias("rows"),
        F.sum("label").alias("positives"),
        F.sum(F.col("target").cast("bigint")).alias("target"),
        *[
            F.count_if(condition).alias(name)
            for name, condition in {
                "before": position < 1,
                "first": position == 1,
                "later": position > 1,
                "unusable": ~usable,
                "open": ~F.col("mature"),
                "settled_positives": settled,
                "delays": settled & F.col("delay").isNotNull(),
                "outside": settled & ~F.col("delay").between(0, 1),
            }.items()
        ],
    ).first()
    for method in methods:
        # Fitting checks this too, but only after hours of training.
        columns = method.columns()
        if "target" in columns:
            check_target(method.name, counts["target"], counts["rows"])
        if "position" in columns:
            check_positions(method.name, counts["before"], counts["first"], counts["later"])
            if isinstance(method, PositionMethod):
                last_position = method.training.max_position
                explained = _between_positions(train, counts["rows"], job.dim, last_position)
                check_features(method.name, explained, job.names)
        if "propensity" in columns:
            check_propensities(method.name, counts["unusable"], counts["rows"])
        if "mature" in columns:
            check_windows(method.name, counts["open"], counts["settled_positives"])
        if "delay" in columns:
            check_delays(method.name, counts["delays"], counts["outside"])
    bins = {t.quantile_bins for m in methods if (t := m.learns())} - {0}
    if len(bins) > 1:
        raise TrainingError(
            "the methods of a run cut features into different numbers of bins",
            expected="the same number of bins, or 0, for all methods",
            got=str(sorted(bins)),
            fix="set the same training.bins everywhere",
        )
    return TrainFacts(
        dim=job.dim,
        cardinalities=job.cardinalities,
        rows=counts["rows"],
        positives=int(counts["positives"]),
        seed=job.seed,
        quantiles=feature_quantiles(train, counts["rows"], bins.pop()) if bins else (),
        names=job.names,
        segments=_segments(train) if any("segment" in m.columns() for m in methods) else (),
    )


def _between_positions(train: DataFrame, rows: int, dim: int, last_position: int) -> torch.Tensor:
    """``between`` on a hashed sample of the rows, float64 [dim]."""
    sampled = train.where(uniform(0, "positions", "sample_id") <= _POSITION_ROWS / max(rows, 1))
    # Spark's least and greatest ignore nulls.
    clamped = F.least(F.greatest("position", F.lit(1)), F.lit(last_position))
    position = F.when(F.col("position").isNull(), 0).otherwise(clamped)
    value = F.col("value").cast("double")
    # Small by nature: three numbers per position and feature.
    sums = (
        sampled.select(position.alias("at"), F.posexplode("features").alias("feature", "value"))
        .groupBy("at", "feature")
        .agg(F.count("*"), F.sum(value), F.sum(value * value))
        .orderBy("at", "feature")
        .drop("at", "feature")
        .toPandas()
    )
    count, total, square = torch.tensor(sums.to_numpy()).double().reshape(-1, dim, 3).unbind(-1)
    return between(count[:, 0], torch.cat([total, square], dim=1))


def _segments(train: DataFrame) -> tuple[str, ...]:
    """The segments of the training rows, largest first.

    Raises:
        TrainingError: there are none, or too many.
    """
    counted = train.where("segment is not null").groupBy("segment").count()
    rows = counted.orderBy(F.desc("count"), "segment").limit(_MOST_SEGMENTS + 1).collect()
    if not 0 < len(rows) <= _MOST_SEGMENTS:
        raise TrainingError(
            "the segments cannot be weighted",
            expected=f"1 to {_MOST_SEGMENTS} segments in the training rows",
            got=f"more than {_MOST_SEGMENTS}" if rows else "none",
            fix="set sampling.segment to an expression with few values, such as a user group or a "
            "country",
        )
    return tuple(row["segment"] for row in rows)
