"""Events -> samples: which events are training rows, and what their labels are.

Two shapes. *From events*: an anchor event (impression, click, invoice) is a sample, and its label
is whether a label event with the same keys follows within a window. *From rows*: every event is a
sample and carries its label.
"""

from functools import reduce
from typing import Literal

from pydantic import Field, model_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.core.errors import SampleError, SourceError
from reweight.core.expressions import check_expressions
from reweight.core.section import Name, Seconds, Section, Sql


class Collapse(Section):
    """Several events that are one thing (the lines of an invoice) made one event.

    Attributes:
        keys: event columns that name the thing.
        columns: columns of the one event, as aggregate expressions; ``event_time`` among them.
    """

    keys: tuple[Name, ...] = Field(min_length=1)
    columns: dict[Name, Sql]

    @model_validator(mode="after")
    def _has_time(self) -> "Collapse":
        if "event_time" not in self.columns:
            raise ValueError("expected a column `event_time`, as min(event_time)")
        return self


class Label(Section):
    """What makes a sample positive.

    Attributes:
        where: condition on the event that follows (from events).
        keys: columns in which it equals the anchor.
        window: how long after the anchor it may come; None for until the log ends, which is right
            only where the log holds whole sessions.
        value: expression that is the label itself, 0/1 or boolean (from rows).
    """

    where: Sql | None = None
    keys: tuple[Name, ...] = ()
    window: Seconds | None = None
    value: Sql | None = None

    @model_validator(mode="after")
    def _one_shape(self) -> "Label":
        if (self.where is None) == (self.value is None):
            raise ValueError("expected either `where` and `keys`, or `value`")
        if self.where is not None and not self.keys:
            raise ValueError("expected `keys`: the columns that tie a label event to its sample")
        return self


class Sampling(Section):
    """The section ``sampling``.

    Attributes:
        collapse: makes one event of several before anything else.
        anchor: condition on the events that are samples.
        key: the natural key of a sample; its 64-bit hash is ``sample_id`` and must be unique.
            Empty where rows have no identity (equal rows are different samples): then the hash is
            of the whole row and of its number among equal rows.
        group: expression whose equal values are one group (user, session); None where every
            sample is a group of its own.
        label: what makes a sample positive.
        segment: expression for slices of the report (user group, country).
        keep: further columns that methods may use, as expressions.
    """

    collapse: Collapse | None = None
    anchor: Sql = "true"
    key: tuple[Name, ...] = ()
    group: Sql | None = None
    label: Label
    segment: Sql = "cast(null as string)"
    keep: dict[Literal["position", "propensity", "value"], Sql] = {}


# What tells of the label, and changes with the day on which the log ends.
LABEL_COLUMNS = ("label", "label_time", "mature", "elapsed", "delay")

_KEPT = {"position": "int", "propensity": "double", "value": "double"}
# What a sample has of its own, whatever its event says.
_OWN = (*LABEL_COLUMNS[1:], "sample_id", "group_id", "split", "target", "features", "ids")


def collapsed(events: DataFrame, sampling: Sampling) -> DataFrame:
    """The events, with those that are one thing made one row."""
    if sampling.collapse is None:
        return events
    check_expressions(events, {f"collapse.keys.{k}": k for k in sampling.collapse.keys})
    columns = sampling.collapse.columns
    check_expressions(events, {f"collapse.columns.{k}": v for k, v in columns.items()})
    aggregates = [F.expr(sql).alias(name) for name, sql in columns.items()]
    return events.groupBy(*sampling.collapse.keys).agg(*aggregates)


def check_sampling(events: DataFrame, sampling: Sampling) -> None:
    """Checks the names of the events' columns, and every expression of the section on them.

    Raises:
        SourceError: a column would be replaced by one that samples have of their own, or some
            expressions do not fit; all of them are named together.
    """
    label = sampling.label
    said: dict[str, str | None] = dict.fromkeys(_KEPT) | {"segment": sampling.segment}
    said |= {str(name): sql for name, sql in sampling.keep.items()}
    taken = [c for c in events.columns if c in _OWN or said.get(c, c) != c]
    if taken:
        raise SourceError(
            "columns of the events have names that samples give to something else",
            expected=f"any names but {list(_OWN)}; and {list(said)} only where the section "
            "sampling takes them as they are",
            got=str(taken),
            fix="name them otherwise in cleaning.columns, or set sampling.keep.position: position, "
            "and others in the same way",
        )
    wanted: dict[str, str | None] = {
        "anchor": sampling.anchor,
        "group": sampling.group,
        "segment": sampling.segment,
        "label.where": label.where,
        "label.value": label.value,
        **{f"keep.{k}": v for k, v in sampling.keep.items()},
        **{f"key.{k}": k for k in sampling.key},
        **{f"label.keys.{k}": k for k in label.keys},
    }
    check_expressions(events, {k: v for k, v in wanted.items() if v is not None})


def with_label(events: DataFrame, sampling: Sampling, log_end: Column) -> DataFrame:
    """The samples: anchors with ``label``, ``label_time``, ``mature``, ``elapsed`` and ``delay``.

    A sample is mature when its window was over before the log ended. A positive whose window is
    still open is *not* mature either: to keep early positives and drop the negatives beside them
    would raise the label rate of the newest days. ``elapsed`` is how much of the window was over
    when the log ended, as a share of it; ``delay`` when in it the label got, null where none did.

    Args:
        events: (collapsed) events.
        sampling: the section.
        log_end: time of the last event, timestamp.
    """
    label = sampling.label
    if label.value is not None:
        samples = events.where(sampling.anchor)
        value = F.expr(label.value).cast("float")
        known = value.isNotNull()
        return samples.withColumns(
            {
                "label": value,
                "label_time": F.col("event_time"),
                "mature": known,
                "elapsed": known.cast("double"),
                "delay": F.lit(None).cast("double"),
            }
        )
    samples = _with_next_time(events, sampling)
    window = label.window
    found = F.col("label_time").isNotNull()
    if window is None:
        return samples.withColumns(
            {
                "label": found.cast("float"),
                "mature": F.lit(True),
                "elapsed": F.lit(1.0),
                "delay": F.lit(None).cast("double"),
            }
        )
    begin, width = F.unix_micros("event_time"), window * 1_000_000
    return samples.withColumns(
        {
            "label": found.cast("float"),
            "mature": begin + width <= F.unix_micros(log_end),
            "elapsed": F.least(F.lit(1.0), (F.unix_micros(log_end) - begin) / width),
            "delay": (F.unix_micros("label_time") - begin) / width,
        }
    )


def label_event(sampling: Sampling) -> str:
    """The condition on an event that is a label, or a sample whose own label is 1."""
    label = sampling.label
    # The label of a row may be a number as well as a condition.
    return label.where or f"({sampling.anchor}) AND CAST(({label.value}) AS float) = 1"


def with_identity(samples: DataFrame, sampling: Sampling) -> DataFrame:
    """Adds ``sample_id``, ``group_id``, ``segment`` and the kept columns."""
    if sampling.key:
        sample_id = F.xxhash64(*sampling.key)
    else:
        # Of what the log says: whether a label has come meanwhile makes no other row of it. A hash
        # passes over nulls, so where they stand is hashed too.
        said = [c for c in samples.columns if c not in LABEL_COLUMNS]
        content = F.xxhash64(*said, F.array(*[F.col(c).isNull() for c in said]))
        number = F.row_number().over(Window.partitionBy(content).orderBy(F.lit(0)))
        sample_id = F.xxhash64(content, number)
    kept = {
        name: F.expr(sampling.keep.get(name, "null")).cast(kind)  # type: ignore[call-overload]
        for name, kind in _KEPT.items()
    }
    return samples.withColumns(
        {
            "sample_id": sample_id,
            "group_id": (F.expr(sampling.group) if sampling.group else sample_id).cast("string"),
            "segment": F.expr(sampling.segment).cast("string"),
            **kept,
        }
    )


def check_samples(facts: dict[str, int]) -> None:
    """Demands unique ids, groups for all, and no other labels than 0 and 1.

    Args:
        facts: ``rows``, ``ids`` (distinct), ``groups`` (rows that have one), ``mature`` rows, and
            of these ``positives`` and ``negatives``.

    Raises:
        SampleError: one of them fails.
    """
    rows = facts["rows"]
    if rows == 0:
        raise SampleError(
            "no event is a sample",
            expected="events for which `sampling.anchor` is true",
            got="none",
            fix="check the condition against the values of the events table",
        )
    if facts["ids"] != rows:
        raise SampleError(
            "sample_id is not unique",
            expected=f"{rows} distinct values of `sampling.key`",
            got=f"{facts['ids']}",
            fix="add the column that tells the samples apart to `sampling.key`, or reject "
            "duplicates in cleaning",
        )
    if facts["groups"] != rows:
        raise SampleError(
            "samples without a group",
            expected="a value of `sampling.group` for each of the samples",
            got=f"null for {rows - facts['groups']} of {rows}",
            fix="require the column in cleaning, or coalesce it to a value of its own",
        )
    if other := facts["mature"] - facts["positives"] - facts["negatives"]:
        raise SampleError(
            "labels that are neither 0 nor 1",
            expected="0, 1, true or false from `sampling.label.value`; null for not known yet",
            got=f"another number for {other} of {facts['mature']} samples",
            fix="write it as a condition, as `rating >= 4`",
        )


def check_classes(facts: dict[str, int]) -> None:
    """Demands settled labels of both classes, which only rows to learn from need.

    Args:
        facts: as of ``check_samples``.

    Raises:
        SampleError: there are none, or of one class.
    """
    if facts["mature"] == 0:
        raise SampleError(
            "no sample has a label that is settled",
            expected="samples whose label window was over before the log ended",
            got=f"none of {facts['rows']}",
            fix="use a log that is longer than `sampling.label.window`, or a shorter window; check "
            "`sampling.label.value` if it is that which is never known",
        )
    if min(facts["positives"], facts["negatives"]) == 0:
        raise SampleError(
            "the mature samples have only one class",
            expected="labels 0 and 1",
            got=f"{facts['positives']} positive, {facts['negatives']} negative",
            fix="check `sampling.label` and its window",
        )


def _with_next_time(events: DataFrame, sampling: Sampling) -> DataFrame:
    """Anchors with the time of the first label event after each, one linear pass.

    Label events go to the time bucket (as long as the window) of their own and to the one before,
    so that an anchor finds its own in one bucket, and the history of a hot key is cut by time.
    """
    label = sampling.label
    anchor, hit = F.expr(sampling.anchor), F.expr(label.where or "false")
    micros = F.unix_micros("event_time")
    width = (label.window or 0) * 1_000_000
    bucket = F.floor(micros / width).cast("long") if width else F.lit(0).cast("long")
    earlier = F.array(bucket, bucket - 1) if width else F.array(bucket)
    keyed = reduce(Column.__and__, [F.col(k).isNotNull() for k in label.keys])
    anchors = events.where(anchor).select(
        "*", bucket.alias("_bucket"), F.lit(True).alias("_anchor")
    )
    hits = events.where(hit & keyed).select("*", F.explode(earlier).alias("_bucket"))
    hits = hits.select(*label.keys, "event_time", "_bucket", F.lit(False).alias("_anchor"))
    # A row of a null key can have no label event: its own hash keeps such rows from one task.
    spread = F.when(~keyed & F.col("_anchor"), F.xxhash64(*sampling.key, "event_time"))
    both = anchors.unionByName(hits, allowMissingColumns=True).withColumn("_spread", spread)
    # Newest first, so that the frame of strictly later rows grows and is not built anew each time.
    later = (
        Window.partitionBy(*label.keys, "_bucket", "_spread")
        .orderBy(F.unix_micros("event_time").desc())
        .rangeBetween(Window.unboundedPreceding, -1)
    )
    following = F.min(F.when(~F.col("_anchor"), F.unix_micros("event_time"))).over(later)
    both = both.withColumn("_next", following)
    in_time = F.col("_next") <= micros + width if width else F.lit(True)
    label_time = F.timestamp_micros(F.when(in_time, F.col("_next")))
    samples = both.where("_anchor").withColumn("label_time", label_time)
    return samples.drop("_bucket", "_anchor", "_spread", "_next")
