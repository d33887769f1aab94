"""Events -> samples: which events are training rows, and what their labels are.

There are two forms. *From events*: an anchor event (impression, click, invoice) is a sample, and
its label is whether a label event with the same keys follows within the label window. *From rows*:
every event is a sample and carries its label.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from reweight.build_samples.collapse import LONE, Collapse, event_columns
from reweight.core.errors import SourceError
from reweight.core.expressions import CONDITION, KEY, cast_to, check_expressions, unread
from reweight.core.hashing import hash_values, key_hash
from reweight.core.kept import kept_json
from reweight.core.section import Name, Names, Seconds, Section, Sql, repeated
from reweight.core.sequences import SEQUENCE


class Undo(Section):
    """What takes a label event back: a refund, a cancellation, an unsubscription.

    Attributes:
        where: condition on the event that takes it back.
        keys: columns in which it equals the label event; by default those of the label.
        window: how long after the label event it may come. A label is settled once both windows
            have closed.
    """

    where: Sql
    keys: Names = ()
    window: Seconds


class Label(Section):
    """What makes a sample positive.

    Attributes:
        where: condition on the label event (from events).
        keys: columns in which the label event equals its anchor.
        window: how long after its anchor a label event may arrive; None for any time before the
            log ends. That is right where the log holds whole sessions, and, with
            ``splits.open_windows: train``, where a label settles late or never: a row before the
            first cut then has the label known at the cut, a later row the one known when the log
            ends, and no row is lost to a gap.
        same_time: whether a label event at the very time of its anchor counts as ``before`` it, so
            that it is no label, or ``after`` it. In a log of days without hours, a purchase on the
            day of its click is at the same time.
        attribute: which samples a label event makes positive if it is the first one after several
            of them, such as a purchase after two impressions of the item: ``last`` or ``first``,
            that one alone; None, each of them.
        undo: what takes a label event back. A sample is positive if a label event follows that is
            not taken back. With ``splits.open_windows: train`` a row before the first cut counts as
            positive until its label event is taken back.
        value: expression for the label itself, 0/1 or boolean (from rows).
    """

    where: Sql | None = None
    keys: Names = ()
    window: Seconds | None = None
    same_time: Literal["before", "after"] = "before"
    attribute: Literal["last", "first"] | None = None
    undo: Undo | None = None
    value: Sql | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Label":
        if (self.where is None) == (self.value is None):
            raise ValueError("expected either `where` and `keys`, or `value`")
        if self.where is not None and not self.keys:
            raise ValueError("expected `keys`: the columns that link a label event to its sample")
        if self.value is not None and self.keys:
            raise ValueError("`keys` have no effect beside `value`; remove them, or set `where`")
        if self.value is not None:
            self.refuse_unused("`value`", "attribute", "undo")
        if self.undo is not None and self.same_time == "after":
            raise ValueError(
                "undo: which of two events at the same time takes back the other is not known; "
                "remove same_time: after"
            )
        return self

    @property
    def undo_window(self) -> int:
        """How long a label event can be taken back, in seconds."""
        return self.undo.window if self.undo else 0

    @property
    def settles(self) -> int | None:
        """After how many seconds the label of a sample cannot change any more; None for never."""
        return None if self.window is None else self.window + self.undo_window

    @property
    def longest(self) -> float:
        """The elapsed time at which a label is settled, in label windows."""
        return 1.0 + self.undo_window / self.window if self.window else 1.0

    @property
    def never_closes(self) -> bool:
        """Whether a label event may still arrive at any time."""
        return self.where is not None and self.window is None


# A share of rows that were kept.
Rate = Annotated[float, Field(gt=0, le=1, strict=True)]


class Sampling(Section):
    """The section ``sampling``.

    Attributes:
        collapse: merges several events into one before anything else.
        anchor: condition on the events that are samples.
        key: the natural key of a sample; its 64-bit hash is ``sample_id`` and must be unique.
            Empty if rows have no identity (equal rows are different samples): the whole row and
            its number among equal rows are hashed instead.
        group: expression for the group (user, session); None if every sample is its own group.
        label: what makes a sample positive.
        segment: expression for slices of the report (user group, country).
        negatives: the share of negatives that the log kept, above 0 and at most 1: a number, or an
            expression for the rate at which each row was kept, which may use ``label`` and has to
            be 1 for positives. Each row then stands for 1 / rate rows: its weight is multiplied by
            that for every method, ``uniform`` included, and metrics count it so often. None if no
            negatives were left out.
        keep: further columns, as expressions: ``position``, ``propensity`` and ``value`` for
            methods, and any others for judges (``evaluation.judges``).
    """

    collapse: Collapse | None = None
    anchor: Sql = "true"
    key: Names = ()
    group: Sql | None = None
    label: Label
    segment: Sql = "cast(null as string)"
    negatives: Rate | Sql | None = None
    keep: dict[Name, Sql] = {}

    @field_validator("negatives", mode="before")
    @classmethod
    def _is_a_share(cls, negatives: object) -> object:
        if not isinstance(negatives, int | float):
            return negatives
        if not 0 < negatives <= 1:
            raise ValueError(
                "expected the share of negatives that was kept, above 0 and at most 1, such as "
                f"negatives: 0.1; got {negatives}"
            )
        return float(negatives)

    @field_validator("keep")
    @classmethod
    def _are_free(cls, keep: dict[str, str]) -> dict[str, str]:
        if taken := [name for name in keep if name.lower() in (*RESERVED, *_ALSO_RESERVED)]:
            raise ValueError(
                f"{taken}: samples have columns of these names; write another name, such as "
                f"{taken[0]}_kept"
            )
        if same := repeated({*keep, *KEEP_TYPES}):
            raise ValueError(f"{same} are one name to Spark, which ignores case; write {same[-1]}")
        return keep

    @property
    def kept(self) -> dict[str, str]:
        """The columns that are kept for judges: name -> expression."""
        return {name: sql for name, sql in self.keep.items() if name not in KEEP_TYPES}

    @property
    def counted(self) -> tuple[str, ...]:
        """The column that says how often a row counts, if negatives were sampled."""
        return ("design_weight",) if self.negatives is not None else ()

    @property
    def may_share(self) -> bool:
        """Whether a label event may be that of several samples."""
        key_columns = {name.lower() for name in self.key}
        return self.label.value is None and not (
            key_columns and key_columns <= {k.lower() for k in self.label.keys}
        )


# Columns that reveal the label, and that change with the day on which the log ends.
LABEL_COLUMNS = (
    *("label", "label_time", "undo_time", "mature", "elapsed", "delay"),
    "undone",
    # The text of a label that is no number, and whether a label event is at the sample's own time.
    *("_label_text", "_same_time"),
    # The place of a sample among those that have the same label event.
    "_label_rank",
)

KEEP_TYPES = {"position": "int", "propensity": "double", "value": "double"}
# Columns that the section sets; an event column may have the name only if it is that very column.
_SET = (*KEEP_TYPES, "segment")
# Columns that samples define themselves, whatever columns the events have.
RESERVED = (
    *(*LABEL_COLUMNS[1:], "sample_id", "group_id", "split", "target", "kept", "features", "ids"),
    *("design_weight", *SEQUENCE),
)
# Names that a kept column cannot have either.
_ALSO_RESERVED = ("label", "segment", "event_time", "run_id")


def taken_names(columns: Iterable[str], sampling: Sampling) -> list[str]:
    """The event columns that samples would replace, compared as Spark does."""
    expressions: dict[str, str | None] = dict.fromkeys(KEEP_TYPES) | {"segment": sampling.segment}
    expressions |= sampling.keep
    return [
        c
        for c in columns
        if c.lower() in RESERVED
        or (c.lower() in _SET and (expressions[c.lower()] or "").strip(" `").lower() != c.lower())
    ]


def check_sampling(events: DataFrame, sampling: Sampling) -> None:
    """Checks the names of the event columns, and every expression of the section against them.

    Raises:
        SourceError: a column would be replaced by one that samples define themselves, expressions
            do not fit, or those of the samples themselves use an event column ``label``; the error
            lists them all.
    """
    _check_names(events, sampling)
    label = sampling.label
    undo_keys = label.undo.keys if label.undo else ()
    own_keys = {f"key.{k}": k for k in sampling.key}
    keys = own_keys | {f"label.keys.{k}": k for k in label.keys}
    keys |= {f"label.undo.keys.{k}": k for k in undo_keys}
    conditions = {
        "anchor": sampling.anchor,
        "label.where": label.where,
        "label.undo.where": label.undo.where if label.undo else None,
    }
    of_samples = {"group": sampling.group, "segment": sampling.segment} | {
        f"keep.{k}": v for k, v in sampling.keep.items()
    }
    expressions = _there(conditions | {"label.value": label.value} | of_samples | keys)
    used_as = dict.fromkeys(conditions, CONDITION) | dict.fromkeys(keys, KEY)
    used_as |= {f"keep.{name}": cast_to(kind) for name, kind in KEEP_TYPES.items()}
    check_expressions(events, expressions, used_as=used_as | {"label.value": cast_to("float")})
    _check_label_column(events, _there(of_samples | own_keys))


def _check_names(events: DataFrame, sampling: Sampling) -> None:
    if taken := taken_names(events.columns, sampling):
        raise SourceError(
            "event columns have names that samples use for something else",
            expected=f"any names except {[c for c in RESERVED if c[0] != '_']}, and {list(_SET)} "
            "only where the section sampling uses them unchanged",
            got=str(taken),
            fix="rename them in cleaning.columns, or write sampling: {keep: {position: "
            "position}} and likewise for the others",
        )


def _there(expressions: Mapping[str, str | None]) -> dict[str, str]:
    return {key: sql for key, sql in expressions.items() if sql is not None}


def _check_label_column(events: DataFrame, expressions: Mapping[str, str]) -> None:
    """Checks that expressions over the samples do not use an event column ``label``."""
    if "label" in [name.lower() for name in events.columns]:
        check_expressions(
            events.drop("label"),
            expressions,
            of="the samples, whose column `label` is their own label",
            fix="give the event column another name in cleaning.columns, such as rating, and write "
            "that name in the expressions listed above",
        )


def kept_types(events: DataFrame, sampling: Sampling) -> dict[str, str]:
    """Name -> type of the columns that are kept for judges.

    Raises:
        SourceError: one of them has a type that JSON does not hold.
    """
    chosen = [F.expr(sql).alias(name) for name, sql in sampling.kept.items()]
    types = {field.name: field.dataType.simpleString() for field in events.select(*chosen).schema}
    for name, kind in types.items():
        if kind == "void":
            types[name] = "string"
        elif re.search(r"binary|variant|interval|map<(?!string)", kind):
            raise SourceError(
                f"sampling.keep.{name} cannot be kept",
                expected="numbers, texts, booleans or times; in maps, texts as keys",
                got=kind,
                fix=f"cast it, such as {name}: cast({sampling.kept[name]} AS string)",
            )
    return types


def identity(events: DataFrame, sampling: Sampling) -> Column:
    """The ``sample_id`` of events that have a natural key.

    Events with a null in a key of ``collapse`` may agree in the natural key, and yet are different
    samples: their own hash is hashed with it.
    """
    natural = key_hash(*sampling.key)
    if LONE not in events.columns:
        return natural
    return F.when(F.col(LONE).isNull(), natural).otherwise(F.xxhash64(natural, LONE))


def sample_ids(samples: DataFrame, sampling: Sampling) -> Column:
    """The ``sample_id``: the hash of the natural key, or of the row and its number among equals."""
    if sampling.key:
        return identity(samples, sampling)
    # Without the label columns, so that a label that arrives later does not change the id. A hash
    # skips nulls, so their positions are hashed too.
    columns = [c for c in event_columns(samples) if c not in LABEL_COLUMNS]
    nulls = F.array(*[F.col(c).isNull() for c in columns])
    content = F.xxhash64(*hash_values(samples, columns), nulls)
    # By label, so that of equal rows it is always the same ids that are positive.
    labels = [F.col(c) for c in LABEL_COLUMNS if c in samples.columns] or [F.lit(0)]
    number = F.row_number().over(Window.partitionBy(content).orderBy(*labels))
    return F.xxhash64(content, number)


def with_identity(samples: DataFrame, sampling: Sampling) -> DataFrame:
    """Adds ``sample_id``, ``group_id``, ``segment`` and the kept columns.

    A kept text or date also gets a column such as ``_unread_position``: whether it was lost.
    """
    sample_id = sample_ids(samples, sampling)
    lost = {
        f"_unread_{name}": value
        for name, sql in sampling.keep.items()
        if name in KEEP_TYPES
        for value in unread(samples, {name: sql}, KEEP_TYPES[name]).values()
    }
    kept_columns = {
        name: F.expr(sampling.keep.get(name, "null")).cast(kind)
        for name, kind in KEEP_TYPES.items()
    }
    return samples.withColumns(
        {
            "sample_id": sample_id,
            "group_id": (F.expr(sampling.group) if sampling.group else sample_id).cast("string"),
            "segment": F.expr(sampling.segment).cast("string"),
            **kept_columns,
            "kept": kept_json(sampling.kept),
            **lost,
        }
    )
