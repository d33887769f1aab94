"""Events that belong together, such as the lines of an invoice, merged into one event."""

from functools import reduce

from pydantic import Field, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.expressions import KEY, check_expressions
from reweight.core.hashing import hashable, key_hash
from reweight.core.section import Name, Names, Section, Sql, repeated

# When the last part of a merged event was there, timestamp.
_COMPLETE = "_complete"
# The hash of an event that has a null in a key and so belongs to no other; null for all others.
LONE = "_lone"


class Collapse(Section):
    """Merges events that belong together (the lines of an invoice) into one event.

    Attributes:
        keys: event columns that are equal in events that belong together. A null equals nothing: an
            event with a null key is merged with none, but with those that equal it in all columns.
        columns: columns of the merged event, as aggregate expressions, including ``event_time``
            unless the log has no times.
    """

    keys: Names = Field(min_length=1)
    columns: dict[Name, Sql] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "Collapse":
        if twice := repeated([*self.keys, *self.columns]):
            raise ValueError(f"columns of the merged event are there twice: {twice}")
        if taken := [name for name in self.columns if name.startswith("_")]:
            raise ValueError(f"columns {taken}: names with a leading `_` are reserved")
        return self


def collapsed(events: DataFrame, collapse: Collapse | None) -> DataFrame:
    """The events, with those that belong together merged into one row.

    A merged event also has columns of the library, with a leading ``_``: ``LONE``, and when it may
    count (``known_at``).

    Raises:
        SourceError: keys or expressions do not fit the events.
    """
    if collapse is None:
        return events
    keys = {f"collapse.keys.{k}": k for k in collapse.keys}
    check_expressions(events, keys, used_as=dict.fromkeys(keys, KEY))
    columns = collapse.columns
    merged_columns = {f"collapse.columns.{k}": v for k, v in columns.items()}
    check_expressions(events, merged_columns, by=collapse.keys)
    aggregates = [F.expr(sql).alias(name) for name, sql in columns.items()]
    timed = "event_time" in events.columns and "event_time" in columns
    if timed:
        aggregates.append(F.max("event_time").alias(_COMPLETE))
    merged = events.groupBy(*collapse.keys, _lone(events, collapse)).agg(*aggregates)
    return merged.withColumn(_COMPLETE, F.greatest("event_time", _COMPLETE)) if timed else merged


def _lone(events: DataFrame, collapse: Collapse) -> Column:
    null_key = reduce(Column.__or__, [F.col(key).isNull() for key in collapse.keys])
    return F.when(null_key, key_hash(*hashable(events))).alias(LONE)


def event_columns(events: DataFrame) -> list[str]:
    """The columns that the log and the config gave the events."""
    return [name for name in events.columns if not name.startswith("_")]


def known_at(events: DataFrame) -> Column:
    """When an event may count for later samples: a merged one once its last part was there.

    Its columns are of all its parts, so at its own time, such as ``min(event_time)``, they tell of
    what was yet to come.
    """
    return F.col(_COMPLETE if _COMPLETE in events.columns else "event_time")
