"""What was known of the labels at a cut in time, before the log ended."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.labels import delay_of, time_unit, with_label
from reweight.build_samples.sampling import Sampling, sample_ids

# When label event and undo of a sample happened, as far as that was known at a cut.
KNOWN_TIMES = ("_known_label_time", "_known_undo_time")


def with_known_times(
    samples: DataFrame, events: DataFrame, sampling: Sampling, cut: int
) -> DataFrame:
    """Adds ``KNOWN_TIMES``: those of a log that ends at the cut, null for later samples.

    With an undo they do not follow from the times in the whole log: a purchase that is taken back
    after the cut, and followed by another, was the label event at the cut and is none at the end.

    Args:
        samples: the samples with ``sample_id``.
        events: the events of which they were made.
        sampling: the section.
        cut: the time, in seconds since 1970.
    """
    end = F.timestamp_seconds(F.lit(cut))
    then = with_label(events.where(F.col("event_time") < end), sampling, end)
    times = zip(("label_time", "undo_time"), KNOWN_TIMES, strict=True)
    known = then.select(
        sample_ids(then, sampling).alias("sample_id"),
        *[F.col(time).alias(name) for time, name in times],
    )
    # Ids that are there twice are refused by their number, which a join must not change.
    return samples.join(known.dropDuplicates(["sample_id"]), on="sample_id", how="left")


def as_known(samples: DataFrame, first: int, window: int | None, undo: int) -> DataFrame:
    """The rows; those before the first cut with what was known then, unsettled without a window."""
    begins = F.unix_seconds("event_time")
    before = begins < first
    label_time, undo_time = _known_times(samples, first)
    passed = (F.lit(first) - begins) / time_unit(window)
    if window:
        passed = F.least(F.lit(1.0 + undo / window), passed)
    known = {
        "label": (label_time.isNotNull() & undo_time.isNull()).cast("float"),
        "label_time": label_time,
        "undo_time": undo_time,
        "mature": begins + window + undo < first if window else F.lit(False),
        "elapsed": passed,
        "delay": delay_of(window, label_time),
        "undone": delay_of(window, undo_time),
    }
    return samples.withColumns(
        {name: F.when(before, value).otherwise(F.col(name)) for name, value in known.items()}
    )


def _known_times(samples: DataFrame, first: int) -> tuple[Column, Column]:
    """The times of label event and undo that were known at the first cut."""
    if KNOWN_TIMES[0] in samples.columns:
        return F.col(KNOWN_TIMES[0]), F.col(KNOWN_TIMES[1])
    # Without an undo, a later end of the log adds no other label event.
    arrived = F.unix_seconds("label_time") < first
    return F.when(arrived, F.col("label_time")), F.lit(None).cast("timestamp")


def opened(samples: DataFrame, cuts: Sequence[int], window: int | None) -> list[int]:
    """How many label windows are open at each cut; of samples that ``with_split`` has not changed.

    At the second cut a label event counts that came after the first one.
    """
    if not cuts:
        return []
    row = samples.agg(*[F.count(F.when(open_at(cut, window), 1)) for cut in cuts]).first()
    assert row is not None
    return list(row)


def open_at(cut: int, window: int | None) -> Column:
    """Whether the label window of a row is open at the cut; without one, until the label event."""
    begins = F.unix_seconds("event_time")
    if window is None:
        arrived = F.coalesce(F.unix_seconds("label_time") < cut, F.lit(False))
        return (begins < cut) & ~arrived
    return (begins < cut) & (begins + window >= cut)
