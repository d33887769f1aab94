"""Sequences: the last events of a user, or of any other key, before a sample.

A sequence holds the events of whole seconds before the sample's own second, exactly: events of the
same second have no order that a log could be trusted with. No task holds all events of a key. Per
key and second only the last L events are kept, before they are sorted together; per key and hour
only those at its end, which are carried to later hours. So a key with a billion events is at most
3,600 rows of an hour, and one row for each hour, whichever task it meets.
"""

from functools import reduce

from pydantic import Field
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.build_samples.collapse import known_at
from reweight.build_samples.hashed_ids import Categorical, hashed
from reweight.core.section import Name, Names, Section, Sql
from reweight.core.sequences import NO_EVENT, SEQUENCE, SequenceShape

_SPAN = 3600
_EVENTS = "array<struct<time: bigint, tie: bigint, ids: array<int>>>"


class EventSequence(Section):
    """The last events before a sample that share its keys, oldest first.

    Attributes:
        keys: columns in which events and sample are equal (user; user and category).
        length: number of events, L; of more events the last ones count, and shorter sequences are
            padded.
        fields: what is known of an event: expressions over its columns, as hashed ids. A field with
            the value and the buckets of one of ``categorical`` shares its embedding. How long
            before the sample an event was, as log(1 + seconds), is always there.
        where: condition on the events that count.
    """

    keys: Names = Field(min_length=1)
    length: int = Field(default=20, ge=1, le=200)
    fields: dict[Name, Categorical] = Field(min_length=1)
    where: Sql = "true"

    def shape(self, categorical: dict[str, Categorical]) -> SequenceShape:
        """What models need to know.

        Args:
            categorical: the categorical features of the samples.
        """
        places = {field: place for place, field in reversed(list(enumerate(categorical.values())))}
        return SequenceShape(
            length=self.length,
            fields={name: field.buckets for name, field in self.fields.items()},
            shared={name: places[f] for name, f in self.fields.items() if f in places},
        )


def without_sequence(samples: DataFrame) -> DataFrame:
    """Adds the columns of a sequence, null."""
    kinds = zip(SEQUENCE, ("array<int>", "array<float>"), strict=True)
    return samples.withColumns({name: F.lit(None).cast(kind) for name, kind in kinds})


def with_sequence(samples: DataFrame, latest: DataFrame, sequence: EventSequence) -> DataFrame:
    """Adds ``sequence_ids`` array<int>[L F] and ``sequence_gaps`` array<float>[L].

    The fields of an event stand together. Entries without an event are at the end, with the ids 0
    and the gap -1.

    Args:
        samples: the samples.
        latest: output of ``latest_before``.
        sequence: the section.
    """
    ids, gaps = SEQUENCE
    timed = samples.withColumn("_second", F.unix_seconds("event_time"))
    joined = timed.join(latest, on=[*sequence.keys, "_second"], how="left")
    last_events = F.coalesce("_known", F.array().cast(_EVENTS))
    missing = F.lit(sequence.length) - F.size("_known")
    now = F.unix_micros("event_time")
    zeros = F.array_repeat(F.lit(0), (missing * len(sequence.fields)).cast("int"))
    return (
        joined.withColumn("_known", last_events)
        .withColumns(
            {
                ids: F.concat(F.flatten(F.transform("_known", lambda e: e["ids"])), zeros),
                gaps: F.concat(
                    F.transform("_known", lambda e: F.log1p((now - e["time"]) / 1e6)),
                    F.array_repeat(F.lit(NO_EVENT), missing.cast("int")),
                ).cast("array<float>"),
            }
        )
        .drop("_known", "_second")
    )


def latest_before(samples: DataFrame, events: DataFrame, sequence: EventSequence) -> DataFrame:
    """``_known``: the last events, one row for each key and second of the samples."""
    keys, length = list(sequence.keys), sequence.length
    spans = [*keys, "_span"]
    keyed = reduce(Column.__and__, [F.col(k).isNotNull() for k in keys])
    moments = samples.where(keyed).select(*_moment(sequence)).distinct()
    seconds = _with_state(_by_second(events.where(keyed), sequence), spans, "_second", length)
    hours = seconds.groupBy(*spans).agg(F.max_by("_state", "_second").alias("_last"))
    hours = _with_state(hours, keys, "_span", length)
    within = _before(seconds, moments, spans, "_second", "_within")
    earlier = _before(hours, moments.select(*spans).distinct(), keys, "_span", "_earlier")
    states = within.join(earlier, on=spans, how="inner")
    none = F.array().cast(_EVENTS)
    last_events = F.concat(F.coalesce("_earlier", none), F.coalesce("_within", none))
    return states.select(*keys, "_second", _newest(last_events, length).alias("_known"))


def _by_second(events: DataFrame, sequence: EventSequence) -> DataFrame:
    """``_last``: the last events of each key and second, oldest first."""
    ids = F.array(*[hashed(field) for field in sequence.fields.values()])
    time = known_at(events)
    # By time, then by what the event is: events that are equal in both are interchangeable.
    event = F.struct(
        F.unix_micros(time).alias("time"), F.xxhash64(ids).alias("tie"), ids.alias("ids")
    )
    happened = events.where(F.expr(sequence.where)).select(
        *_moment(sequence, time), event.alias("_event")
    )
    moment = [*sequence.keys, "_span", "_second"]
    newest_first = Window.partitionBy(*moment).orderBy(F.desc("_event"))
    # The limit is a constant, so that each task can drop rows before sorting.
    last = happened.withColumn("_rank", F.row_number().over(newest_first)).where(
        F.col("_rank") <= sequence.length
    )
    return last.groupBy(*moment).agg(F.array_sort(F.collect_list("_event")).alias("_last"))


def _with_state(happened: DataFrame, keys: list[str], order: str, length: int) -> DataFrame:
    """Adds ``_state``: the last events up to the end of each row's time."""
    # Each row has an event, so that no more rows are needed than events.
    recent = Window.partitionBy(*keys).orderBy(order).rowsBetween(1 - length, 0)
    state = _newest(F.flatten(F.collect_list("_last").over(recent)), length)
    return happened.withColumn("_state", state)


def _before(
    happened: DataFrame, moments: DataFrame, keys: list[str], order: str, name: str
) -> DataFrame:
    """Adds to the times that are asked for the state before them, null if nothing happened."""
    states = happened.select(*keys, order, "_state", F.lit(False).alias("_asked"))
    rows = states.unionByName(moments.withColumn("_asked", F.lit(True)), allowMissingColumns=True)
    before = Window.partitionBy(*keys).orderBy(order).rangeBetween(Window.unboundedPreceding, -1)
    with_states = rows.withColumn(name, F.last("_state", ignorenulls=True).over(before))
    return with_states.where("_asked").drop("_asked", "_state")


def _newest(events: Column, length: int) -> Column:
    """The last elements of an array."""
    return F.slice(events, F.greatest(F.size(events) - length, F.lit(0)) + 1, F.lit(length))


def _moment(sequence: EventSequence, time: Column | str = "event_time") -> list[Column]:
    """Keys, hour and second of an event or a sample."""
    second = F.unix_seconds(time)
    span = F.floor(second / _SPAN).cast("long")
    return [*[F.col(k) for k in sequence.keys], span.alias("_span"), second.alias("_second")]
