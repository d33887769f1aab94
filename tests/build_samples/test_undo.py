"""Label events that are taken back: refunds, cancellations."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.known_labels import with_known_times
from reweight.build_samples.labels import with_label
from reweight.build_samples.sampling import Label, Sampling, with_identity
from reweight.build_samples.splits import Splits, with_split

START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = "id long, user string, kind string, event_time timestamp"
HOUR = 3600
WINDOW, BACK, END = 40 * HOUR, 30 * HOUR, 400 * HOUR
CUT = 200 * HOUR


def undone(window: int = WINDOW, back: int = BACK, attribute: str | None = None) -> Sampling:
    undo = {"where": "kind = 'refund'", "window": f"{back} seconds"}
    label = {"where": "kind = 'buy'", "keys": ["user"], "window": f"{window} seconds", "undo": undo}
    label |= {"attribute": attribute}
    return Sampling(anchor="kind = 'show'", key=("id",), label=Label.model_validate(label))


def test_a_label_that_is_taken_back_is_that_of_a_search(spark: SparkSession) -> None:
    """In a random log, for each sample as the log ends, and as it was known at a cut."""
    draw = random.Random(0)
    kinds = ["show", "show", "buy", "refund"]
    events = [
        (n, draw.choice(["a", "b", "c", None]), draw.choice(kinds), draw.randrange(800) * HOUR // 2)
        for n in range(600)
    ]
    rows = [(n, user, kind, START + timedelta(seconds=t)) for n, user, kind, t in events]
    log = spark.createDataFrame(rows, COLUMNS)
    end = F.lit(START + timedelta(seconds=END)).cast("timestamp")
    samples = with_label(log, undone(), end).transform(with_identity, undone()).persist()
    cuts = [(START + timedelta(seconds=t)).isoformat() for t in (CUT, CUT + 100 * HOUR)]
    splits = Splits.model_validate({"by": "time", "open_windows": "train", "cuts": cuts})
    at_cut = with_known_times(samples, log, undone(), splits.seconds[0])
    known = {r["id"]: r for r in with_split(at_cut, splits, 0, WINDOW, undo=BACK).collect()}

    def search(user: str | None, begin: int, until: int) -> tuple[int | None, int | None]:
        """The label event of a sample in a log that ends before a time, and its undo."""

        def of(kind: str, begin: int, longest: int) -> list[int]:
            times = [t for _, u, k, t in events if (u, k) == (user, kind) and user]
            return sorted(t for t in times if begin < t <= begin + longest and t < until)

        within = of("buy", begin, WINDOW)
        lasting = [t for t in within if not of("refund", t, BACK)]
        chosen = min(lasting or within, default=None)
        return chosen, None if lasting or chosen is None else of("refund", chosen, BACK)[0]

    outcomes, changed, forgotten = set(), 0, 0
    assert len(known) == samples.count()
    for row in samples.collect():
        n = row["id"]
        _, user, _, begin = events[n]
        chosen, taken = search(user, begin, END + 1)
        assert row["label"] == (chosen is not None and taken is None)
        for name, time in (("label_time", chosen), ("undo_time", taken)):
            assert row[name] == (None if time is None else unaware(time)), (n, name)
        assert row["mature"] == (begin + WINDOW + BACK <= END)
        for name, time in (("delay", chosen), ("undone", taken)):
            share = None if time is None else pytest.approx((time - begin) / WINDOW)
            assert row[name] == share, (n, name)
        longest = (WINDOW + BACK) / WINDOW
        assert row["elapsed"] == pytest.approx(min(longest, (END - begin) / WINDOW))
        outcomes.add((row["label"], taken is not None))
        if begin < CUT:
            bought, back = search(user, begin, CUT)
            then = bought is not None and back is None
            assert known[n]["label"] == then
            assert known[n]["mature"] == (begin + WINDOW + BACK < CUT)
            assert known[n]["elapsed"] == pytest.approx(min(longest, (CUT - begin) / WINDOW))
            for name, share, time in (
                ("label_time", "delay", bought),
                ("undo_time", "undone", back),
            ):
                assert known[n][name] == (None if time is None else unaware(time)), (n, name)
                late = None if time is None else pytest.approx((time - begin) / WINDOW)
                assert known[n][share] == late, (n, share)
            changed += then != row["label"]
            # Its first purchase was taken back after the cut, and another one followed.
            forgotten += then and chosen != bought
        else:
            assert known[n]["label"] == row["label"]
    assert outcomes == {(1.0, False), (0.0, True), (0.0, False)}
    assert changed > 5
    assert forgotten > 5
    samples.unpersist()


def unaware(seconds: int) -> datetime:
    """As Spark returns it in a session of UTC, on a machine of any time zone."""
    return datetime.fromtimestamp((START + timedelta(seconds=seconds)).timestamp())


Outcome = tuple[int, str, int | None, int | None, int | None]


def outcomes_of_a_search(
    events: list[tuple[int, str, str, int]], window: int, back: int, attribute: str | None
) -> Iterator[Outcome]:
    """Sample, user, label time, undo time and rank, of users who do one thing at a time."""

    def of(user: str, kind: str, begin: int, longest: int) -> list[int]:
        times = [t for _, u, k, t in events if (u, k) == (user, kind)]
        return sorted(t for t in times if begin < t <= begin + longest)

    groups: dict[tuple[str, int | None], list[tuple[int, int]]] = {}
    undone_at: dict[tuple[str, int | None], int | None] = {}
    for n, user, kind, begin in events:
        if kind == "show":
            within = of(user, "buy", begin, window)
            refunds = {t: min(of(user, "refund", t, back), default=None) for t in within}
            lasting = [t for t in within if refunds[t] is None]
            chosen = min(lasting or within, default=None)
            groups.setdefault((user, chosen), []).append((begin, n))
            undone_at[user, chosen] = None if chosen is None else refunds[chosen]
    for (user, time), samples in groups.items():
        for rank, (_, n) in enumerate(sorted(samples, reverse=attribute != "first"), 1):
            has_it = time is not None and (attribute is None or rank == 1)
            taken = undone_at[user, time] if has_it else None
            yield n, user, time if has_it else None, taken, None if time is None else rank


@pytest.mark.parametrize("attribute", ["last", "first", None])
def test_labels_do_not_depend_on_where_the_buckets_of_time_begin(
    spark: SparkSession, attribute: str | None
) -> None:
    """One log at several shifts against the windows, which must all have the labels of a search."""
    window, back, draw = 100, 10, random.Random(1)
    kinds = ["show", "show", "buy", "refund"]
    log = [(f"random {u}", t, draw.choice(kinds)) for u in range(8) for t in range(60, 960, 15)]
    log = [(user, t + draw.randrange(15), kind) for user, t, kind in log]
    # The second purchase is in the window of the second sample alone, in the bucket after the next.
    told = [(80, "show"), (110, "show"), (150, "buy"), (155, "refund"), (205, "buy")]
    log += [("told", t, kind) for t, kind in told]
    events = [(n, user, kind, t) for n, (user, t, kind) in enumerate(log)]
    expected = set(outcomes_of_a_search(events, window, back, attribute))
    assert (len(log) - 5, "told", 150, 155, 1) in expected
    assert (len(log) - 4, "told", 205, None, 1) in expected
    # As if each shift were of other users: all in one pass.
    shifts = (0, 17, 25, 50, 83)
    origin = START + timedelta(seconds=-int(START.timestamp()) % window)
    rows: list[Any] = [
        (n, f"{user}, {shift}", kind, origin + timedelta(seconds=t + shift))
        for shift in shifts
        for n, user, kind, t in events
    ]
    end = F.lit(START + timedelta(days=1)).cast("timestamp")
    samples = with_label(spark.createDataFrame(rows, COLUMNS), undone(window, back, attribute), end)
    seconds = [F.unix_seconds(c).alias(c) for c in ("event_time", "label_time", "undo_time")]
    by_shift: dict[int, set[Outcome]] = {shift: set() for shift in shifts}
    for row in samples.select("id", "user", "label", "_label_rank", *seconds).collect():
        user, shift = row["user"].split(", ")
        begin = int(origin.timestamp()) + int(shift)
        bought, taken = (
            None if row[c] is None else row[c] - begin for c in ("label_time", "undo_time")
        )
        by_shift[int(shift)].add((row["id"], user, bought, taken, row["_label_rank"]))
        assert row["label"] == (bought is not None and taken is None)
        # Nothing outside its window counts for a sample.
        assert bought is None or 0 < row["label_time"] - row["event_time"] <= window
    for shift in shifts:
        assert by_shift[shift] == expected, shift


def test_a_label_settles_once_both_windows_have_closed() -> None:
    assert undone().label.settles == WINDOW + BACK
    assert Label(where="true", keys=("user",), window="3 days").settles == 3 * 86_400
    assert Label(where="true", keys=("user",)).settles is None


@pytest.mark.parametrize(
    ("label", "named"),
    [
        ({"value": "bought", "undo": {"where": "true", "window": "1 day"}}, "undo"),
        (
            {
                **{"where": "kind = 'buy'", "keys": ["user"], "same_time": "after"},
                "undo": {"where": "kind = 'refund'", "window": "1 day"},
            },
            "remove same_time",
        ),
        ({"where": "kind = 'buy'", "keys": ["user"], "undo": {"where": "true"}}, "window"),
    ],
)
def test_what_takes_nothing_back_is_refused(label: dict[str, object], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Label.model_validate(label)
