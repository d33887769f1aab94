"""The section ``cleaning``: how raw logs become events."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from reweight.clean_logs.files import WHOLE
from reweight.core.section import (
    Name,
    Names,
    Place,
    Section,
    Sql,
    TableName,
    Text,
    Texts,
    quoted,
    repeated,
)
from reweight.core.sql_calls import words

# Reasons that do not come from a rule of the config.
REASONS = frozenset({"malformed", "undecodable", "duplicate", "duplicate_key"})
_RESERVED_OPTIONS = {"mode", "columnnameofcorruptrecord", "columnpruning", "enforceschema"} | {
    option.lower() for option in WHOLE
}


# Options of Spark's CSV reader that change what is read as text; any other would be ignored.
_CSV_OPTIONS = {
    "sep", "delimiter", "encoding", "charset", "quote", "escape", "chartoescapequoteescaping",
    "comment", "header", "ignoreleadingwhitespace", "ignoretrailingwhitespace", "nullvalue",
    "emptyvalue", "multiline", "linesep", "maxcolumns", "maxcharspercolumn",
    "unescapedquotehandling", "recursivefilelookup", "pathglobfilter", "modifiedbefore",
    "modifiedafter", "locale",
}  # fmt: skip


class Source(Section):
    r"""Raw files of one format, or a table of a catalog.

    Attributes:
        path: file, folder or glob; a path that exists is taken as it is. Folders such as
            ``day=2026-01-31`` below a folder are columns, as text. Files whose names begin with
            ``_`` or ``.``, and files in other folders below it, are not read; the log and the
            stage's record name them. A file that is itself the path is read.
        format: ``csv`` (with a header, quoted as in RFC 4180), ``json`` (documents, one or more a
            line), ``parquet`` or ``delta``.
        table: instead of ``path`` and ``format``, the name of a table or view, such as
            ``main.shop.events``.
        schema_: DDL of a JSON document (required for JSON: inferring it costs a pass over the data
            and gets ids wrong), with times as text or as numbers. CSV columns are read as text.
            The expressions of ``cleaning.columns`` convert them.
        names: names of the columns of CSV files that have no header.
        compression: ``gzip``, ``bzip2``, ``zstd`` or ``deflate``, for files of text whose names do
            not end in ``.gz``, ``.bz2``, ``.zst`` or ``.deflate``.
        explode: array expression; each element becomes a row, in the column ``element``.
        where: condition over the source's columns; the other rows are no part of the log. They are
            counted, and neither events nor rejected.
        options: options of Spark's CSV reader, such as ``sep`` or ``encoding``;
            ``escape: '\'`` for files that escape quotes by a backslash, ``multiLine: 'true'`` for
            files with line breaks in quoted fields.
    """

    path: Place | None = Field(default=None, min_length=1)
    format: Literal["csv", "json", "parquet", "delta"] | None = None
    table: TableName | None = None
    schema_: str | None = Field(default=None, alias="schema")
    names: tuple[Text, ...] = ()
    compression: Literal["gzip", "bzip2", "zstd", "deflate"] | None = None
    explode: Sql | None = None
    where: Sql | None = None
    options: dict[str, Text] = {}

    @model_validator(mode="after")
    def _is_somewhere(self) -> "Source":
        if self.table is None and (self.path is None or self.format is None):
            raise ValueError("expected `path` and `format` of files, or the name of a `table`")
        if self.table is not None and (self.path, self.format, self.schema_) != (None, None, None):
            raise ValueError(
                "expected a `table` without path, format and schema, which it defines itself"
            )
        return self

    @model_validator(mode="after")
    def _settings_fit_the_format(self) -> "Source":
        if self.schema_ is not None and self.format in ("csv", "parquet", "delta"):
            raise ValueError(
                f"`schema` has no effect on {self.format} files; convert in cleaning.columns, for "
                "example try_cast(x AS bigint)"
            )
        if self.options and self.format != "csv":
            raise ValueError(f"`options` are only for csv; got a {self.kind} source")
        if self.names and (self.format != "csv" or self.option("header", "false") != "false"):
            raise ValueError("`names` are only for csv files without a header")
        if self.compression and self.format not in ("csv", "json"):
            raise ValueError(f"`compression` is only for csv and json; got a {self.kind} source")
        if taken := sorted(o for o in self.options if o.lower() in _RESERVED_OPTIONS):
            raise ValueError(
                f"the options {taken} are reserved: they are set so that no line is lost"
            )
        if unknown := sorted(o for o in self.options if o.lower() not in _CSV_OPTIONS):
            raise ValueError(
                f"the options {unknown} have no effect, since columns are read as text; expected "
                f"some of {sorted(_CSV_OPTIONS)}"
            )
        if blank := [o for o in ("sep", "delimiter") if self.options.get(o, "x").strip(" ") == ""]:
            raise ValueError(
                f"the option {blank[0]} is empty: a bare | begins a block of text in YAML, so "
                f"write {blank[0]}: '|'"
            )
        return self

    def option(self, name: str, default: str) -> str:
        """An option of the CSV reader in lower case; Spark ignores the case of its name."""
        return {k.lower(): v for k, v in self.options.items()}.get(name.lower(), default).lower()

    @property
    def kind(self) -> str:
        """The format of the files, or ``table``; for messages."""
        return self.format or "table"

    @property
    def place(self) -> str:
        """The path of the files, or the quoted name of the table."""
        return self.path or quoted(*(self.table or "").split("."))


class LogSource(Source):
    """A source of events.

    Attributes:
        columns: event column -> expression over the columns of this source, in addition to or
            instead of those of ``cleaning.columns``. An event column that only other sources have
            is null in the events of this one.
    """

    columns: dict[Name, Sql] = {}


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
        sources: name -> raw files. All are mapped by ``columns``, and each by its own ``columns``
            if it has any. Expressions may also use ``source`` (the name) and ``source_file``,
            unless the log has columns of these names.
        lookups: name -> small table joined to the events.
        columns: event column -> expression over the raw columns of every source; ``event_time``
            is required, here or in each source, unless the log has no times. A time without a time
            zone is read as UTC.
        times: whether events have a time. With ``times: false``, ``event_time`` is left out, and
            whatever needs it is refused: splits by time, label windows, history and calendar
            features.
        required: columns that must not be null (``event_time`` never may be).
        allowed: column -> the only values that it may have.
        ranges: column -> [lowest, highest], null for no limit. Anything that is not a finite number
            is out of range.
        not_before: earliest ``event_time``, inclusive. If it is not set, times before 1970 are
            rejected, and so are the few that are further before the rest than the log is long, and
            those of January 1970 (zeros, or another unit) in a log of our days.
        not_after: latest ``event_time``, inclusive. If it is not set, times from 2100 on are
            rejected, and so are the few rows after the end of the log: the last day with more than
            a trickle of rows, plus the longest silence that the log had before.
        reject: reason -> condition over the event columns; rows that meet it are rejected.
        duplicates: which rows count as duplicates.
        max_rejected: share of raw rows that may be rejected before the job fails.
    """

    sources: dict[Name, LogSource] = Field(min_length=1)
    lookups: dict[Name, Lookup] = {}
    columns: dict[Name, Sql] = {}
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

    def columns_of(self, source: str) -> dict[str, str]:
        """Event column -> expression, of one source."""
        return self.columns | self.sources[source].columns

    @property
    def event_columns(self) -> list[str]:
        """The event columns of all sources, without those of lookups; each once."""
        return list(dict.fromkeys(c for name in self.sources for c in self.columns_of(name)))

    @model_validator(mode="after")
    def _has_time(self) -> "Cleaning":
        without = [n for n in self.sources if "event_time" not in self.columns_of(n)]
        if self.times and without:
            raise ValueError(
                "columns: expected a column `event_time`, in this spelling, since every event has "
                f"a time; got none for the sources {without}; if the log has no times, write "
                "cleaning: {times: false}"
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
        return (
            *self.event_columns,
            *[c for lookup in self.lookups.values() for c in lookup.columns],
        )
