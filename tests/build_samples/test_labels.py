"""Label events that follow several samples, and labels that may arrive until the log ends."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.known_labels import opened
from reweight.build_samples.labels import with_label
from reweight.build_samples.sampling import Label, Sampling
from reweight.build_samples.shared_labels import LabelEvents
from reweight.build_samples.splits import Splits, with_split

START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = "id long, user string, item string, kind string, event_time timestamp"
Event = tuple[int, str | None, str, str, datetime]
Attribute = Literal["last", "first"]
DAY = 86_400


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def bought(window: int | None, attribute: Attribute | None = None, **rest: Any) -> Sampling:
    label = Label(
        where="kind = 'buy'", keys=("user", "item"), window=window, attribute=attribute, **rest
    )
    return Sampling(anchor="kind = 'show'", key=("id",), label=label)


def labelled(events: DataFrame, sampling: Sampling) -> dict[int, tuple[float, float | None, int]]:
    """Label, delay and rank of each sample."""
    rows = with_label(events, sampling, F.lit(at(9 * DAY)).cast("timestamp")).collect()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: (row["label"], row["delay"], row["_label_rank"]) for row in rows}


def test_the_last_or_the_first_impression_before_a_purchase_is_the_positive(
    spark: SparkSession,
) -> None:
    shows = [(1, "a", 0), (2, "a", 5), (3, "a", 9), (4, "a", 12), (5, "b", 9.5), (6, "c", 0)]
    # The first purchase follows 1, 2 and 3, the second one 4; that of b comes too late.
    buys = [(7, "a", 9.5), (8, "a", 13), (9, "b", 30)]
    events: list[Event] = [(n, user, "x", "show", at(t)) for n, user, t in shows]
    events += [(n, user, "x", "buy", at(t)) for n, user, t in buys]
    frame = spark.createDataFrame(events, COLUMNS)
    wanted: dict[Attribute | None, set[int]] = {
        None: {1, 2, 3, 4},
        "last": {3, 4},
        "first": {1, 4},
    }
    for attribute, positives in wanted.items():
        found = labelled(frame, bought(10, attribute))
        assert {n for n, (label, _, _) in found.items() if label} == positives
        assert {n for n, (_, delay, _) in found.items() if delay is not None} == positives
        ranks = {n: rank for n, (_, _, rank) in found.items() if rank}
        order = (3, 2, 1) if attribute == "first" else (1, 2, 3)
        assert ranks == dict(zip((3, 2, 1, 4), (*order, 1), strict=True))


def random_log(seed: int, size: int = 500) -> list[Event]:
    draw = random.Random(seed)
    # Half seconds over ten minutes: many events at one time, many exactly at the end of a window.
    return [
        (
            number,
            draw.choice(["a", "b", None]),
            draw.choice(["x", "y"]),
            draw.choice(["show", "show", "show", "buy"]),
            at(draw.randrange(1200) / 2),
        )
        for number in range(size)
    ]


@pytest.mark.parametrize("window", [3, 40, None])
def test_attribution_in_random_logs_is_that_of_a_search(
    spark: SparkSession, window: int | None
) -> None:
    """Across the buckets in time into which keys are cut, and at equal times."""
    events = random_log(window or 0)
    frame = spark.createDataFrame(events, COLUMNS).persist()
    for same_time in ("before", "after"):
        groups: dict[tuple[Any, ...], list[tuple[datetime, int]]] = {}
        for number, user, item, kind, time in events:
            later = [
                t
                for _, u, i, k, t in events
                if k == "buy" and (u, i) == (user, item) and user
                if t > time or (t == time and same_time == "after")
                if window is None or t <= time + timedelta(seconds=window)
            ]
            if kind == "show" and later:
                groups.setdefault((user, item, min(later)), []).append((time, number))
        assert max(map(len, groups.values())) > 2
        several = sum(len(group) > 1 for group in groups.values())
        for attribute in (None, "last", "first"):
            found = labelled(frame, bought(window, attribute, same_time=same_time))  # type: ignore[arg-type]
            positive = {n for n, (label, _, _) in found.items() if label}
            ranks = Counter(rank for _, _, rank in found.values() if rank)
            assert (ranks[1], ranks[2]) == (len(groups), several)
            for group in groups.values():
                mine = [(t, n) for t, n in group if n in positive]
                assert sorted(found[n][2] for _, n in group) == [*range(1, len(group) + 1)]
                if attribute is None:
                    assert mine == group
                else:
                    # Of several at that time it may be any, but always the same one.
                    chosen = max(group)[0] if attribute == "last" else min(group)[0]
                    assert [t for t, _ in mine] == [chosen]
            assert len(positive) == (ranks[1] if attribute else sum(map(len, groups.values())))
    frame.unpersist()


def test_a_label_event_of_the_samples_own_key_is_never_shared() -> None:
    label = Label(where="kind = 'buy'", keys=("user", "id"), window=10)
    assert not Sampling(key=("ID",), label=label).may_share
    assert Sampling(key=("id", "item"), label=label).may_share
    assert Sampling(label=label).may_share
    assert not Sampling(label=Label(value="bought")).may_share


def test_attribution_is_refused_where_there_are_no_label_events() -> None:
    with pytest.raises(ValueError, match="attribute"):
        Label(value="bought", attribute="last")


@pytest.mark.parametrize("attribute", [None, "last"])
def test_the_summary_counts_label_events_that_follow_several_samples(
    attribute: Attribute | None,
) -> None:
    facts = {"label_events": 4_000, "shared_events": 1_200}
    found = LabelEvents.of(facts, bought(10, attribute))
    assert (found.shared, found.attributed) == ((0, 1_200) if attribute else (1_200, 0))
    assert found.shared_share == found.shared / 4_000
    text = found.said()["label events"]
    assert text.startswith("1,200 of 4,000 follow several samples of the same user, item")
    assert ("last of them" in text) == (attribute == "last")
    assert LabelEvents.of(facts | {"shared_events": 0}, bought(10)).said() == {}


def test_without_a_window_rows_before_the_cut_have_what_was_known_and_later_ones_all(
    spark: SparkSession,
) -> None:
    shows = {1: 0, 2: 0, 3: 1, 4: 2, 5: 4, 6: 5, 7: 6}  # sample -> day
    buys = {1: 1, 2: 3, 5: 8, 7: 6.5}
    events: list[Event] = [(n, str(n), "x", "show", at(t * DAY)) for n, t in shows.items()]
    events += [(n, str(n), "x", "buy", at(t * DAY)) for n, t in buys.items()]
    samples = with_label(
        spark.createDataFrame(events, COLUMNS), bought(None), F.lit(at(9 * DAY)).cast("timestamp")
    )
    samples = samples.withColumns({"sample_id": F.col("id"), "group_id": F.col("user")})
    samples = samples.withColumn("segment", F.lit(None).cast("string")).persist()
    cuts = ["2026-03-04", "2026-03-06"]
    splits = Splits.model_validate({"by": "time", "open_windows": "train", "cuts": cuts})
    rows = with_split(samples, splits, 0, None).collect()
    found = {r["id"]: tuple(r[c] for c in ("split", "label", "mature", "delay")) for r in rows}
    # The purchase on 2 came at the very cut, which is not before it. Nothing is a gap.
    assert found == {
        1: ("train", 1, False, 1),
        2: ("train", 0, False, None),
        3: ("train", 0, False, None),
        4: ("train", 0, False, None),
        5: ("validation", 1, True, 4),
        6: ("test", 0, True, None),
        7: ("test", 1, True, 0.5),
    }
    days = {r["id"]: r["elapsed"] for r in rows}
    assert days == {1: 3, 2: 3, 3: 2, 4: 1, 5: 5, 6: 4, 7: 3}
    assert opened(samples, splits.seconds, None) == [3, 3]
    assert opened(samples, [], None) == []
    samples.unpersist()
