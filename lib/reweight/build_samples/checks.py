"""Checks of the samples by their counts, before anything is fitted to them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.sampling import Sampling
from reweight.build_samples.splits import Splits
from reweight.core.errors import SampleError


def check_samples(facts: dict[str, int]) -> None:
    """Checks that ids are unique, that every sample has a group, and that labels are 0 or 1.

    Args:
        facts: ``rows``, distinct ``ids``, ``groups`` (rows that have one), ``mature`` rows, and
            the ``positives`` and ``negatives`` among them.

    Raises:
        SampleError: a check fails.
    """
    rows = facts["rows"]
    if rows == 0:
        raise SampleError(
            "no event is a sample",
            expected="events for which `sampling.anchor` is true",
            got="none",
            fix="check the condition against the values in the table `events`",
        )
    if facts["ids"] != rows:
        raise SampleError(
            "sample_id is not unique",
            expected=f"{rows} distinct values of `sampling.key`",
            got=f"{facts['ids']}",
            fix="add the column that distinguishes the samples to `sampling.key`, or reject "
            "duplicates in cleaning",
        )
    if facts["groups"] != rows:
        raise SampleError(
            "some samples have no group",
            expected="a value of `sampling.group` for every sample",
            got=f"null for {rows - facts['groups']} of {rows}",
            fix="require the column in cleaning, or coalesce nulls to another value",
        )
    if other_labels := facts["mature"] - facts["positives"] - facts["negatives"]:
        raise SampleError(
            "some labels are neither 0 nor 1",
            expected="0, 1, true or false from `sampling.label.value`; null while not known",
            got=f"another number for {other_labels} of {facts['mature']} samples",
            fix="write it as a condition, such as `rating >= 4`",
        )


def check_labels(samples: DataFrame, unread: int) -> None:
    """Checks that every label that is there is a number or a truth value.

    Args:
        samples: rows with ``_label_text``; read only to explain a refusal.
        unread: number of rows in which it is not null.

    Raises:
        SampleError: labels cannot be converted.
    """
    if not unread:
        return
    counts = samples.where("_label_text IS NOT NULL").groupBy("_label_text").count()
    # Small: the most frequent values.
    common = counts.orderBy(F.desc("count"), "_label_text").limit(10).collect()
    raise SampleError(
        "some labels are neither numbers nor truth values",
        expected="0, 1, true or false from `sampling.label.value`; null while not known",
        got=", ".join(f"'{row['_label_text'][:40]}' {row['count']:,} times" for row in common),
        fix="write what each value means, such as `value: CASE WHEN lower(x) IN ('1', 'true', "
        "'yes') THEN 1 WHEN lower(x) IN ('0', 'false', 'no') THEN 0 END`",
    )


def check_classes(facts: dict[str, int]) -> None:
    """Checks that there are settled labels of both classes, which only training needs.

    Args:
        facts: as in ``check_samples``.

    Raises:
        SampleError: no label is settled, or all are of one class.
    """
    if facts["mature"] == 0:
        raise SampleError(
            "no sample has a settled label",
            expected="samples whose label window closed before the log ended",
            got=f"none of {facts['rows']}",
            fix="use a log that is longer than `sampling.label.window`, or a shorter window; with "
            "`sampling.label.value`, check that it is not always null",
        )
    if min(facts["positives"], facts["negatives"]) == 0:
        raise SampleError(
            "the mature samples have only one class",
            expected="labels 0 and 1",
            got=f"{facts['positives']} positive, {facts['negatives']} negative",
            fix="check `sampling.label` and its window",
        )


def check_cuts(cuts: Sequence[int], begin: int, end: int) -> None:
    """Checks that the cuts of the config are within the log.

    Args:
        cuts: when validation and test begin, in seconds since 1970.
        begin: of the log, likewise.
        end: of the log.

    Raises:
        SampleError: no event is before the first cut, or none after the second one.
    """
    if cuts[0] <= begin or cuts[1] > end:
        raise SampleError(
            "splits.cuts are outside the log",
            expected=f"times after {said_time(begin)}, when the log begins, and up to "
            f"{said_time(end)}, when it ends",
            got=", ".join(map(said_time, cuts)),
            fix="write times within the log into splits.cuts, or give splits.shares instead",
        )


def said_time(seconds: int) -> str:
    """A time for people, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def wrong_open_labels(sampling: Sampling, splits: Splits) -> str | None:
    """What a split needs of labels that arrive late or never; None if it is there."""
    if splits.open_windows == "train" and not sampling.label.where:
        return (
            "splits.open_windows: expected label events, which may arrive after the cut; set "
            "sampling.label.where and sampling.label.keys, or leave open_windows at gap"
        )
    if splits.unlabelled == "train" and not sampling.label.value:
        return (
            "splits.unlabelled: expected labels that can be null, but label events never are; set "
            "sampling.label.value, or leave unlabelled at immature"
        )
    return None
