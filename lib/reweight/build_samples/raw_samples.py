"""Events -> labelled samples: those of a whole log, or of a few days."""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples import encoding, labels, negatives, splits
from reweight.build_samples.features import Features
from reweight.build_samples.sampling import LABEL_COLUMNS, Sampling, with_identity
from reweight.build_samples.splits import Splits
from reweight.build_samples.texts import check_encoders
from reweight.core.expressions import unread
from reweight.core.sequences import SEQUENCE
from reweight.core.tables import SAMPLES


def labelled(
    events: DataFrame, sampling: Sampling, features: Features, split: Splits, log_end: Column
) -> DataFrame:
    """The samples with their labels and ids; checks the expressions of the sections.

    Args:
        events: the events, collapsed if configured, which ``check_sampling`` has passed.
        sampling: the section.
        features: the section.
        split: the section ``splits``.
        log_end: time of the last event, timestamp; null if the log has no times.

    Raises:
        SourceError: an expression does not fit.
        SetupError: an encoder of texts is not installed.
    """
    samples = labels.with_label(events, sampling, log_end)
    negatives.check_rate(samples, sampling)
    # A feature must not use the label or its time.
    without_labels = samples.drop(*LABEL_COLUMNS)
    check_encoders(features.text)
    encoding.check_features(without_labels, events, features)
    splits.check_conditions(without_labels.transform(with_identity, sampling), split)
    return samples.transform(with_identity, sampling).transform(
        negatives.with_design_weight, sampling
    )


def facts(samples: DataFrame, sampling: Sampling, features: Features) -> dict[str, int]:
    """Counts of the samples, by which they are checked.

    Args:
        samples: with raw features.
        sampling: the section.
        features: the section.
    """
    mature = F.col("mature")
    lost_kept = {f"keep.{c[8:]}": F.col(c) for c in samples.columns if c.startswith("_unread_")}
    numeric = unread(samples, features.numeric, "double")
    lost = lost_kept | {f"numeric.{name}": value for name, value in numeric.items()}
    null_key = [F.col(k).isNull() for k in sampling.key]
    rates = negatives.rate_facts(sampling)
    counts = samples.agg(
        F.count(F.lit(1)).alias("rows"),
        F.count_distinct("sample_id").alias("ids"),
        F.count("group_id").alias("groups"),
        F.count(F.when(mature, 1)).alias("mature"),
        F.count(F.when(mature & (F.col("label") == 1), 1)).alias("positives"),
        F.count(F.when(mature & (F.col("label") == 0), 1)).alias("negatives"),
        F.count("_label_text").alias("unread"),
        F.count(F.when(F.col("_same_time"), 1)).alias("same_time"),
        F.count("undo_time").alias("undone"),
        # The first and the second of the samples with the same label event.
        F.count(F.when(F.col("_label_rank") == 1, 1)).alias("label_events"),
        F.count(F.when(F.col("_label_rank") == 2, 1)).alias("shared_events"),
        F.count(F.when(F.get(F.col(SEQUENCE[1]), F.lit(0)) >= 0, 1)).alias("preceded"),
        F.count(F.when(reduce(Column.__or__, null_key, F.lit(False)), 1)).alias("null_keys"),
        *[F.count(F.when(value, 1)).alias(f"lost {name}") for name, value in lost.items()],
        *[F.count(F.when(value, 1)).alias(name) for name, value in rates.items()],
    ).first()
    assert counts is not None
    return counts.asDict()


def table_rows(encoded: DataFrame) -> DataFrame:
    """Rows of the table ``samples``.

    Args:
        encoded: samples with their split and features.
    """
    if "event_time" not in encoded.columns:
        encoded = encoded.withColumn("event_time", F.lit(None).cast("timestamp"))
    columns = SAMPLES.columns()
    assert columns is not None
    return encoded.select(*columns.names[1:])
