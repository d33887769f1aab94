"""Train, validation and test: by hash of the group, by hash of the row, or by time.

Some rows belong to none of the three: ``immature`` (the label window was open when the log ended)
and ``gap`` (the label window reaches across a cut in time, so the label reveals the other side; or
the row's part leaves rows like it out). They are kept and scored, but never trained or judged on.

Daily training cannot wait for labels: with ``open_windows: train``, rows whose label window reaches
across the first cut are trained on, with what was known of their labels at the cut. If only some
rows have labels, the others can be trained on too: with ``unlabelled: train``, those in the
training part are unsettled negatives.
"""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.known_labels import as_known
from reweight.core.errors import SampleError
from reweight.core.expressions import cast_to, check_expressions
from reweight.core.hashing import uniform
from reweight.core.section import Section, Sql

PARTS = ("train", "validation", "test")

# A period of time that contains rows: its first and last second, and the number of rows.
_Step = tuple[int, int, int]


class Splits(Section):
    """The section ``splits``.

    Attributes:
        by: ``group`` and ``row`` draw by hash; ``time`` cuts at two times.
        shares: shares of train, validation and test, which sum to 1; null for the default.
        cuts: instead of shares, the times at which validation and test begin, such as
            ``[2026-03-01, 2026-04-01]``; without a time zone they are UTC. Only with ``by: time``.
        target: newest share of the training split, which stands for the distribution that the
            ranker will meet; without times there is none.
        target_where: condition over the sample's columns that names the target rows instead, such
            as ``country = 'de'``, where time does not.
        open_windows: rows whose label window reaches across the cut between train and validation
            are left out (``gap``), or trained on (``train``) with the label known at the cut, which
            methods for delayed labels correct. Only with ``by: time``. If ``sampling.label`` has no
            window, that concerns all rows before the cut, and none is a ``gap`` at the second cut.
        unlabelled: rows whose ``sampling.label.value`` is null are left out (``immature``), or, in
            the training part, trained on (``train``) as 0 until a method says otherwise.
        judged: condition over the sample's columns: rows that meet it are only validated and tested
            on, while all others are only trained on, such as ``policy = 'random'``. With ``by:
            row`` every row is used, otherwise rows that are left over are a ``gap``. By default all
            rows are in all parts.
    """

    by: Literal["group", "row", "time"] = "group"
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
    cuts: tuple[str, str] | None = None
    target: float = Field(default=0.2, gt=0, le=1)
    target_where: Sql | None = None
    open_windows: Literal["gap", "train"] = "gap"
    unlabelled: Literal["immature", "train"] = "immature"
    judged: Sql | None = None

    @field_validator("judged", mode="before")
    @classmethod
    def _is_a_condition(cls, judged: object) -> object:
        if isinstance(judged, list | tuple):
            names = ", ".join(f"'{name}'" for name in judged)
            raise ValueError(f'expected a condition, got a list; write "segment IN ({names})"')
        return judged

    @model_validator(mode="after")
    def _cut_in_time(self) -> "Splits":
        if self.open_windows == "train" and self.by != "time":
            raise ValueError(
                "open_windows: train needs by: time, where label windows are open at a cut; "
                f"got by: {self.by}"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_cut(self) -> "Splits":
        if self.cuts is None:
            return self
        if self.by != "time":
            raise ValueError(f"cuts: needs by: time, got by: {self.by}; write `by: time` beside it")
        if "shares" in self.model_fields_set and self.shares != type(self)().shares:
            raise ValueError("expected `shares` or `cuts`, got both; remove one of them")
        if self.seconds[0] >= self.seconds[1]:
            raise ValueError(f"cuts: expected the earlier time first, got {list(self.cuts)}")
        return self

    @field_validator("cuts", mode="before")
    @classmethod
    def _are_times(cls, cuts: object) -> object:
        if not isinstance(cuts, list | tuple):
            return cuts
        # Python has read an unquoted date of YAML as a date, if it did not come from a file.
        return [datetime.fromisoformat(str(cut)).isoformat(" ") for cut in cuts]

    @property
    def seconds(self) -> tuple[int, int]:
        """The cuts in seconds since 1970."""
        times = [datetime.fromisoformat(cut) for cut in self.cuts or ()]
        utc = [t if t.tzinfo else t.replace(tzinfo=UTC) for t in times]
        first, second = (math.ceil(t.timestamp()) for t in utc)
        return first, second

    @field_validator("shares", mode="before")
    @classmethod
    def _null_is_the_default(cls, shares: object) -> object:
        # A file that is the base of another one may set shares where the other cuts by times.
        return cls.model_fields["shares"].default if shares is None else shares

    @field_validator("shares")
    @classmethod
    def _sum_to_one(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(
                "expected three positive shares that sum to 1, such as [0.6, 0.2, 0.2]"
            )
        return shares


def with_split(
    samples: DataFrame,
    splits: Splits,
    seed: int,
    window: int | None,
    cuts: Sequence[int] | None = None,
    undo: int = 0,
) -> DataFrame:
    """Adds ``split`` and ``target``; training rows lose what was not known at the cut.

    Args:
        samples: rows with ``sample_id``, ``group_id``, ``segment``, ``event_time`` (unless the log
            has no times) and the columns that ``with_label`` adds; with an undo and ``open_windows:
            train`` also those of ``with_known_times``, if any row is before the first cut.
        splits: the section.
        seed: seed of the hash.
        window: length of the label window in seconds, None for none.
        cuts: what ``split_cuts`` returned; None to compute it.
        undo: length of the window in which a label event may be taken back, in seconds.
    """
    if splits.by == "time":
        first, second = cuts or split_cuts(samples, splits)
        part = _by_time(first, second, window + undo if window else 0)
        if splits.open_windows == "train":
            samples, part = as_known(samples, first, window, undo), _with_open(part, first)
    else:
        key = "group_id" if splits.by == "group" else "sample_id"
        drawn = uniform(seed, "split", key)
        train, validation, _ = splits.shares
        part = (
            F.when(drawn < train, "train")
            .when(drawn < train + validation, "validation")
            .otherwise("test")
        )
    if splits.judged is not None:
        part = _with_judged(part, splits, splits.judged, seed)
    settled = F.col("mature")
    if "train" in (splits.open_windows, splits.unlabelled):
        settled |= part == "train"
    samples = samples.withColumn("split", F.when(settled, part).otherwise("immature"))
    in_train = F.col("split") == "train"
    if splits.unlabelled == "train":
        # Like rows with open label windows: 0 and not settled, in every part.
        samples = samples.withColumn("label", F.coalesce("label", F.lit(0.0).cast("float")))
    if splits.target_where is not None:
        named = F.coalesce(F.expr(splits.target_where).cast("boolean"), F.lit(False))
        return samples.withColumn("target", in_train & named)
    if "event_time" not in samples.columns:
        return samples.withColumn("target", F.lit(False))
    # The newest share: 1 - share of the training rows lie before the cut.
    (since,) = time_cuts(samples.where(in_train), (1 - splits.target,))
    return samples.withColumn("target", in_train & (F.unix_seconds("event_time") >= since))


def check_conditions(samples: DataFrame, splits: Splits) -> None:
    """Checks the conditions of the section against the columns of the samples.

    Raises:
        SourceError: one does not fit them.
    """
    conditions = {"splits.target_where": splits.target_where, "splits.judged": splits.judged}
    check_expressions(
        samples,
        {key: sql for key, sql in conditions.items() if sql is not None},
        used_as=dict.fromkeys(conditions, cast_to("boolean")),
    )


def _with_judged(part: Column, splits: Splits, condition: str, seed: int) -> Column:
    """The part, where some rows are only judged on and the others only trained on."""
    judged = F.coalesce(F.expr(condition).cast("boolean"), F.lit(False))
    if splits.by == "row":
        # Nothing else ties a row to its part, so every row can be used.
        _, validation, test = splits.shares
        share = validation / (validation + test)
        drawn = uniform(seed, "judged", "sample_id")
        judging = F.when(drawn < share, "validation").otherwise("test")
        return F.when(judged, judging).otherwise("train")
    return F.when(judged == (part == "train"), "gap").otherwise(part)


def check_splits(counts: dict[str, tuple[int, int]]) -> None:
    """Checks that every part has rows and that training has both classes.

    Args:
        counts: part -> (rows, positives).

    Raises:
        SampleError: a part is empty, or training has one class.
    """
    shown = ", ".join(f"{k}: {n} rows, {p} positive" for k, (n, p) in sorted(counts.items()))
    empty = [part for part in PARTS if counts.get(part, (0, 0))[0] == 0]
    if empty:
        raise SampleError(
            f"the split leaves {' and '.join(empty)} empty",
            expected="rows in train, validation and test",
            got=shown,
            fix="change splits.by, splits.shares or splits.cuts, or shorten the label window so "
            "that fewer rows fall into the gaps at the cuts",
        )
    rows, positives = counts["train"]
    if positives in (0, rows):
        raise SampleError(
            "the training split has only one class",
            expected="labels 0 and 1",
            got=shown,
            fix="use more data, or change splits.by",
        )


def time_cuts(samples: DataFrame, shares: tuple[float, ...]) -> list[int]:
    """Times that have the given shares of the rows before them, in seconds since 1970.

    Exact to 1 % of the rows or to the second and, unlike approximate quantiles, independent of how
    the rows are partitioned.

    Args:
        samples: rows with ``event_time``.
        shares: the shares, ascending, in [0, 1).
    """
    seconds = F.unix_seconds("event_time")

    def steps(low: int, high: int) -> list[_Step]:
        step = F.floor((seconds - low) / max(1, (high - low) // 1000))
        counted = samples.where(seconds.between(low, high)).groupBy(step)
        # Small: about 1,000 steps.
        spans = counted.agg(F.min(seconds), F.max(seconds), F.count("*")).collect()
        return sorted((row[1], row[2], row[3]) for row in spans)

    span = samples.agg(F.min(seconds), F.max(seconds)).first()
    if span is None or span[0] is None:
        return [0 for _ in shares]
    coarse_steps = steps(*span)
    total = sum(rows for _, _, rows in coarse_steps)
    return [_cut(coarse_steps, share * total, total / 100, steps) for share in shares]


def _cut(
    steps: list[_Step],
    rows_before: float,
    tolerance: float,
    finer_steps: Callable[[int, int], list[_Step]],
) -> int:
    """The time that has the given number of rows before it.

    One event with a wrong year makes the first steps coarse, so a step with many rows is cut again.
    """
    if rows_before <= 0:
        return steps[0][0]
    before, after = 0, None
    while True:
        sums = list(accumulate((rows for _, _, rows in steps), initial=before))
        index = next(i for i in range(len(steps)) if sums[i + 1] >= rows_before)
        first, last, rows = steps[index]
        before = sums[index]
        after = steps[index + 1][0] if index + 1 < len(steps) else after
        if rows <= tolerance or first == last:
            return first if after is None else after
        steps = finer_steps(first, last)


def split_cuts(samples: DataFrame, splits: Splits) -> list[int]:
    """When validation and test begin, in seconds since 1970; empty unless ``by: time``."""
    if splits.by != "time":
        return []
    if splits.cuts:
        return list(splits.seconds)
    train, validation, _ = splits.shares
    return time_cuts(samples.where("mature"), (train, train + validation))


def _by_time(first: int, second: int, window: int) -> Column:
    begins = F.unix_seconds("event_time")
    ends = begins + window
    return (
        F.when(begins >= second, "test")
        .when(ends >= second, "gap")
        .when(begins >= first, "validation")
        .when(ends >= first, "gap")
        .otherwise("train")
    )


def _with_open(part: Column, first: int) -> Column:
    """The part, or train for all rows that began before the first cut."""
    return F.when(F.unix_seconds("event_time") < first, "train").otherwise(part)
