"""Splits: no group in two parts, no label window over a cut, the same however rows are cut."""

import random
from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.known_labels import open_at
from reweight.build_samples.splits import (
    PARTS,
    Splits,
    check_conditions,
    check_splits,
    split_cuts,
    time_cuts,
    with_split,
)
from reweight.core.errors import SampleError, SourceError

ROWS = 4000
DAY = 86400
START = 1_770_000_000
COLUMNS = "sample_id long, group_id string, t long, mature boolean"
Part = dict[int, tuple[str, bool]]


@pytest.fixture(scope="module")
def rows() -> list[tuple[int, str, int, bool]]:
    draw = random.Random(0)
    # 30 days, busier every day; one row in twenty is immature.
    return [
        (n, f"g{draw.randrange(400)}", START + int(30 * DAY * draw.random() ** 0.7), n % 20 > 0)
        for n in range(ROWS)
    ]


@pytest.fixture(scope="module")
def samples(spark: SparkSession, rows: list[tuple[int, str, int, bool]]) -> DataFrame:
    return timed(spark, rows).cache()


def timed(spark: SparkSession, rows: list[Any]) -> DataFrame:
    frame = spark.createDataFrame(rows, COLUMNS)
    return frame.withColumn("event_time", F.timestamp_seconds("t"))


def parts(samples: DataFrame, splits: Splits, seed: int = 0, window: int = 0) -> Part:
    found = with_split(samples, splits, seed, window).select("sample_id", "split", "target")
    return {row[0]: (row[1], row[2]) for row in found.collect()}


def shares(found: Part) -> list[float]:
    counts = Counter(split for split, _ in found.values() if split != "immature")
    return [counts[part] / sum(counts.values()) for part in PARTS]


def test_by_group_no_group_is_in_two_parts_and_shares_are_near(
    samples: DataFrame, rows: list[tuple[int, str, int, bool]]
) -> None:
    found = parts(samples, Splits(by="group"))
    group = {row[0]: row[1] for row in rows}
    where = {(group[n], split) for n, (split, _) in found.items() if split != "immature"}
    assert len({g for g, _ in where}) == len(where)
    # 400 groups: five standard deviations of a share of 0.6 are 0.12.
    assert shares(found) == pytest.approx([0.6, 0.2, 0.2], abs=0.12)
    other = parts(samples, Splits(by="group"), seed=1)
    assert sum(other[n][0] != split for n, (split, _) in found.items()) > ROWS / 4


def test_by_row_groups_are_in_all_parts_and_shares_are_as_asked(
    samples: DataFrame, rows: list[tuple[int, str, int, bool]]
) -> None:
    found = parts(samples, Splits(by="row", shares=(0.5, 0.1, 0.4)))
    assert shares(found) == pytest.approx([0.5, 0.1, 0.4], abs=0.04)
    group = {row[0]: row[1] for row in rows}
    where = {(group[n], split) for n, (split, _) in found.items() if split != "immature"}
    assert len(where) > 2 * len({g for g, _ in where})


@pytest.mark.parametrize("window", [0, 2 * DAY])
def test_by_time_no_label_window_crosses_a_cut(
    samples: DataFrame, rows: list[tuple[int, str, int, bool]], window: int
) -> None:
    found = parts(samples, Splits(by="time"), window=window)
    times: dict[str, list[int]] = {}
    for n, _, t, _ in rows:
        times.setdefault(found[n][0], []).append(t)
    assert max(times["train"]) + window < min(times["validation"])
    assert max(times["validation"]) + window < min(times["test"])
    if window == 0:
        assert "gap" not in times
        assert shares(found) == pytest.approx([0.6, 0.2, 0.2], abs=0.015)
    else:
        # A gap is what lies within a window before a cut, and no more.
        firsts = [min(times[part]) for part in ("validation", "test")]
        assert all(any(t < first <= t + window for first in firsts) for t in times["gap"])
        assert len(times["test"]) / ROWS == pytest.approx(0.19, abs=0.015)


@pytest.mark.parametrize("by", ["group", "row", "time"])
def test_parts_and_target_do_not_depend_on_partitions(samples: DataFrame, by: Any) -> None:
    splits = Splits(by=by)
    first = parts(samples, splits, window=DAY)
    other = samples.orderBy(F.rand(3)).repartition(7)
    assert parts(other, splits, window=DAY) == first


@pytest.mark.parametrize("by", ["row", "group", "time"])
def test_rows_that_are_judged_are_never_trained_on(samples: DataFrame, by: Any) -> None:
    segment = F.when(F.col("sample_id") % 10 < 4, "new").when(F.col("sample_id") % 10 < 9, "old")
    rows = samples.withColumn("segment", segment)
    found = parts(rows, Splits(by=by, judged="segment = 'new'"))
    own = parts(rows, Splits(by=by))
    counts = Counter((n % 10 < 4, split) for n, (split, _) in found.items())
    assert {split for new, split in counts if new} <= {"validation", "test", "gap", "immature"}
    assert {split for new, split in counts if not new} <= {"train", "gap", "immature"}
    assert min(counts[True, "validation"], counts[True, "test"], counts[False, "train"]) > 200
    if by == "row":
        assert sum(count for (_, split), count in counts.items() if split == "gap") == 0
        assert counts[True, "test"] == pytest.approx(counts[True, "validation"], rel=0.15)
    else:
        # A group, or a stretch of time, stays in its part.
        assert all(split in (own[n][0], "gap") for n, (split, _) in found.items())


@pytest.mark.parametrize("by", ["group", "time"])
def test_immature_rows_are_in_no_part_and_target_is_the_newest_of_training(
    samples: DataFrame, rows: list[tuple[int, str, int, bool]], by: Any
) -> None:
    found = parts(samples, Splits(by=by, target=0.25))
    time = {n: t for n, _, t, _ in rows}
    assert {n for n, (split, _) in found.items() if split == "immature"} == {
        n for n, _, _, mature in rows if not mature
    }
    train = [n for n, (split, _) in found.items() if split == "train"]
    target = {n for n, (_, is_target) in found.items() if is_target}
    assert target <= set(train)
    assert len(target) / len(train) == pytest.approx(0.25, abs=0.015)
    assert min(time[n] for n in target) > max(time[n] for n in train if n not in target)


def test_a_condition_names_the_target_where_times_do_not(samples: DataFrame) -> None:
    same = samples.withColumn("event_time", F.timestamp_seconds(F.lit(START)))
    splits = Splits(by="row", target_where="group_id < 'g2' OR null")
    check_conditions(same, splits)
    found = parts(same, splits)
    group = {row["sample_id"]: row["group_id"] for row in same.collect()}
    for n, (split, is_target) in found.items():
        assert is_target == (split == "train" and group[n] < "g2")
    with pytest.raises(SourceError) as caught:
        check_conditions(same, Splits(target_where="country = 'de'"))
    assert "splits.target_where: country = 'de'" in caught.value.got
    check_conditions(same, Splits(judged="sample_id % 2"))
    with pytest.raises(SourceError, match=r"splits\.judged: array\(1\)"):
        check_conditions(same, Splits(judged="array(1)"))


def test_all_of_training_may_be_the_target(samples: DataFrame) -> None:
    found = parts(samples, Splits(by="row", target=1))
    assert {is_target for split, is_target in found.values() if split == "train"} == {True}


def test_an_event_of_a_wrong_year_does_not_move_the_cuts(
    spark: SparkSession, samples: DataFrame
) -> None:
    wanted = (0.6, 0.8)
    strays = timed(spark, [(-1, "g", 0, True), (-2, "g", START + 80 * 365 * DAY, True)])
    for cut, expected in zip(time_cuts(samples.unionByName(strays), wanted), wanted, strict=True):
        before = samples.where(F.col("t") < cut).count() / ROWS
        assert before == pytest.approx(expected, abs=0.012)


def test_cuts_of_few_times_are_exact(spark: SparkSession) -> None:
    rows = [(n, "g", START + 31 * DAY * (n // 10), True) for n in range(100)]
    frame = timed(spark, rows)
    months = [START + 31 * DAY * m for m in range(10)]
    assert time_cuts(frame, (0.2, 0.55, 0.8, 0.999)) == [months[m] for m in (2, 6, 8, 9)]
    assert time_cuts(frame.where("t < 0"), (0.5, 0.6)) == [0, 0]
    assert time_cuts(frame.where(F.col("t") == START), (0.5,)) == [START]


def test_rows_of_open_windows_train_with_what_was_known_at_the_cut(
    spark: SparkSession, rows: list[tuple[int, str, int, bool]]
) -> None:
    window = 3 * DAY
    draw = random.Random(1)
    delays = {n: draw.randrange(window) if draw.random() < 0.5 else None for n, *_ in rows}
    end = START + 30 * DAY
    labelled = [
        (n, group, t, t + window <= end, t + delays[n] if delays[n] is not None else None)
        for n, group, t, _ in rows
    ]
    frame = spark.createDataFrame(labelled, f"{COLUMNS}, l long").select(
        "*",
        F.timestamp_seconds("t").alias("event_time"),
        F.timestamp_seconds("l").alias("label_time"),
        F.lit(None).cast("timestamp").alias("undo_time"),
        F.col("l").isNotNull().cast("float").alias("label"),
        F.least(F.lit(1.0), (end - F.col("t")) / window).alias("elapsed"),
        ((F.col("l") - F.col("t")) / window).alias("delay"),
        F.lit(None).cast("double").alias("undone"),
    )
    closed = with_split(frame, Splits(by="time"), 0, window).drop("event_time").toPandas()
    splits = Splits(by="time", open_windows="train")
    found = with_split(frame, splits, 0, window).drop("event_time").toPandas()
    closed, found = closed.set_index("sample_id"), found.set_index("sample_id").loc[closed.index]
    train = closed["split"] == "train"
    opened = (found["split"] == "train") & ~train
    # Every open row says where the cut is.
    (cut,) = (found["t"] + found["elapsed"] * window)[opened].round().unique()
    assert found["t"][found["split"] == "train"].max() < cut
    assert found["t"][found["split"] == "validation"].min() == cut
    # Nothing else moves: what was train is train, and the other parts are what they were.
    assert (closed["split"][opened] == "gap").all()
    assert closed[~opened].drop(columns=["target"]).equals(found[~opened].drop(columns=["target"]))
    assert found["t"][opened].between(cut - window, cut - 1).all()
    assert opened.sum() > 100
    assert (closed["split"] == "gap").sum() > opened.sum()
    seen = (found["l"] < cut)[opened]
    assert 0.1 < seen.mean() < 0.4
    assert (found["label"][opened] == seen).all()
    assert (found["label_time"][opened].notna() == seen).all()
    assert (found["delay"][opened].notna() == seen).all()
    assert not found["mature"][opened].any()
    assert (found["delay"][opened] <= found["elapsed"][opened])[seen].all()
    # The newest rows stand for what comes.
    assert found["target"][opened].mean() > closed["target"][train].mean()


def test_open_windows_need_a_cut_in_time() -> None:
    with pytest.raises(ValidationError, match="by: time"):
        Splits(open_windows="train")


def test_unlabelled_rows_of_the_training_part_train_as_negatives_that_are_not_settled(
    spark: SparkSession, rows: list[tuple[int, str, int, bool]]
) -> None:
    frame = timed(spark, rows).withColumn("mature", F.col("sample_id") % 3 > 0)
    known = F.when(F.col("mature"), (F.col("sample_id") % 2).cast("float"))
    frame = frame.withColumn("label", known)
    usual = with_split(frame, Splits(), 0, 0).drop("event_time").toPandas().set_index("sample_id")
    found = with_split(frame, Splits(unlabelled="train"), 0, 0).drop("event_time").toPandas()
    found = found.set_index("sample_id").loc[usual.index]
    there = usual["mature"]
    assert (usual["split"][~there] == "immature").all()
    kept = ["split", "label", "mature"]
    assert found[there][kept].equals(usual[there][kept])
    trained = ~there & (found["split"] == "train")
    assert 0.5 < trained.sum() / (~there).sum() < 0.7
    assert (found["split"][~there & ~trained] == "immature").all()
    assert (found["label"][~there] == 0).all()
    assert not found["mature"][~there].any()


COUNTS = {"train": (60, 6), "validation": (20, 2), "test": (20, 2), "gap": (5, 0)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"test": (0, 0)}, ["leaves test empty", "splits.shares", "train: 60 rows, 6 positive"]),
        ({"train": (0, 0), "validation": (0, 0)}, ["train and validation empty"]),
        ({"train": (60, 0)}, ["only one class", "60 rows, 0 positive"]),
        ({"train": (60, 60)}, ["only one class", "60 rows, 60 positive"]),
    ],
)
def test_parts_that_cannot_be_used_are_refused_by_name(
    change: dict[str, tuple[int, int]], named: list[str]
) -> None:
    check_splits(COUNTS)
    check_splits({part: COUNTS[part] for part in PARTS})
    with pytest.raises(SampleError) as caught:
        check_splits(COUNTS | change)
    for words in named:
        assert words in str(caught.value)
    missing = [part for part in PARTS if part != "validation"]
    with pytest.raises(SampleError, match="leaves validation empty"):
        check_splits({part: COUNTS[part] for part in missing})


@pytest.mark.parametrize("wrong", [(0.6, 0.4, 0.0), (0.6, 0.2, 0.1), (1.2, -0.1, -0.1)])
def test_shares_must_be_positive_and_sum_to_1(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        Splits(shares=wrong)


def test_cuts_can_be_given_as_dates() -> None:
    given = Splits.model_validate({"by": "time", "cuts": ["2018-03-01", date(2018, 4, 1)]})
    assert given.seconds == (1_519_862_400, 1_522_540_800)
    zoned = ["2018-03-01T01:00:00+01:00", "2018-03-01 00:00:00.5"]
    assert Splits.model_validate({"by": "time", "cuts": zoned}).seconds == (
        1_519_862_400,
        1_519_862_401,
    )
    for wrong, named in (
        ({"cuts": ["2018-03-01", "2018-04-01"]}, "by: time"),
        ({"by": "time", "cuts": ["2018-04-01", "2018-04-01"]}, "earlier time first"),
        ({"by": "time", "cuts": ["2018-03-01"]}, "cuts"),
        ({"by": "time", "cuts": ["March", "April"]}, "March"),
        ({"by": "time", "cuts": ["2018-03-01", "2018-04-01"], "shares": [0.5, 0.2, 0.3]}, "both"),
    ):
        with pytest.raises(ValidationError, match=named):
            Splits.model_validate(wrong)


def test_rows_are_cut_at_the_dates(samples: DataFrame) -> None:
    begins = F.unix_seconds("event_time")
    span = samples.agg(F.min(begins), F.max(begins)).first()
    assert span is not None
    third = (span[1] - span[0]) // 3
    times = [datetime.fromtimestamp(span[0] + i * third, UTC).isoformat() for i in (1, 2)]
    splits = Splits.model_validate({"by": "time", "cuts": times})
    cuts = split_cuts(samples, splits)
    assert cuts == [span[0] + third, span[0] + 2 * third]
    found = with_split(samples, splits, 0, 0, cuts).where("mature")
    assert found.where((F.col("split") == "train") != (begins < cuts[0])).count() == 0
    assert found.where((F.col("split") == "test") != (begins >= cuts[1])).count() == 0
    opened = samples.where(open_at(cuts[0], DAY)).agg(F.min(begins), F.max(begins)).first()
    assert opened is not None
    assert cuts[0] - DAY <= opened[0] <= opened[1] < cuts[0]
