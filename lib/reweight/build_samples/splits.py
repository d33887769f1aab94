"""Train, validation and test: by hash of the group, by hash of the row, or by time.

Beside the three there are rows that belong to none: ``immature`` (the label window was open when
the log ended) and ``gap`` (it reaches over a cut in time, so the label tells of the other side; or
the row is of a segment that its part leaves out).
They are kept and scored; nothing is trained or judged on them. Who trains every day cannot wait for
them: with ``open_windows: train`` the rows whose window reaches over the first cut are trained on,
with what was known of their labels at the cut. And who has labelled a part of the rows may train on
the others: with ``unlabelled: train`` those of the training part are negatives that nobody settled.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.errors import SampleError
from reweight.core.hashing import uniform
from reweight.core.section import Section

PARTS = ("train", "validation", "test")

# A stretch of time in which there are rows: its first and last second, and their number.
_Step = tuple[int, int, int]


class Splits(Section):
    """The section ``splits``.

    Attributes:
        by: ``group`` and ``row`` draw by hash; ``time`` cuts at two times.
        shares: of train, validation and test; they sum to 1.
        target: share of the training split, its newest part, that stands for the distribution
            that the ranker will meet.
        open_windows: rows whose label window reaches over the cut between train and validation:
            left out (``gap``), or trained on (``train``) with the label of that moment, which
            methods for late labels mend. With ``by: time`` alone.
        unlabelled: rows whose ``sampling.label.value`` is null: left out (``immature``), or those
            of the training part trained on (``train``) as 0 until a method says otherwise.
        judged: segments that are validated and tested on and never trained on, the others the other
            way round: another policy, another country. With ``by: row`` all rows are of use, else
            what is left over is a ``gap``. None: all segments are in all parts.
    """

    by: Literal["group", "row", "time"] = "group"
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
    target: float = Field(default=0.2, gt=0, le=1)
    open_windows: Literal["gap", "train"] = "gap"
    unlabelled: Literal["immature", "train"] = "immature"
    judged: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _cut_in_time(self) -> "Splits":
        if self.open_windows == "train" and self.by != "time":
            raise ValueError(
                f"open_windows: train is for by: time, where windows are open at a cut; by is "
                f"{self.by}"
            )
        return self

    @field_validator("shares")
    @classmethod
    def _sum_to_one(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError("expected three positive shares that sum to 1")
        return shares


def with_split(samples: DataFrame, splits: Splits, seed: int, window: int) -> DataFrame:
    """Adds ``split`` and ``target``; what came after a cut is taken from rows that train before it.

    Args:
        samples: with ``sample_id``, ``group_id``, ``segment``, ``event_time`` and what
            ``with_label`` adds.
        splits: the section.
        seed: of the hash.
        window: length of the label window in seconds, 0 for none.
    """
    if splits.by == "time":
        first, second = _cuts(samples, splits)
        part = _by_time(first, second, window)
        if splits.open_windows == "train":
            samples, part = _as_known(samples, first, window), _with_open(part, first)
    else:
        key = "group_id" if splits.by == "group" else "sample_id"
        drawn = uniform(seed, "split", key)
        train, validation, _ = splits.shares
        part = (
            F.when(drawn < train, "train")
            .when(drawn < train + validation, "validation")
            .otherwise("test")
        )
    if splits.judged:
        part = _with_judged(part, splits, seed)
    settled = F.col("mature")
    if "train" in (splits.open_windows, splits.unlabelled):
        settled |= part == "train"
    samples = samples.withColumn("split", F.when(settled, part).otherwise("immature"))
    in_train = F.col("split") == "train"
    if splits.unlabelled == "train":
        # As rows of open windows: 0, and not settled, in whatever part.
        samples = samples.withColumn("label", F.coalesce("label", F.lit(0.0).cast("float")))
    # The newest share: the cut leaves 1 - share of the training rows before it.
    (since,) = time_cuts(samples.where(in_train), (1 - splits.target,))
    return samples.withColumn("target", in_train & (F.unix_seconds("event_time") >= since))


def _with_judged(part: Column, splits: Splits, seed: int) -> Column:
    """The part, where some segments are judged on and the others trained on."""
    judged = F.coalesce(F.col("segment").isin(*splits.judged), F.lit(False))
    if splits.by == "row":
        # Nothing else holds a row to its part: all of them are of use.
        _, validation, test = splits.shares
        share = validation / (validation + test)
        drawn = uniform(seed, "judged", "sample_id")
        judging = F.when(drawn < share, "validation").otherwise("test")
        return F.when(judged, judging).otherwise("train")
    return F.when(judged == (part == "train"), "gap").otherwise(part)


def check_splits(counts: dict[str, tuple[int, int]]) -> None:
    """Demands rows in every part and both classes in training.

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
            fix="change splits.by or splits.shares, or shorten the label window so that fewer rows "
            "fall into the gaps at the cuts",
        )
    rows, positives = counts["train"]
    if positives in (0, rows):
        raise SampleError(
            "the training split has only one class",
            expected="labels 0 and 1",
            got=shown,
            fix="use more data, or another splits.by",
        )


def time_cuts(samples: DataFrame, shares: tuple[float, ...]) -> list[int]:
    """Times before which the given shares of the rows lie, in seconds since 1970.

    Exact to 1 % of the rows or to the second, and the same however the rows are partitioned, which
    approximate quantiles are not.

    Args:
        samples: with ``event_time``.
        shares: ascending, in [0, 1).
    """
    seconds = F.unix_seconds("event_time")

    def steps(low: int, high: int) -> list[_Step]:
        step = F.floor((seconds - low) / max(1, (high - low) // 1000))
        counted = samples.where(seconds.between(low, high)).groupBy(step)
        # Small by nature: about 1,000 steps.
        found = counted.agg(F.min(seconds), F.max(seconds), F.count("*")).collect()
        return sorted((row[1], row[2], row[3]) for row in found)

    span = samples.agg(F.min(seconds), F.max(seconds)).first()
    if span is None or span[0] is None:
        return [0 for _ in shares]
    whole = steps(*span)
    total = sum(rows for _, _, rows in whole)
    return [_cut(whole, share * total, total / 100, steps) for share in shares]


def _cut(
    steps: list[_Step], wanted: float, fine: float, within: Callable[[int, int], list[_Step]]
) -> int:
    """The time before which the wanted number of rows lies.

    One event of a wrong year makes the first steps coarse, so a step of many rows is cut again.
    """
    if wanted <= 0:
        return steps[0][0]
    before, after = 0, None
    while True:
        sums = list(accumulate((rows for _, _, rows in steps), initial=before))
        place = next(i for i in range(len(steps)) if sums[i + 1] >= wanted)
        first, last, rows = steps[place]
        before = sums[place]
        after = steps[place + 1][0] if place + 1 < len(steps) else after
        if rows <= fine or first == last:
            return first if after is None else after
        steps = within(first, last)


def _cuts(samples: DataFrame, splits: Splits) -> list[int]:
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
    """The part, or train for all that began before the first cut."""
    return F.when(F.unix_seconds("event_time") < first, "train").otherwise(part)


def _as_known(samples: DataFrame, first: int, window: int) -> DataFrame:
    """The rows that began before the first cut, as whoever trained at the cut knew them."""
    begins = F.unix_seconds("event_time")
    before = begins < first
    known = F.unix_seconds("label_time") < first
    passed = F.least(F.lit(1.0), (F.lit(first) - begins) / window)

    def of(name: str, then: Column) -> Column:
        return F.when(before, then).otherwise(F.col(name))

    return samples.withColumns(
        {
            "label": of("label", F.when(known, F.col("label")).otherwise(F.lit(0.0)).cast("float")),
            "label_time": of("label_time", F.when(known, F.col("label_time"))),
            "mature": of("mature", begins + window < first),
            "elapsed": of("elapsed", passed),
            "delay": of("delay", F.when(known, F.col("delay"))),
        }
    )
