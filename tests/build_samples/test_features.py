"""Features: what a plain search of the past finds, statistics of training alone, named errors."""

import math
import random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.collapse import Collapse, collapsed
from reweight.build_samples.encoding import (
    check_features,
    check_stats,
    with_features,
    with_raw_features,
)
from reweight.build_samples.feature_stats import FeatureStats, feature_quantiles, fit_features
from reweight.build_samples.features import Categorical, Features, OneHot, feature_names
from reweight.build_samples.history import History
from reweight.build_samples.sequence import EventSequence
from reweight.core.errors import SampleError, SourceError

HOUR, DAY = 3600, 86400
START = 1_770_000_000
COLUMNS = "n long, user string, item string, kind string, t long"
Event = tuple[int, str | None, str | None, str, int]
Numbers = dict[int, dict[str, float | None]]


def timed(spark: SparkSession, rows: list[Any], columns: str = COLUMNS) -> DataFrame:
    frame = spark.createDataFrame(rows, columns)
    return frame.withColumn("event_time", F.timestamp_seconds("t"))


def numbers(samples: DataFrame, events: DataFrame, features: Features) -> Numbers:
    """Raw numbers of each sample, by name; history first, in the order of the section."""
    names = []
    for name, history in features.history.items():
        for window in history.windows:
            short = "all" if window == "all" else f"{window // HOUR}h"
            short = short if window == "all" or window % DAY else f"{window // DAY}d"
            names += [f"{name}_{c}_{short}" for c in (*history.counts, *history.rates)]
        names += [f"{name}_{c}_age" for c in history.recency]
    names += list(features.numeric)
    found = with_raw_features(samples, events, features).select("n", "_numbers").collect()
    assert len({row["n"] for row in found}) == len(found)
    return {row["n"]: dict(zip(names, row["_numbers"], strict=True)) for row in found}


def encoded(
    samples: DataFrame, features: Features, stats: FeatureStats, events: DataFrame | None = None
) -> tuple[NDArray[np.float64], list[list[int]]]:
    raw = with_raw_features(samples, samples if events is None else events, features)
    rows = with_features(raw, features, stats).select("n", "features", "ids").collect()
    rows.sort()
    return np.array([row["features"] for row in rows]), [row["ids"] for row in rows]


def random_log(seed: int, size: int = 300) -> list[Event]:
    draw = random.Random(seed)
    return [
        (
            n,
            draw.choice(["a", "a", "a", "b", "c", None]),
            draw.choice(["x", "y", "z", None]),
            draw.choice(["show", "show", "click", "buy"]),
            # Many on the edges of hours and days, some before 1970.
            draw.choice([START // DAY * DAY, -DAY]) + draw.randrange(4 * 48) * HOUR // 2,
        )
        for n in range(size)
    ]


def searched(events: list[Event], sample: Event, features: Features) -> dict[str, float | None]:
    """The same by looking at every event."""
    kinds = {"shown": "show", "clicked": "click"}
    place = {"user": 1, "item": 2}
    found: dict[str, float | None] = {}
    for name, history in features.history.items():
        now = sample[-1] // history.grain * history.grain
        keys = [place[k] for k in history.keys]
        past = [
            e
            for e in events
            if e[-1] < now and all(e[k] == sample[k] and e[k] is not None for k in keys)
        ]
        for window in history.windows:
            begin = -math.inf if window == "all" else now - window
            short = "all" if window == "all" else f"{window // HOUR}h"
            short = short if window == "all" or window % DAY else f"{window // DAY}d"
            n = {c: sum(e[3] == k and e[-1] >= begin for e in past) for c, k in kinds.items()}
            found |= {f"{name}_{c}_{short}": math.log1p(count) for c, count in n.items()}
            rate = n["clicked"] / n["shown"] if n["shown"] else None
            found[f"{name}_rate_{short}"] = rate
        last = max((e[-1] for e in past if e[3] == "click"), default=None)
        age = None if last is None else math.log1p((now - last) / DAY)
        found[f"{name}_clicked_age"] = age
    return found


def histories(**by_name: dict[str, Any]) -> Features:
    common = {
        "counts": {"shown": "kind = 'show'", "clicked": "kind = 'click'"},
        "rates": {"rate": ("clicked", "shown")},
        "recency": ("clicked",),
    }
    made = {name: History.model_validate(common | more) for name, more in by_name.items()}
    return Features(history=made)


HISTORIES = histories(
    user={"keys": ["user"], "windows": ["3 hours", "1 day", "all"], "grain": "1 hour"},
    item={"keys": ["item"], "windows": ["1 day", "2 days"], "grain": "1 day"},
    both={"keys": ["user", "item"], "windows": ["all"], "grain": "1 hour"},
)


def test_history_is_what_a_search_of_whole_grains_before_the_sample_finds(
    spark: SparkSession,
) -> None:
    events = random_log(seed=0)
    frame = timed(spark, events)
    found = numbers(frame.where("kind = 'show'"), frame, HISTORIES)
    samples = [e for e in events if e[3] == "show"]
    assert len(found) == len(samples)
    known = 0
    for sample in samples:
        wanted = searched(events, sample, HISTORIES)
        assert found[sample[0]] == pytest.approx(wanted, nan_ok=False)
        known += sum(bool(value) for value in wanted.values())
    # Not by chance: a good part of the answers is neither zero nor missing.
    assert known > 5 * len(samples)


@pytest.mark.parametrize("time", ["min(event_time)", "max(event_time)"])
def test_a_merged_event_counts_for_others_once_its_last_part_was_there(
    spark: SparkSession, time: str
) -> None:
    """A pair that is bought days after its first view was not bought when others saw the item."""
    day = START // DAY
    log = [("a", "view", 1), ("b", "view", 5), ("a", "buy", 20), ("c", "view", 25)]
    rows: list[Event] = [(n, u, "x", k, (day + d) * DAY) for n, (u, k, d) in enumerate(log)]
    columns = {"event_time": time, "n": "min(n)", "bought": "max(kind = 'buy')"}
    pairs = collapsed(timed(spark, rows), Collapse(keys=("user", "item"), columns=columns))
    late = f"event_time > timestamp_seconds({(day + 15) * DAY})"
    counts = {"bought": "bought", "pairs": "true", "late": late}
    by_item = {"keys": ["item"], "counts": counts, "recency": ["bought"]}
    sequence = {"keys": ["item"], "length": 2, "fields": {"bought": {"value": "bought"}}}
    features = Features.model_validate({"history": {"item": by_item}, "sequence": sequence})
    found = numbers(pairs, pairs, features)
    of_b = {"item_bought_all": 0, "item_pairs_all": 0, "item_late_all": 0, "item_bought_age": None}
    # The time in a condition, and that of the sample, stay as configured.
    later = math.log1p(time.startswith("max"))
    of_c = {"item_bought_all": math.log(2), "item_pairs_all": math.log(3), "item_late_all": later}
    # With max, the first sample is at the day of the purchase, when b was known.
    of_a = {**of_b, "item_pairs_all": later}
    assert found == {
        0: pytest.approx(of_a),
        1: pytest.approx(of_b),
        3: pytest.approx({**of_c, "item_bought_age": math.log1p(5)}),
    }
    raw = with_raw_features(pairs, pairs, features).select("n", "sequence_gaps").collect()
    gaps = {row["n"]: [g for g in row["sequence_gaps"] if g >= 0] for row in raw}
    assert gaps[1] == []
    assert gaps[3] == pytest.approx([math.log1p(20 * DAY), math.log1p(5 * DAY)])


def test_nothing_of_the_samples_own_grain_or_later_is_used(spark: SparkSession) -> None:
    hour = START // HOUR * HOUR
    at = [hour - HOUR - 1, hour - 1, hour, hour + 1800, hour + 3599, hour + HOUR, hour + DAY]
    events: list[Event] = [(n, "a", "x", "click", t) for n, t in enumerate(at)]
    sample: list[Event] = [(99, "a", "x", "show", hour + 1800)]
    features = histories(user={"keys": ["user"], "windows": ["1 hour", "all"], "grain": "1 hour"})
    found = numbers(timed(spark, sample), timed(spark, events), features)[99]
    assert found["user_clicked_1h"] == pytest.approx(math.log1p(1))
    assert found["user_clicked_all"] == pytest.approx(math.log1p(2))
    assert found["user_clicked_age"] == pytest.approx(math.log1p(1 / DAY))


def test_a_null_key_and_a_new_key_have_no_history(spark: SparkSession) -> None:
    events: list[Event] = [(0, None, "x", "click", START - DAY), (1, "a", "x", "show", START - DAY)]
    samples: list[Event] = [(2, None, "x", "show", START), (3, "new", "x", "show", START)]
    features = histories(user={"keys": ["user"]})
    found = numbers(timed(spark, samples), timed(spark, events), features)
    nothing = {"user_shown_all": 0, "user_clicked_all": 0, "user_rate_all": None}
    assert found == {n: nothing | {"user_clicked_age": None} for n in (2, 3)}


def test_a_key_with_most_of_the_events_has_the_same_answer(spark: SparkSession) -> None:
    hour = START // HOUR * HOUR
    hot = spark.range(200_000, numPartitions=2).select(
        F.col("id").alias("n"),
        F.when(F.col("id") % 1000 == 0, "cold").otherwise("hot").alias("user"),
        F.lit("x").alias("item"),
        F.when(F.col("id") % 4 == 0, "click").otherwise("show").alias("kind"),
        F.timestamp_seconds(hour - 1 - F.col("id") % (50 * HOUR)).alias("event_time"),
    )
    samples: list[Event] = [(n, u, "x", "show", hour) for n, u in enumerate(("hot", "cold"))]
    features = histories(user={"keys": ["user"], "windows": ["1 hour", "all"], "grain": "1 hour"})
    found = numbers(timed(spark, samples), hot, features)
    ids = range(200_000)
    for n, cold in enumerate((False, True)):
        own = [i for i in ids if (i % 1000 == 0) == cold]
        late = [i for i in own if i % (50 * HOUR) < HOUR]
        for window, some in (("all", own), ("1h", late)):
            clicks = sum(i % 4 == 0 for i in some)
            assert found[n][f"user_clicked_{window}"] == pytest.approx(math.log1p(clicks))
            rest = len(some) - clicks
            assert found[n][f"user_shown_{window}"] == pytest.approx(math.log1p(rest))


def test_many_histories_make_a_plan_that_grows_with_their_number_alone(
    spark: SparkSession,
) -> None:
    frame = timed(spark, random_log(0, 20))
    sizes = []
    for count in (2, 4, 6):
        some = {f"h{i}": {"keys": ["user"], "grain": (i + 1) * HOUR} for i in range(count)}
        raw = with_raw_features(frame, frame, histories(**some))
        plan = raw._jdf.queryExecution().analyzed().toString()
        sizes.append(plan.count("LogicalRDD"))
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0]


SEQUENCE = EventSequence(keys=("colour",), fields={"x": Categorical(value="x")})
TABLE = "n long, x double, hole string, flat double, colour string, t long"
MANY: list[tuple[Any, ...]] = [
    (
        n,
        n / 7,
        None if n % 5 == 0 else str(n % 9),
        1e9 + 0.1,
        "rgbk"[n * n % 7 % 4],
        START + n * HOUR,
    )
    for n in range(40)
]
PLAIN = Features(
    numeric={"x": "x", "hole": "try_cast(hole AS double)", "flat": "flat"},
    one_hot={"colour": OneHot(value="colour", values=9)},
    cyclic=("hour_of_day",),
    categorical={"colour": Categorical(value="colour", buckets=8)},
    dim=16,
)


@pytest.fixture(scope="module")
def table(spark: SparkSession) -> DataFrame:
    return timed(spark, MANY, TABLE).cache()


@pytest.fixture(scope="module")
def stats(table: DataFrame) -> FeatureStats:
    return fit_features(with_raw_features(table, table, PLAIN).where("n < 30"), PLAIN)


def test_numbers_have_mean_0_and_deviation_1_over_training_rows_alone(
    table: DataFrame, stats: FeatureStats
) -> None:
    dense, _ = encoded(table, PLAIN, stats)
    assert stats.names[:6] == ("x", "hole", "flat", "x_missing", "hole_missing", "flat_missing")
    train = dense[:30]
    there = train[:, 4] == 0
    assert there.sum() == 24
    for values in (train[:, 0], train[there, 1]):
        assert values.mean() == pytest.approx(0, abs=2e-6)
        assert values.std() == pytest.approx(1, abs=2e-6)
    assert dense[35, 0] == pytest.approx((35 / 7 - 29 / 14) / (np.arange(30) / 7).std(), rel=1e-5)
    assert (dense[:, 2] == 0).all()
    assert dense.shape == (40, 16)
    assert stats.names[8:12] == ("colour=b", "colour=g", "colour=r", "padding_11")
    assert not dense[:, 11:].any()


def test_missing_values_become_0_and_are_marked(spark: SparkSession, table: DataFrame) -> None:
    features = Features(numeric={"x": "x"})
    stats = FeatureStats(
        names=("x", "x_missing"), scaling={"x": (3, 2)}, vocabulary={}, cardinalities={}
    )
    values = [None, math.nan, math.inf, -math.inf, 1e300, 3.0, 7.0, 3e38, -3e38]
    rows = timed(spark, [(n, x, START) for n, x in enumerate(values)], "n long, x double, t long")
    dense, _ = encoded(rows, features, stats)
    assert dense.tolist() == [*[[0, 1]] * 5, [0, 0], [2, 0], [1e6, 0], [-1e6, 0]]


def test_a_vocabulary_is_the_most_frequent_of_training_and_the_rest_is_zero(
    spark: SparkSession,
) -> None:
    text = "aaaabbbbccd" + "d" * 9 + "?"
    rows: list[tuple[Any, ...]] = [
        (n, None if c == "?" else c, str(n % 2), START) for n, c in enumerate(text)
    ]
    frame = timed(spark, rows, "n long, c string, even string, t long")
    one_hot = {"c": OneHot(value="c", values=2), "even": OneHot(value="even", values=7)}
    features = Features(one_hot=one_hot)
    stats = fit_features(with_raw_features(frame, frame, features).where("n < 11"), features)
    assert stats.names == ("c=a", "c=b", "even=0", "even=1")
    dense, _ = encoded(frame, features, stats)
    wanted = [
        [float(c == "a"), float(c == "b"), float(n % 2 == 0), float(n % 2)]
        for n, c in enumerate(text)
    ]
    assert dense.tolist() == wanted


def test_ids_are_hashes_in_range_and_null_is_0(spark: SparkSession) -> None:
    categories = 100_000
    rows = spark.range(categories + 1, numPartitions=2).select(
        F.col("id").alias("n"),
        F.when(F.col("id") < categories, F.col("id")).alias("c"),
        F.timestamp_seconds(F.lit(START)).alias("event_time"),
    )
    # The frequent ones of 100,000 values are found among them.
    often = spark.range(300).select(
        F.col("id").alias("n"),
        (F.col("id") % 3).alias("c"),
        F.current_timestamp().alias("event_time"),
    )
    features = Features(
        one_hot={"c": OneHot(value="c", values=3)},
        categorical={
            "c": Categorical(value="c", buckets=50),
            "pair": Categorical(value="c % 2", buckets=2),
        },
    )
    raw = with_raw_features(rows.unionByName(often), rows, features)
    stats = fit_features(raw, features)
    assert stats.names == ("c=0", "c=1", "c=2")
    assert stats.cardinalities == {"c": 50, "pair": 2}
    ids = raw.select("c", F.col("ids")[0].alias("one"), F.col("ids")[1].alias("two"))
    counted = ids.groupBy(F.isnull("c"), "one", "two").agg(F.count("*"), F.max("c")).collect()
    assert [tuple(row)[1:4] for row in counted if row[0]] == [(0, 0, 1)]
    filled = {row[1]: row[3] for row in counted if not row[0]}
    assert set(filled) == set(range(1, 50))
    # 2,047 of each: five standard deviations are 224.
    assert max(abs(n - categories / 49) for n in filled.values()) < 330
    assert {row[2] for row in counted if not row[0]} == {1}


def test_times_go_round(spark: SparkSession) -> None:
    sunday, day = 3 * DAY, 20_000 * DAY
    rows = [(0, day), (1, day + 6 * HOUR), (2, day + 23 * HOUR + 3599), (3, day + 7 * DAY)]
    rows += [(4, -6 * HOUR), (5, sunday + 7 * DAY)]
    frame = timed(spark, rows, "n long, t long")
    features = Features(cyclic=("hour_of_day", "day_of_week", "day_of_year"))
    stats = fit_features(with_raw_features(frame, frame, features), features)
    parts = ("hour_of_day", "day_of_week", "day_of_year")
    assert stats.names == tuple(f"{p}_{w}" for p in parts for w in ("sin", "cos"))
    dense, _ = encoded(frame, features, stats)
    np.testing.assert_allclose(dense[0, :2], [0, 1], atol=1e-6)
    np.testing.assert_allclose(dense[1, :2], [1, 0], atol=1e-6)
    np.testing.assert_allclose(dense[2, :2], [0, 1], atol=1e-3)
    np.testing.assert_allclose(dense[4, :2], [-1, 0], atol=1e-6)
    np.testing.assert_allclose(dense[3, 2:4], dense[0, 2:4], atol=1e-6)
    angle = 2 * math.pi * 3 / 7
    np.testing.assert_allclose(dense[5, 2:4], [math.sin(angle), math.cos(angle)], atol=1e-6)
    np.testing.assert_allclose((dense.reshape(6, 3, 2) ** 2).sum(axis=2), 1, atol=1e-6)


def test_stored_statistics_encode_later_rows_alike(
    spark: SparkSession, table: DataFrame, stats: FeatureStats
) -> None:
    stored = FeatureStats.model_validate_json(stats.model_dump_json())
    assert stored == stats
    later = table.where("n >= 30")
    dense, ids = encoded(later, PLAIN, stored)
    whole, all_ids = encoded(table.orderBy(F.rand(1)).repartition(5), PLAIN, stats)
    assert dense.tolist() == whole[30:].tolist()
    assert ids == all_ids[30:]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"numeric": {"x": "x", "other": "flat", "hole": "hole"}}, "other"),
        ({"numeric": {"hole": "hole", "x": "x", "flat": "flat"}}, "order"),
        ({"one_hot": {}}, "colour=b"),
        ({"categorical": {}}, "ids"),
        ({"sequence": SEQUENCE}, "another sequence"),
    ],
)
def test_statistics_of_other_features_are_refused(
    table: DataFrame, stats: FeatureStats, change: dict[str, Any], named: str
) -> None:
    other = PLAIN.model_copy(update=change)
    with pytest.raises(SampleError, match=f"other features(.|\n)*{named}"):
        with_features(table, other, stats)


@pytest.mark.parametrize("cyclic", [(), ("hour_of_day",)])
def test_statistics_of_more_features_are_refused(cyclic: tuple[str, ...]) -> None:
    """Even if those of the config come first among them."""
    more = Features(numeric={"x": "x"}, cyclic=("hour_of_day", "day_of_week"), dim=7)
    names = (*feature_names(more, {}), "padding_6")
    stored = FeatureStats(names=names, scaling={"x": (0, 1)}, vocabulary={}, cardinalities={})
    check_stats(more, stored)
    with pytest.raises(SampleError, match="other features") as caught:
        check_stats(more.model_copy(update={"cyclic": cyclic}), stored)
    assert "'day_of_week_cos', 'day_of_week_sin'" in caught.value.got
    assert "padding" not in caught.value.got


def test_statistics_of_ids_in_another_order_are_refused() -> None:
    values = {"item": {"value": "item", "buckets": 8}, "shop": {"value": "shop", "buckets": 8}}
    declared = Features.model_validate({"categorical": values})
    sizes = {"item": 8, "shop": 8}
    stored = FeatureStats(names=(), scaling={}, vocabulary={}, cardinalities=sizes)
    check_stats(declared, stored)
    swapped = dict(reversed(sizes.items()))
    with pytest.raises(SampleError, match="other features") as caught:
        check_stats(declared, stored.model_copy(update={"cardinalities": swapped}))
    assert caught.value.got == "another order, or other ids"


def test_statistics_do_not_depend_on_partitions(table: DataFrame, stats: FeatureStats) -> None:
    train = with_raw_features(table, table, PLAIN).where("n < 30")
    for seed in (1, 2):
        assert fit_features(train.orderBy(F.rand(seed)).repartition(4 * seed), PLAIN) == stats


def test_features_that_do_not_fit_are_named(table: DataFrame) -> None:
    train = with_raw_features(table, table, PLAIN)
    with pytest.raises(SampleError, match=r"1 to 9 features(.|\n)*colour=g(.|\n)*colour=r"):
        fit_features(train, PLAIN.model_copy(update={"dim": 9}))
    with pytest.raises(SampleError, match="no feature is declared"):
        empty = Features(categorical=PLAIN.categorical)
        fit_features(with_raw_features(table, table, empty), empty)


def test_features_without_any_value_are_named_together(table: DataFrame) -> None:
    features = Features(
        numeric={"x": "x", "void": "x / 0", "words": "try_cast(colour AS double)"},
        one_hot={"none": OneHot(value="cast(null as string)"), "c": OneHot(value="colour")},
    )
    with pytest.raises(SampleError) as caught:
        fit_features(with_raw_features(table, table, features), features)
    assert "['void', 'words', 'none'] have no value" in str(caught.value)


def test_thousands_of_numeric_features_are_as_good_as_one(spark: SparkSession) -> None:
    count, rows = 2000, 50
    frame = spark.range(rows, numPartitions=2).select(
        F.col("id").alias("n"),
        F.timestamp_seconds("id").alias("event_time"),
        F.transform(F.sequence(F.lit(1), F.lit(count)), lambda i: F.sin(i * F.col("id"))).alias(
            "v"
        ),
    )
    features = Features(numeric={f"f{i}": f"v[{i}]" for i in range(count)})
    raw = with_raw_features(frame, frame, features).cache()
    dense, _ = encoded(frame, features, fit_features(raw, features))
    values = np.sin(np.outer(np.arange(rows), np.arange(1, count + 1)))
    wanted = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(dense[:, :count], wanted, atol=1e-5)
    assert not dense[:, count:].any()


def test_all_wrong_expressions_are_named_together(table: DataFrame) -> None:
    check_features(table, table, PLAIN)
    history = History(keys=("colour", "maker"), counts={"all": "true", "odd": "n %% 2"})
    wrong = Features(
        numeric={"x": "x", "y": "y"},
        one_hot={"shape": OneHot(value="shape")},
        categorical={"size": Categorical(value="size_of(x)")},
        history={"past": history},
    )
    with pytest.raises(SourceError) as caught:
        check_features(table, table, wrong.model_copy(update={"history": {}}))
    for place in ("numeric.y", "one_hot.shape", "categorical.size"):
        assert f"\n    {place}: " in str(caught.value)
    assert "3 error(s)" in str(caught.value)
    with pytest.raises(SourceError, match=r"history\.past\.keys\.maker"):
        check_features(table, table, Features(history={"past": history}))
    # Each is checked in the form in which it is used.
    typed = table.selectExpr("*", "array(n) AS tags", "map(n, n) AS facts")
    past = {"past": History(keys=("facts",), counts={"all": "true"})}
    with pytest.raises(SourceError) as caught:
        check_features(typed, typed, Features(numeric={"tags": "tags"}, history=past))
    for place in ("numeric.tags: tags", "history.past.keys.facts: facts"):
        assert f"\n    {place}\n" in caught.value.got
    past = {"past": History(keys=("n",), counts={"spent": "x"})}
    sequence = SEQUENCE.model_copy(update={"where": "x"})
    with pytest.raises(SourceError) as caught:
        check_features(typed, typed, Features(history=past, sequence=sequence))
    for place in ("history.past.counts.spent: x", "sequence.where: x"):
        assert f"\n    {place}\n" in caught.value.got


@pytest.mark.parametrize(
    ("history", "named"),
    [
        ({"rates": {"r": ["some", "none"]}}, "none"),
        ({"recency": ["none"]}, "none"),
        ({"windows": ["1 hour"]}, "whole grains"),
        ({"windows": ["36 hours"]}, r"whole grains \(1 day\); got \['36 hours'\]"),
        ({"grain": 0}, "greater than 0"),
    ],
)
def test_histories_that_make_no_sense_are_refused(history: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        History.model_validate({"keys": ["user"], "counts": {"some": "true"}} | history)


def test_windows_that_share_an_hour_have_names_of_their_own_and_no_name_is_used_twice() -> None:
    windows = ["30 minutes", "60 minutes", "90 minutes", "1 day"]
    history = {"keys": ["user"], "counts": {"c": "true"}, "windows": windows, "grain": "30 minutes"}
    names = Features.model_validate({"history": {"h": history}})
    assert names.history["h"].windows == (1800, 3600, 5400, DAY)
    with pytest.raises(ValidationError, match="h_c_90m"):
        Features.model_validate({"history": {"h": history}, "numeric": {"h_c_90m": "1"}})


@pytest.mark.parametrize("bins", [1, 3, 4])
def test_quantiles_of_features_are_those_of_numpy(spark: SparkSession, bins: int) -> None:
    draw = np.random.default_rng(1)
    rows = 500
    # A smooth one, one with ties, an indicator and a constant.
    columns = [draw.lognormal(size=rows), draw.integers(0, 7, rows), draw.random(rows) < 0.2]
    matrix = np.stack([*columns, np.full(rows, 3.5)], axis=1).astype(np.float32)
    train = spark.createDataFrame(
        [(n, row) for n, row in enumerate(matrix.tolist())],
        "sample_id long, features array<float>",
    )
    found = feature_quantiles(train, rows, bins)
    wanted = np.quantile(matrix.astype(np.float64), np.linspace(0, 1, bins + 1), axis=0).T
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    moved = train.orderBy(F.rand(1)).repartition(5)
    assert feature_quantiles(moved, rows, bins) == found


def test_quantiles_of_many_rows_are_those_of_a_hashed_part(spark: SparkSession) -> None:
    rows = 200_000
    train = spark.range(0, rows, 1, 4).select(
        F.col("id").alias("sample_id"),
        F.array((F.col("id") / rows).cast("float")).alias("features"),
    )
    found = feature_quantiles(train, rows, 4)
    # A tenth of the rows is read: quantiles of 20000 uniform numbers are off by 0.004 or so.
    np.testing.assert_allclose(found, [[0, 0.25, 0.5, 0.75, 1]], atol=0.02)
    assert feature_quantiles(train.repartition(3), rows, 4) == found
    assert feature_quantiles(train, 20_000, 4) != found
