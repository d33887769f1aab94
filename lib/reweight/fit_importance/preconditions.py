"""What models may know of the training rows, and checks that methods can be fitted on them."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import feature_quantiles
from reweight.core.errors import TrainingError
from reweight.core.hashing import uniform
from reweight.core.left_out import Refusals, without
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.starting_models import quantiles_of
from reweight.importance.base import ImportanceMethod
from reweight.importance.delays import PER_E, SHORTEST
from reweight.importance.label_windows import (
    check_arrivals,
    check_delays,
    check_undone,
    check_windows,
)
from reweight.importance.position_bias import PositionMethod, between
from reweight.importance.position_checks import (
    check_features,
    check_positions,
    check_propensities,
    check_shared,
)
from reweight.importance.target import check_target
from reweight.importance.training import RowCounts, TimeCounts, TrainFacts

_MOST_SEGMENTS = 1000
# A feature that depends on the position shows it in any sample of rows.
_POSITION_ROWS = 20_000


def training_facts(
    job: FitJob,
    samples: DataFrame,
    methods: Sequence[ImportanceMethod],
    refusals: Refusals | None = None,
) -> TrainFacts:
    """What models may know of the training rows.

    Args:
        job: the settings.
        samples: rows of all splits.
        methods: the methods to fit.
        refusals: receives the methods that cannot be fitted on these rows; by default they are
            errors.

    Raises:
        TrainingError: a method cannot be fitted on these rows, or methods need different numbers
            of bins.
        WeightError: the weights of a method, which the counts of the rows determine, leave too few
            effective samples.
    """
    refusals = refusals or Refusals()
    train = samples.where("split = 'train'")
    counts = _counts(train)
    for method in methods:
        with refusals.about(method.name):
            _check_columns(job, train, counts, method)
    table = _segments(train, without(methods, refusals.errors), refusals)
    methods = refusals.remaining(methods)
    bins = {t.quantile_bins for m in methods if (t := m.learns())} - {0}
    check_bins(bins)
    stored = quantiles_of(job.start, methods) if job.start else ()
    timed = any(t.counts_times for m in methods if (t := m.learns()))
    arrived, waiting = _times(train) if timed else ((), ())
    facts = TrainFacts(
        dim=job.dim,
        cardinalities=job.cardinalities,
        rows=counts["rows"],
        positives=int(counts["positives"]),
        seed=job.seed,
        # Layers that are taken over read the bins that they were trained on.
        quantiles=stored or (feature_quantiles(train, counts["rows"], bins.pop()) if bins else ()),
        names=job.names,
        segments=() if table is None else tuple(table["segment"].dropna()),
        arrived=arrived,
        waiting=waiting,
        sequence=job.sequence,
    )
    known = RowCounts(
        settled=counts["rows"] - counts["open"],
        settled_positives=counts["settled_positives"],
        segments=None if table is None else _by_label(table, "rows", "positives"),
        targets=None if table is None else _by_label(table, "target", "target_positives"),
    )
    for method in methods:
        with refusals.about(method.name):
            _check_method(job, facts, known, method)
    return facts


def _counts(train: DataFrame) -> Any:
    """Numbers of training rows of several kinds, in one pass."""
    position, propensity = F.col("position"), F.col("propensity")
    settled = F.col("mature") & (F.col("label") == 1)
    arrived = (F.col("label") == 1) & F.col("delay").isNotNull() & F.col("elapsed").isNotNull()
    back = F.col("mature") & F.col("undone").isNotNull()
    usable = F.coalesce((propensity > 0) & (propensity <= 1), F.lit(False))
    # Rows that are weighed in a Spark ML pipeline have no time.
    timed = "event_time" in train.columns
    seconds = F.unix_seconds("event_time") if timed else F.lit(None).cast("bigint")
    return train.agg(
        F.count("*").alias("rows"),
        F.sum("label").alias("positives"),
        F.sum(F.col("target").cast("bigint")).alias("target"),
        (F.max(seconds) - F.min(seconds)).alias("span"),
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
                "undone": back,
                "unordered": back & ~F.coalesce(F.col("undone") >= F.col("delay"), F.lit(False)),
                "arrivals": arrived,
                "misplaced": arrived & ~F.col("delay").between(0, F.col("elapsed")),
            }.items()
        ],
    ).first()


def _check_columns(job: FitJob, train: DataFrame, counts: Any, method: ImportanceMethod) -> None:
    """Checks that the rows have what a method reads besides features and label."""
    name, columns = method.name, method.columns()
    if "target" in columns:
        times = None if counts["span"] is None else 1 + counts["span"]
        check_target(name, counts["target"], counts["rows"], times=times)
    if "position" in columns:
        check_positions(name, counts["before"], counts["first"], counts["later"])
        if isinstance(method, PositionMethod):
            last_position = method.training.max_position
            explained = _between_positions(train, counts["rows"], job.dim, last_position)
            check_features(name, explained, job.names)
    if "propensity" in columns:
        check_propensities(name, counts["unusable"], counts["rows"])
    if "mature" in columns:
        check_windows(name, counts["open"], counts["settled_positives"])
    if "delay" in columns and "mature" in columns:
        check_delays(name, counts["delays"], counts["outside"])
    elif "delay" in columns:
        check_arrivals(name, counts["arrivals"], counts["misplaced"])
    if "undone" in columns:
        check_undone(name, counts["undone"], counts["unordered"])
    if isinstance(method, PositionMethod) and job.labels is not None:
        check_shared(name, job.labels.shared, job.labels.events, job.labels.keys)


def _check_method(
    job: FitJob, facts: TrainFacts, counts: RowCounts, method: ImportanceMethod
) -> None:
    """Checks all that a method can say before it is trained.

    The ranks check this too, but only after they have started, or after hours of training.
    """
    if training := method.learns():
        settled = {"rows": counts.settled, "positives": counts.settled_positives}
        # Such methods learn from settled rows only.
        read = facts.model_copy(update=settled) if "mature" in training.needs else facts
        training.check(read)
        training.check_size(facts)
    method.model(facts)
    known = method.known_importance(facts, counts)
    if known is not None and job.weighting is not None:
        job.weighting.check_known(method, known.numpy())


def check_bins(bins: Collection[int]) -> None:
    """Checks that all methods cut features into the same number of bins.

    Args:
        bins: the numbers of the methods that cut them.

    Raises:
        TrainingError: they differ.
    """
    if len(bins) > 1:
        raise TrainingError(
            "the methods of a run cut features into different numbers of bins",
            expected="the same number of bins, or 0, for all methods",
            got=str(sorted(bins)),
            fix="set the same training.bins everywhere",
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


def _times(train: DataFrame) -> tuple[TimeCounts, TimeCounts]:
    """How late labels have arrived, and how long the other rows have waited; as ``counted``."""
    arrived = F.col("label") == 1
    time = F.when(arrived, F.col("delay")).otherwise(F.col("elapsed"))
    log = F.ln(F.greatest(time, F.lit(SHORTEST)))
    known = train.where(F.col("elapsed").isNotNull() & time.isNotNull())
    # Small by nature: two hundred bins hold times from seconds to centuries.
    rows = (
        known.groupBy(arrived.alias("arrived"), F.floor(log * PER_E).alias("bin"))
        .agg(F.exp(F.avg(log)).alias("time"), F.count("*").alias("rows"))
        .orderBy("arrived", "bin")
        .collect()
    )

    def counts(chosen: bool) -> TimeCounts:
        return tuple((row["time"], row["rows"]) for row in rows if row["arrived"] == chosen)

    return counts(True), counts(False)


def _segments(
    train: DataFrame, methods: Sequence[ImportanceMethod], refusals: Refusals
) -> pd.DataFrame | None:
    """Training rows and target rows, and the positives among them, by segment, largest first.

    Args:
        train: the training rows.
        methods: those that read segments are refused if there are none, or too many.
        refusals: receives them.

    Returns:
        One row per segment, the one of rows without a segment first; None if no method can use it.
    """
    readers = [method.name for method in methods if "segment" in method.columns()]
    if not readers:
        return None
    target = F.col("target").cast("bigint")
    counted = train.groupBy("segment").agg(
        F.count("*").alias("rows"),
        F.sum("label").alias("positives"),
        F.sum(target).alias("target"),
        F.sum(target * F.col("label")).alias("target_positives"),
    )
    ordered = counted.orderBy(F.col("segment").isNotNull(), F.desc("rows"), "segment")
    # Small by nature: the limit leaves room for the rows without a segment, and for one too many.
    table = ordered.limit(_MOST_SEGMENTS + 2).toPandas()
    number = int(table["segment"].notna().sum())
    if 0 < number <= _MOST_SEGMENTS:
        return table
    for name in readers:
        error = TrainingError(
            "the segments cannot be weighted",
            expected=f"1 to {_MOST_SEGMENTS} segments in the training rows",
            got=f"more than {_MOST_SEGMENTS}" if number else "none",
            fix="set sampling.segment to an expression with few values, such as a user group or a "
            "country",
        )
        refusals.add(name, error)
    return None


def _by_label(table: pd.DataFrame, rows: str, positives: str) -> torch.Tensor:
    """Rows by segment and label, int64 [S + 1, 2]; row 0 is no segment."""
    values = table[[rows, positives]].astype("int64").to_numpy()
    if table["segment"].notna().all():
        values = np.concatenate([np.zeros((1, 2), dtype=np.int64), values])
    return torch.tensor(np.stack([values[:, 0] - values[:, 1], values[:, 1]], axis=1))
