"""The label of a sample: whether a label event follows it, when, and whether that is settled.

A label event may be taken back by a later one, as a purchase is by a refund: the label event is to
its undo what a sample is to its label event, so the same pass finds both.
"""

from functools import reduce

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from reweight.build_samples.collapse import event_columns
from reweight.build_samples.sampling import Label, Sampling, identity
from reweight.core.hashing import hash_values

_DAY = 86_400


def time_unit(window: int | None) -> int:
    """The unit of ``elapsed`` and ``delay`` in seconds: the label window; without one, a day."""
    return window or _DAY


def with_label(events: DataFrame, sampling: Sampling, log_end: Column) -> DataFrame:
    """The samples: anchors with their ``LABEL_COLUMNS``.

    A sample is mature if its label window, and that of an undo, closed before the log ended. A
    positive whose window is still open is *not* mature either: keeping early positives while
    dropping the negatives beside them would raise the label rate of the newest days. ``elapsed`` is
    the share of the window that had passed when the log ended, above 1 in the time in which a label
    event may still be taken back; ``delay`` is when in the window the label event arrived, as a
    share of it, null where none did, and ``undone`` when it was taken back. Without a window,
    all are in days.

    ``_label_rank`` numbers the samples with the same label event from 1, from the last one, or
    with ``attribute: first`` from the first one.

    Args:
        events: the events, collapsed if configured.
        sampling: the section.
        log_end: time of the last event, timestamp; null if the log has no times.
    """
    label = sampling.label
    if label.value is not None:
        samples = events.where(sampling.anchor)
        value = F.expr(label.value).cast("float")
        has_label = value.isNotNull()
        text = F.expr(f"CAST(({label.value}) AS string)")
        timed = "event_time" in events.columns
        return samples.withColumns(
            {
                "label": value,
                "label_time": F.col("event_time") if timed else F.lit(None).cast("timestamp"),
                "undo_time": F.lit(None).cast("timestamp"),
                "mature": has_label,
                "elapsed": has_label.cast("double"),
                "delay": F.lit(None).cast("double"),
                "undone": F.lit(None).cast("double"),
                "_label_text": F.when(~has_label & (F.trim(text) != ""), text),
                "_same_time": F.lit(False),
                "_label_rank": F.lit(None).cast("int"),
            }
        )
    begin, unit = F.unix_micros("event_time"), time_unit(label.window) * 1_000_000
    passed = (F.unix_micros(log_end) - begin) / unit
    settled = begin + (label.settles or 0) * 1_000_000 <= F.unix_micros(log_end)
    lasting = F.col("label_time").isNotNull() & F.col("undo_time").isNull()
    return _with_label_event(events, sampling).withColumns(
        {
            "label": lasting.cast("float"),
            "mature": settled if label.window else F.lit(True),
            "elapsed": F.least(F.lit(label.longest), passed) if label.window else passed,
            "delay": delay_of(label.window, "label_time"),
            "undone": delay_of(label.window, "undo_time"),
            "_label_text": F.lit(None).cast("string"),
        }
    )


def delay_of(window: int | None, time: Column | str) -> Column:
    """A time since the sample, as a share of the label window; without one, in days."""
    begin, unit = F.unix_micros("event_time"), time_unit(window) * 1_000_000
    return (F.unix_micros(time) - begin) / unit


def label_event(sampling: Sampling) -> str:
    """The condition on label events, or on samples that carry the label 1."""
    label = sampling.label
    # The label of a row may be a number or a condition.
    return label.where or f"({sampling.anchor}) AND CAST(({label.value}) AS float) = 1"


def _with_label_event(events: DataFrame, sampling: Sampling) -> DataFrame:
    """Anchors with the time of the first label event after each, in one linear pass.

    A label event goes into its own time bucket (as long as the label window) and the one before, so
    that an anchor finds its label event in one bucket, and a hot key is cut into buckets by time.
    """
    label = sampling.label
    hit = F.expr(label.where or "false") & _has_all_keys(label.keys)
    micros = F.unix_micros("event_time")
    width = (label.window or 0) * 1_000_000
    bucket = F.floor(micros / width).cast("long") if width else F.lit(0).cast("long")
    near = (0, -1, 1) if label.attribute == "first" else (0, -1)
    hits = _hits(events, sampling, hit)
    places = _places(bucket, near, width)
    if label.undo is not None and sampling.may_share and label.attribute != "first":
        # A bucket also has the anchors of the next one, which would compete for a label event that
        # was taken back, did they not see the one two buckets later that lasts.
        lasting = F.col("_undo").isNull()
        places = F.when(lasting, _places(bucket, (*near, -2), width)).otherwise(places)
    hits = hits.select("*", F.explode(places).alias("_bucket"))
    hits = hits.select(*label.keys, "event_time", "_bucket", F.lit(False).alias("_anchor"), "_undo")
    anchors_and_hits = _anchors(events, sampling, hit, bucket).unionByName(
        hits, allowMissingColumns=True
    )
    # Newest first, so that the frame of strictly later rows grows instead of being rebuilt.
    keys = Window.partitionBy(*label.keys, "_bucket", "_spread").orderBy(micros.desc())
    later = keys.rangeBetween(Window.unboundedPreceding, -1)
    following, undone = _following(label, micros, width, later)
    hits_now = F.count(F.when(~F.col("_anchor"), 1)).over(keys.rangeBetween(0, 0))
    anchors_and_hits = anchors_and_hits.withColumns(
        {"_next": following, "_undone": undone, "_same_time": hits_now > F.col("_itself")}
    )
    if label.same_time == "after":
        anchors_and_hits = anchors_and_hits.withColumn(
            "_next", F.when(F.col("_same_time"), micros).otherwise(F.col("_next"))
        )
    in_time = F.col("_next") <= micros + width if width else F.col("_next").isNotNull()
    anchors_and_hits = anchors_and_hits.withColumn("_in_time", in_time & F.col("_anchor"))
    rank, attributed = _rank(sampling), F.col("_in_time")
    if label.attribute is not None:
        attributed &= F.col("_label_rank") == 1
    samples = anchors_and_hits.withColumn("_label_rank", rank).where("_own")
    for name, column in (("label_time", "_next"), ("undo_time", "_undone")):
        samples = samples.withColumn(name, F.timestamp_micros(F.when(attributed, F.col(column))))
    used = ("_bucket", "_itself", "_anchor", "_own", "_spread", "_tie", "_next", "_in_time")
    return samples.drop(*used, "_undo", "_undone")


def _hits(events: DataFrame, sampling: Sampling, hit: Column) -> DataFrame:
    """The label events with ``_undo``: when they were taken back, in microseconds."""
    label, undo = sampling.label, sampling.label.undo
    if undo is None:
        return events.where(hit).withColumn("_undo", F.lit(None).cast("long"))
    back = Label(where=undo.where, keys=undo.keys or label.keys, window=undo.window)
    taken = Sampling(anchor=label.where or "false", key=sampling.key, label=back)
    undone = _with_label_event(events, taken).where(_has_all_keys(label.keys))
    return undone.withColumn("_undo", F.unix_micros("label_time"))


def _following(
    label: Label, micros: Column, width: int, later: WindowSpec
) -> tuple[Column, Column]:
    """The first label event that is not taken back, or else the first one; and when it was."""
    hit, undo = ~F.col("_anchor"), F.col("_undo")
    if label.undo is None:
        return F.min(F.when(hit, micros)).over(later), F.lit(None).cast("long")
    lasting = F.min(F.when(hit & undo.isNull(), micros)).over(later)
    lasts = lasting.isNotNull() & (lasting <= micros + width if width else F.lit(True))
    first = F.min(F.when(hit, F.struct(micros.alias("at"), undo.alias("back")))).over(later)
    return F.when(lasts, lasting).otherwise(first["at"]), F.when(~lasts, first["back"])


def _anchors(events: DataFrame, sampling: Sampling, hit: Column, bucket: Column) -> DataFrame:
    """The anchors by bucket.

    Where a label event may be that of several samples, an anchor also goes into the neighbouring
    bucket, as a row of keys and time alone (not ``_own``), so that each anchor sees all of them.
    """
    label = sampling.label
    keyed = _has_all_keys(label.keys)
    keyless = F.xxhash64(*hash_values(events, event_columns(events)))
    tie = identity(events, sampling) if sampling.key else keyless
    columns = {
        # An event that is anchor and label must not find itself at its own time.
        "_itself": F.when(hit, 1).otherwise(0),
        "_tie": tie,
        # A row with a null key has no label event; a hash spreads such rows over the tasks.
        "_spread": F.when(~keyed, F.xxhash64(*sampling.key, "event_time")),
        "_bucket": bucket,
        "_own": F.lit(True),
        "_anchor": F.lit(True),
    }
    anchors = events.where(sampling.anchor).withColumns(columns)
    if not (sampling.may_share and label.window):
        return anchors
    beside = bucket + 1 if label.attribute == "first" else bucket - 1
    in_bucket, in_neighbour = F.struct(bucket, F.lit(True)), F.struct(beside, F.lit(False))
    places = F.when(keyed, F.array(in_bucket, in_neighbour)).otherwise(F.array(in_bucket))
    placed = anchors.drop("_bucket", "_own").select("*", F.inline(places).alias("_bucket", "_own"))
    everywhere = {name.lower() for name in (*label.keys, "event_time", *columns)}
    return placed.select(
        *[
            F.col(c) if c.lower() in everywhere else F.when(F.col("_own"), F.col(c)).alias(c)
            for c in placed.columns
        ]
    )


def _rank(sampling: Sampling) -> Column:
    """The place of an anchor among those with the same label event; null where there is none."""
    in_time = F.col("_in_time")
    if not sampling.may_share:
        return F.when(in_time, F.lit(1))
    label, micros = sampling.label, F.unix_micros("event_time")
    order = (micros, F.col("_tie"))
    if label.attribute != "first":
        order = (order[0].desc(), order[1].desc())
    # These rows are in one task already: only the order within it is new.
    same_event = Window.partitionBy(*label.keys, "_bucket", "_spread", "_next", "_in_time")
    return F.when(in_time, F.row_number().over(same_event.orderBy(*order)))


def _has_all_keys(keys: tuple[str, ...]) -> Column:
    return reduce(Column.__and__, [F.col(key).isNotNull() for key in keys])


def _places(bucket: Column, near: tuple[int, ...], width: int) -> Column:
    return F.array(*[bucket + step for step in near]) if width else F.array(bucket)
