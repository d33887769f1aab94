"""The section ``cleaning``: how raw logs become events."""

from datetime import datetime
from typing import Any

from pydantic import Field, field_validator, model_validator

from reweight.clean_logs.sources import Source
from reweight.core.section import Name, Names, Section, Sql, Texts, repeated
from reweight.core.sql_calls import words

# Reasons that do not come from a rule of the config.
REASONS = frozenset({"malformed", "undecodable", "duplicate", "duplicate_key"})


class Lookup(Section):
    """A small table of facts about a key, joined to the events (items, shops, campaigns).

    Attributes:
        source: location of the table.
        keys: event column -> expression over the table that it must equal.
        columns: new event column -> expression over the table.
        line_number: name for the number of each row in its file, for a file with a line per item
            and no key. The first line is 1, or the first one below the header; with ``line_number:
            line``, ids that begin at 0 are ``keys: {item_id: line - 1}``. Only for a single CSV or
            JSON file.
    """

    source: Source
    keys: dict[Name, Sql] = Field(min_length=1)  # not `on`, which YAML reads as true
    columns: dict[Name, Sql] = Field(min_length=1)
    line_number: Name | None = None

    @model_validator(mode="after")
    def _numbers_lines(self) -> "Lookup":
        column = self.line_number
        if column is None:
            return self
        if self.source.kind not in ("csv", "json"):
            raise ValueError(
                f"line_number: expected a csv or json file, since the rows of a {self.source.kind} "
                "source have no order; make the number a column of it"
            )
        if self.source.explode is not None:
            raise ValueError("line_number: a source with `explode` has several rows a line")
        used = [
            word for sql in (*self.keys.values(), *self.columns.values()) for word in words(sql)
        ]
        if column.lower() not in {word.strip("`").lower() for word in used}:
            key = next(iter(self.keys))
            raise ValueError(
                f"line_number: no expression uses the column `{column}`; write keys: "
                f"{{{key}: {column}}}, or {{{key}: {column} - 1}} where ids begin at 0"
            )
        return self


class Duplicates(Section):
    """Which rows count as duplicates.

    Attributes:
        exact: whether rows of a source in which all raw fields are equal are duplicates.
        across_sources: whether rows of two sources in which all raw fields are equal are duplicates
            too, as where two exports overlap.
        keys: event columns that identify an event; rows where one is null are never duplicates.
        prefer: of rows with equal keys, one without other faults is kept; then the one with the
            smallest value of this expression (nulls last; without times there is no default), then
            with the smallest hash of the raw row.
    """

    exact: bool = True
    across_sources: bool = False
    keys: Names = ()
    prefer: Sql = "event_time"

    @model_validator(mode="after")
    def _prefers_one_of_several(self) -> "Duplicates":
        if self.prefer != "event_time" and not self.keys:
            raise ValueError(
                "`prefer` has no effect without `keys`; set the columns that identify an event"
            )
        return self


class Cleaning(Section):
    """The section ``cleaning``.

    Attributes:
        sources: name -> raw files; all are mapped by the same ``columns``. Expressions may also
            use ``source`` (the name) and ``source_file``, unless the log has columns of these
            names.
        lookups: name -> small table joined to the events.
        columns: event column -> expression over the raw columns; ``event_time`` is required,
            unless the log has no times. A time without a time zone is read as UTC.
        times: whether events have a time. With ``times: false``, ``event_time`` is left out, and
            whatever needs it is refused: splits by time, label windows, history and calendar
            features.
        required: columns that must not be null (``event_time`` never may be).
        allowed: column -> the only values that it may have.
        ranges: column -> [lowest, highest], null for no limit. Anything that is not a finite number
            is out of range.
        not_before: earliest ``event_time``, inclusive. If it is not set, times before 1970 are
            rejected, and so are the few that are further before the rest than the log is long.
        not_after: latest ``event_time``, inclusive. If it is not set, times from 2100 on are
            rejected, and so are the few rows after the end of the log: the last day with more than
            a trickle of rows, plus the longest silence that the log had before.
        reject: reason -> condition over the event columns; rows that meet it are rejected.
        duplicates: which rows count as duplicates.
        max_rejected: share of raw rows that may be rejected before the job fails.
    """

    sources: dict[Name, Source] = Field(min_length=1)
    lookups: dict[Name, Lookup] = {}
    columns: dict[Name, Sql]
    times: bool = True
    required: Names = ()
    allowed: dict[Name, Texts] = {}
    ranges: dict[Name, tuple[float | None, float | None]] = {}
    not_before: str | None = None
    not_after: str | None = None
    reject: dict[Name, Sql] = {}
    duplicates: Duplicates = Duplicates()
    max_rejected: float = Field(default=0.5, ge=0, le=1)

    @field_validator("allowed", "ranges")
    @classmethod
    def _columns_differ(cls, rules: dict[str, Any]) -> dict[str, Any]:
        if twice := repeated(rules):
            raise ValueError(f"expected one rule for each column (Spark ignores case); got {twice}")
        return rules

    @field_validator("reject")
    @classmethod
    def _reasons_are_free(cls, rules: dict[str, str]) -> dict[str, str]:
        if taken := sorted({name.lower() for name in rules} & REASONS):
            raise ValueError(f"the reasons {taken} are given by the stage itself; rename the rule")
        if twice := repeated(rules):
            raise ValueError(f"expected reasons that differ in more than case; got {twice}")
        return rules

    @field_validator("not_before", "not_after")
    @classmethod
    def _is_time(cls, time: str | None) -> str | None:
        # Spark reads some forms that Python accepts, such as 20260101, as null: no limit at all.
        return None if time is None else datetime.fromisoformat(time).isoformat(" ")

    @model_validator(mode="after")
    def _has_time(self) -> "Cleaning":
        if self.times and "event_time" not in self.columns:
            raise ValueError(
                "columns: expected a column `event_time`, in this spelling, since every event has "
                "a time; if the log has none, write cleaning: {times: false}"
            )
        using = {
            "columns.event_time": "event_time" in {name.lower() for name in self.stored_columns},
            "not_before": self.not_before is not None,
            "not_after": self.not_after is not None,
        }
        if not self.times and (needing := [key for key, used in using.items() if used]):
            raise ValueError(
                f"times: false says that the log has no times, but {needing} are set; remove "
                "them, or remove `times: false`"
            )
        return self

    @model_validator(mode="after")
    def _names_are_free(self) -> "Cleaning":
        if duplicates := repeated(self.stored_columns):
            raise ValueError(f"event columns {duplicates} are defined twice (Spark ignores case)")
        lower = [name.lower() for name in self.stored_columns]
        if taken := sorted(n for n in lower if n.startswith("_") or n == "run_id"):
            raise ValueError(
                f"event columns {taken}: `run_id` and names with a leading `_` are reserved"
            )
        return self

    @property
    def prefer(self) -> str:
        """Of events with equal keys, the one with the smallest value of it is kept."""
        default = Duplicates.model_fields["prefer"].default
        return (
            "0" if self.duplicates.prefer == default and not self.times else self.duplicates.prefer
        )

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """The event columns that the table holds: those of the sources, then of the lookups."""
        return (*self.columns, *[c for lookup in self.lookups.values() for c in lookup.columns])
