"""Samples: labels as a plain search would find them, identities that do not move, named errors."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.checks import check_classes, check_labels, check_samples
from reweight.build_samples.labels import label_event, with_label
from reweight.build_samples.negatives import check_rate
from reweight.build_samples.sampling import (
    LABEL_COLUMNS,
    Label,
    Sampling,
    check_sampling,
    kept_types,
    with_identity,
)
from reweight.core.errors import SampleError, SourceError
from reweight.core.hashing import key_hash

START = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = "id long, user string, item string, kind string, event_time timestamp"
Event = tuple[int, str | None, str | None, str, datetime]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def shown_and_bought(window: int | None) -> Sampling:
    label = Label(where="kind = 'buy'", keys=("user", "item"), window=window)
    return Sampling(anchor="kind = 'show'", key=("id",), group="user", label=label)


def labels(events: DataFrame, sampling: Sampling, log_end: datetime) -> dict[int, tuple[Any, ...]]:
    samples = with_label(events, sampling, F.lit(log_end).cast("timestamp"))
    micros = F.unix_micros("label_time")
    rows = samples.select("id", "label", micros.alias("t"), "mature").collect()
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: (row["label"], row["t"], row["mature"]) for row in rows}


def searched(events: list[Event], window: int | None, log_end: datetime) -> dict[int, Any]:
    """The same by looking at every pair."""
    found = {}
    for key, user, item, kind, time in events:
        if kind != "show":
            continue
        later = [
            t
            for _, other_user, other_item, other_kind, t in events
            if other_kind == "buy" and None not in (user, item) and t > time
            if (other_user, other_item) == (user, item)
            if window is None or t <= time + timedelta(seconds=window)
        ]
        first = min(later, default=None)
        mature = window is None or time + timedelta(seconds=window) <= log_end
        micros = first and round((first - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta.resolution)
        found[key] = (float(bool(later)), micros, mature)
    return found


def random_log(seed: int, size: int = 400) -> list[Event]:
    draw = random.Random(seed)
    # Half seconds over ten minutes: many events at one time, many exactly at the end of a window.
    return [
        (
            number,
            draw.choice(["a", "b", "c", None]),
            draw.choice(["x", "y", None]),
            draw.choice(["show", "show", "buy", "look"]),
            at(draw.randrange(1200) / 2),
        )
        for number in range(size)
    ]


@pytest.mark.parametrize("window", [1, 7, 60, 3600, None])
def test_labels_of_random_logs_are_those_of_a_search_over_all_pairs(
    spark: SparkSession, window: int | None
) -> None:
    events = random_log(seed=window or 0)
    log_end = max(event[-1] for event in events)
    wanted = searched(events, window, log_end)
    frame = spark.createDataFrame(events, COLUMNS)
    assert labels(frame, shown_and_bought(window), log_end) == wanted
    if window:
        # How much of the window is over, and when in it the label came.
        told = with_label(frame, shown_and_bought(window), F.lit(log_end).cast("timestamp"))
        row = told.toPandas()
        assert (row["elapsed"].eq(1) == row["mature"]).all()
        assert row["elapsed"].between(0, 1).all()
        seconds = (row["label_time"] - row["event_time"]).dt.total_seconds()
        assert np.allclose(row["delay"].astype(float) * window, seconds, equal_nan=True)
    if window == 60:
        # The cases of interest are in the log: both classes, in each state.
        assert {(row[0], row[2]) for row in wanted.values()} == {
            (y, m) for y in (0, 1) for m in (0, 1)
        }


def test_the_window_is_open_at_its_begin_and_closed_at_its_end(spark: SparkSession) -> None:
    tick = 1e-6
    cases = {
        "at the same time": ([0.0], 0),
        "a tick later": ([tick], 1),
        "before": ([-1.0], 0),
        "at the end": ([60.0], 1),
        "a tick beyond": ([60 + tick], 0),
        "before and in time": ([-5.0, 5.0], 1),
        "in time, twice": ([30.0, 20.0], 1),
        "in time and beyond": ([50.0, 70.0], 1),
        "never": ([], 0),
    }
    # Anchors at the begin of a window's bucket, at its end and between.
    anchors = [0.0, 60 - tick, 59.0, 31.5]
    events: list[Event] = []
    wanted = {}
    for shift in anchors:
        for name, (times, label) in cases.items():
            user, number = f"{name} {shift}", len(events)
            events.append((number, user, "x", "show", at(3600 + shift)))
            events += [
                (len(events) + i, user, "x", "buy", at(3600 + shift + t))
                for i, t in enumerate(times)
            ]
            wanted[number] = (user, label)
    frame = spark.createDataFrame(events, COLUMNS)
    found = labels(frame, shown_and_bought(60), at(9000))
    assert {k: (wanted[k][0], v[0]) for k, v in found.items()} == wanted


def test_samples_whose_window_is_open_are_kept_and_not_mature_whatever_their_label(
    spark: SparkSession,
) -> None:
    events: list[Event] = [
        (1, "a", "x", "show", at(0)),
        (2, "b", "x", "show", at(0.000001)),
        (3, "c", "x", "show", at(30)),
        (4, "c", "x", "buy", at(31)),
        (5, "d", "x", "look", at(60)),
    ]
    found = labels(spark.createDataFrame(events, COLUMNS), shown_and_bought(60), at(60))
    assert {k: (label, mature) for k, (label, _, mature) in found.items()} == {
        1: (0, True),
        2: (0, False),
        3: (1, False),
    }


def test_an_event_that_is_anchor_and_label_does_not_label_itself(spark: SparkSession) -> None:
    events: list[Event] = [(n, "a", "x", "buy", at(t)) for n, t in enumerate((0, 5, 5, 100))]
    label = Label(where="kind = 'buy'", keys=("user",), window=10)
    found = labels(spark.createDataFrame(events, COLUMNS), Sampling(label=label), at(1000))
    assert {k: label for k, (label, _, _) in found.items()} == {0: 1, 1: 0, 2: 0, 3: 0}


def test_a_label_event_at_the_samples_own_time_is_counted_and_may_be_its_label(
    spark: SparkSession,
) -> None:
    day = 86400
    events: list[Event] = [
        (1, "a", "x", "show", at(0)),
        (2, "a", "x", "buy", at(0)),
        (3, "b", "x", "show", at(0)),
        (4, "b", "x", "buy", at(day)),
        (5, "c", "x", "both", at(day)),  # alone at its time
        (6, "d", "x", "both", at(day)),
        (7, "d", "x", "both", at(day)),
        (8, None, "x", "show", at(0)),
        (9, None, "x", "buy", at(0)),
    ]
    frame = spark.createDataFrame(events, COLUMNS)
    end = F.lit(at(9 * day)).cast("timestamp")

    def found(**rest: Any) -> dict[int, tuple[float, bool, float | None]]:
        label = Label(where="kind IN ('buy', 'both')", keys=("user", "item"), **rest)
        sampling = Sampling(anchor="kind IN ('show', 'both')", key=("id",), label=label)
        rows = with_label(frame, sampling, end).collect()
        return {row["id"]: (row["label"], row["_same_time"], row["delay"]) for row in rows}

    before = {1: 0, 3: 1, 5: 0, 6: 0, 7: 0, 8: 0}
    after = before | {1: 1, 6: 1, 7: 1}
    for window in (2 * day, None):
        told = found(window=window)
        assert {k: label for k, (label, _, _) in told.items()} == before
        assert {k for k, (_, same, _) in told.items() if same} == {1, 6, 7}
        told = found(window=window, same_time="after")
        assert {k: label for k, (label, _, _) in told.items()} == after
    assert found(window=2 * day, same_time="after")[1] == (1, True, 0)


def test_labels_that_are_no_numbers_are_refused_by_value_and_count(spark: SparkSession) -> None:
    words = ["1", "0", "TRUE", "TRUE", "yes", " ", None]
    events: list[Event] = [(n, word, None, "row", at(n)) for n, word in enumerate(words)]
    frame = spark.createDataFrame(events, COLUMNS)
    text = Sampling(label=Label(value="user"))
    samples = with_label(frame, text, F.lit(at(9)).cast("timestamp"))
    with pytest.raises(SampleError) as caught:
        check_labels(samples, samples.where("_label_text IS NOT NULL").count())
    assert caught.value.got == "'TRUE' 2 times, 'yes' 1 times"
    for value in ("user = '1'", "id", "CAST(NULL AS int)"):
        right = with_label(frame, Sampling(label=Label(value=value)), F.lit(at(9)))
        check_labels(right, right.where("_label_text IS NOT NULL").count())


def test_the_position_of_a_null_in_the_key_counts(spark: SparkSession) -> None:
    rows = [(7, None), (None, 7), (None, None), (7, 7)]
    frame = spark.createDataFrame(rows, "a int, b int")
    hashed = frame.select(key_hash("a", "b").alias("h"), F.xxhash64("a", "b").alias("plain"))
    found = [(row["h"], row["plain"]) for row in hashed.collect()]
    assert len({h for h, _ in found}) == 4
    assert [h == plain for h, plain in found] == [False, False, False, True]


def test_from_rows_every_event_is_a_sample_and_a_null_label_is_not_mature(
    spark: SparkSession,
) -> None:
    events: list[Event] = [
        (n, kind, None, "row", at(n)) for n, kind in enumerate(("1", "0", "?", "2"))
    ]
    frame = spark.createDataFrame(events, COLUMNS)
    numbers = Sampling(label=Label(value="try_cast(user AS double)"))
    found = {k: (y, m) for k, (y, _, m) in labels(frame, numbers, at(9)).items()}
    assert found == {0: (1, True), 1: (0, True), 2: (None, False), 3: (2, True)}
    truth = Sampling(anchor="id < 2", label=Label(value="user = '1'"))
    found = {k: (y, m) for k, (y, _, m) in labels(frame, truth, at(9)).items()}
    assert found == {0: (1, True), 1: (0, True)}


def test_the_id_is_the_hash_of_the_natural_key_and_the_group_of_its_expression(
    spark: SparkSession,
) -> None:
    frame = spark.createDataFrame(random_log(1), COLUMNS)
    kept = {"position": "id % 10", "value": "id * 1.5"}
    sampling = Sampling(
        key=("id", "kind"),
        group="coalesce(user, 'nobody')",
        label=Label(value="true"),
        segment="item",
        keep=kept,
    )
    rows = with_identity(frame, sampling)
    wrong = rows.where(
        "sample_id <> xxhash64(id, kind) or group_id <> coalesce(user, 'nobody')"
        " or not (segment <=> item) or position <> id % 10 or value <> id * 1.5"
        " or propensity is not null"
    )
    assert wrong.count() == 0
    alone = with_identity(frame, sampling.model_copy(update={"group": None}))
    assert alone.where("group_id <> cast(sample_id as string)").count() == 0
    types = dict(rows.dtypes)
    assert [types[c] for c in ("sample_id", "group_id", "segment")] == [
        "bigint",
        "string",
        "string",
    ]
    assert [types[c] for c in ("position", "propensity", "value")] == ["int", "double", "double"]


def test_equal_rows_without_identity_get_ids_that_differ_and_do_not_move(
    spark: SparkSession,
) -> None:
    # Rows that differ only in where their null stands must not count as equal to one another.
    rows = [(1, None, "u")] * 3 + [(None, 1, "u")] * 2 + [(2, 2, None)] + [(2, None, "2")]
    frame = spark.createDataFrame(rows * 3, "a int, b int, c string")
    sampling = Sampling(label=Label(value="true"))

    def ids(frame: DataFrame, *more: str) -> list[tuple[Any, ...]]:
        found = with_identity(frame, sampling).select("a", "b", "c", *more, "sample_id").collect()
        return sorted(map(tuple, found), key=str)

    first = ids(frame.coalesce(1))
    assert len({row[-1] for row in first}) == 21
    for seed in (1, 2):
        assert ids(frame.orderBy(F.rand(seed)).repartition(seed * 3)) == first
    # The label may come later: that makes no other row of it.
    columns = {name: F.lit(None) for name in LABEL_COLUMNS}
    assert ids(frame.withColumns(columns)) == first
    # Of rows with different labels, it is always the same ones.
    answers = [(*row, float(n % 3 == 0)) for n, row in enumerate(rows * 3)]
    answered = spark.createDataFrame(answers, "a int, b int, c string, label float")
    positive = ids(answered.coalesce(1), "label")
    assert sorted(((*row[:3], row[-1]) for row in positive), key=str) == first
    for seed in (1, 2):
        shuffled = answered.orderBy(F.rand(seed)).repartition(seed * 3)
        assert ids(shuffled, "label") == positive


def test_rows_with_maps_have_ids_without_a_key(spark: SparkSession) -> None:
    rows = spark.range(12).selectExpr(
        "id % 2 AS a", "map('k', id % 3) AS m", "TIMESTAMP '2026-03-01' AS event_time"
    )
    sampling = Sampling(label=Label(where="a = 0", keys=("a",), window=9, attribute="last"))
    found = []
    for seed in (1, 2):
        shuffled = rows.orderBy(F.rand(seed)).repartition(seed)
        columns = ("a", F.expr("m['k']"), "sample_id")
        found.append(sorted(with_identity(shuffled, sampling).select(*columns).collect()))
    assert found[0] == found[1]
    assert len({row[-1] for row in found[0]}) == 12
    with_label(rows, sampling, F.lit(START).cast("timestamp")).transform(with_identity, sampling)


GOOD = {"rows": 9, "ids": 9, "groups": 9, "mature": 7, "positives": 2, "negatives": 5}


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"rows": 0}, ["no event is a sample", "sampling.anchor"]),
        ({"ids": 8}, ["not unique", "9 distinct", "8", "sampling.key"]),
        ({"groups": 6}, ["have no group", "null for 3 of 9", "sampling.group"]),
        ({"negatives": 4}, ["neither 0 nor 1", "1 of 7"]),
    ],
)
def test_samples_that_cannot_be_used_are_refused_by_name(
    facts: dict[str, int], named: list[str]
) -> None:
    check_samples(GOOD)
    with pytest.raises(SampleError) as caught:
        check_samples(GOOD | facts)
    for words in named:
        assert words in str(caught.value)


def test_columns_that_samples_would_replace_are_refused_by_name(spark: SparkSession) -> None:
    log = spark.createDataFrame(
        [(1, START, 1, 2, 3.0)],
        "id int, event_time timestamp, delay int, position int, value double",
    )
    section = Sampling(anchor="true", key=("id",), label=Label(value="value > 1"))
    with pytest.raises(SourceError, match="names that samples use") as caught:
        check_sampling(log, section)
    assert "got:      ['delay', 'position', 'value']" in str(caught.value)
    taken = section.model_copy(update={"keep": {"position": "position", "value": "value"}})
    check_sampling(log.drop("delay"), taken)


def test_expressions_over_samples_cannot_use_an_event_column_label(spark: SparkSession) -> None:
    log = spark.createDataFrame([], "id int, Label int")
    check_sampling(log, Sampling(key=("id",), label=Label(value="label >= 4")))
    uses = {"segment": "label", "group": "-label", "keep": {"rating": "label", "id": "id"}}
    section = {"key": ["label"], "label": {"value": "label >= 4"}} | uses
    with pytest.raises(SourceError) as caught:
        check_sampling(log, Sampling.model_validate(section))
    for place in ("segment: label", "group: -label", "keep.rating: label", "key.label: label"):
        assert f"\n    {place}\n" in caught.value.got
    assert "4 error(s)" in caught.value.got
    assert caught.value.expected == "Spark SQL over the columns ['id']"
    assert "another name in cleaning.columns" in caught.value.fix


def test_columns_that_json_does_not_hold_are_not_kept(spark: SparkSession) -> None:
    log = spark.range(1)
    right = {"a": "map('x', id)", "b": "null", "c": "array(named_struct('d', now()))"}
    section = Sampling(key=("id",), label=Label(value="true"), keep=right)
    assert kept_types(log, section)["a"] == "map<string,bigint>"
    for wrong in ("map(id, 'x')", "array(map('x', map(id, 1)))", "binary('x')"):
        with pytest.raises(SourceError, match=r"sampling\.keep\.a cannot be kept"):
            kept_types(log, section.model_copy(update={"keep": {"a": wrong}}))


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"positives": 0, "negatives": 7}, ["only one class", "0 positive, 7 negative"]),
        ({"positives": 7, "negatives": 0}, ["only one class", "7 positive, 0 negative"]),
        (
            {"mature": 0, "positives": 0, "negatives": 0},
            ["no sample has a settled label", "none of 9", "`sampling.label.window`"],
        ),
    ],
)
def test_samples_that_nothing_can_be_learnt_from_can_be_scored_alone(
    facts: dict[str, int], named: list[str]
) -> None:
    check_samples(GOOD | facts)
    check_classes(GOOD)
    with pytest.raises(SampleError) as caught:
        check_classes(GOOD | facts)
    for words in named:
        assert words in str(caught.value)


def test_all_wrong_expressions_are_named_together(spark: SparkSession) -> None:
    frame = spark.createDataFrame([], COLUMNS)
    right = shown_and_bought(60)
    check_sampling(frame, right)
    wrong = Sampling(
        anchor="kin = 'show'",
        key=("number",),
        group="lower(",
        label=Label(where="no_such_function(kind)", keys=("user", "thing"), window=60),
        segment="country",
        keep={"position": "place", "value": "id"},
    )
    with pytest.raises(SourceError) as caught:
        check_sampling(frame, wrong)
    text = str(caught.value)
    places = ("anchor", "key.number", "group", "label.where", "label.keys.thing", "segment")
    for place in (*places, "keep.position"):
        assert f"\n    {place}: " in text
    assert "7 error(s)" in text
    for fine in ("label.keys.user", "keep.value"):
        assert f"\n    {fine}: " not in text


def test_expressions_of_other_types_than_their_use_asks_for_are_named_together(
    spark: SparkSession,
) -> None:
    frame = spark.createDataFrame([], f"{COLUMNS}, tags array<string>, facts map<string, int>")
    undo = {"where": "item", "keys": ["facts"], "window": 60}
    label = {"where": "id", "keys": ["facts", "user"], "window": 60, "undo": undo}
    section = {"anchor": "id", "key": ["facts"], "label": label, "keep": {"position": "tags"}}
    with pytest.raises(SourceError) as caught:
        check_sampling(frame, Sampling.model_validate(section))
    for place in ("anchor: id", "label.where: id", "label.undo.where: item", "keep.position: tags"):
        assert f"\n    {place}\n" in caught.value.got
    for place in ("key", "label.keys", "label.undo.keys"):
        assert f"\n    {place}.facts: facts\n" in caught.value.got
    assert "7 error(s)" in caught.value.got
    for rest in ({"label": Label(value="tags")}, {"negatives": "tags"}):
        wrong = Sampling(key=("id",), label=Label(value="id = 1")).model_copy(update=rest)
        with pytest.raises(SourceError, match=f"\n    {'.'.join(rest)}"):
            check_sampling(frame, wrong)
            check_rate(frame, wrong)


@pytest.mark.parametrize(
    ("label", "named"),
    [
        ({}, "either"),
        ({"where": "true", "keys": ["user"], "value": "true"}, "either"),
        ({"where": "true"}, "keys"),
        ({"where": "true", "keys": ["user"], "window": 0}, "greater than 0"),
        ({"where": "true", "keys": ["user"], "window": "3 moons"}, "3 moons"),
    ],
)
def test_labels_of_no_clear_shape_are_refused(label: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        Label.model_validate(label)


@pytest.mark.parametrize("value", ["hit", "hit = 1", "cast(hit AS double)"])
def test_the_label_of_a_row_is_an_event_whether_it_is_a_number_or_a_condition(
    spark: SparkSession, value: str
) -> None:
    rows = spark.createDataFrame([(1, 1), (2, 0), (3, None), (4, 1)], "n int, hit int")
    found = rows.where(label_event(Sampling(anchor="n < 4", label=Label(value=value))))
    assert [row["n"] for row in found.collect()] == [1]
