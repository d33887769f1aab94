"""Sequences: what a plain search of the log finds before each sample, whatever the key."""

import math
import random
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.encoding import check_features, with_raw_features
from reweight.build_samples.features import Features
from reweight.build_samples.hashed_ids import Categorical, hashed
from reweight.core.errors import SourceError

START = 1_770_000_000 // 3600 * 3600
LENGTH = 4
FIELDS = {
    "item": {"value": "item", "buckets": 64},
    "kind": {"value": "kind", "buckets": 16},
}
Event = tuple[int, str | None, str | None, str, float]
Sequence = list[tuple[int, int, float]]


def features_of(**settings: Any) -> Features:
    values = {"keys": ["user"], "length": LENGTH, "fields": FIELDS} | settings
    categorical = {"other": {"value": "kind"}, "item": FIELDS["item"]}
    return Features.model_validate({"sequence": values, "categorical": categorical})


def frame_of(spark: SparkSession, rows: list[Event]) -> DataFrame:
    frame = spark.createDataFrame(rows, "n long, user string, item string, kind string, t double")
    micros = F.round(F.col("t") * 1e6).cast("long")
    return frame.withColumn("event_time", F.timestamp_micros(micros))


def found_in(samples: DataFrame, events: DataFrame, features: Features) -> dict[int, Sequence]:
    """The events of each sample; checks that the rest is padding."""
    raw = with_raw_features(samples, events, features)
    rows = raw.select("n", "sequence_ids", "sequence_gaps").collect()
    assert len({row["n"] for row in rows}) == len(rows)
    found = {}
    for row in rows:
        ids, gaps = np.array(row["sequence_ids"]).reshape(-1, 2), np.array(row["sequence_gaps"])
        assert features.sequence is not None
        assert ids.shape == (features.sequence.length, 2)
        known = gaps >= 0
        assert known[: known.sum()].all()
        assert (gaps[~known] == -1).all() and (ids[~known] == 0).all()
        found[row["n"]] = [
            (*map(int, pair), float(gap)) for pair, gap in zip(ids, gaps, strict=True) if gap >= 0
        ]
    return found


def hashes_of(events: DataFrame) -> dict[int, tuple[int, int, int]]:
    """The ids of each event, and the hash that breaks ties."""
    ids = [hashed(Categorical.model_validate(field)) for field in FIELDS.values()]
    rows = events.select("n", *ids, F.xxhash64(F.array(*ids))).collect()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def searched(
    events: list[Event], hashes: dict[int, tuple[int, int, int]], sample: Event
) -> Sequence:
    """The same by looking at every event."""
    now = sample[-1]
    past = [
        (e[-1], hashes[e[0]][2], hashes[e[0]])
        for e in events
        if e[1] is not None and e[1] == sample[1] and math.floor(e[-1]) < math.floor(now)
    ]
    return [(ids[0], ids[1], math.log1p(now - t)) for t, _, ids in sorted(past)[-LENGTH:]]


def assert_same(found: Sequence, wanted: Sequence) -> None:
    assert [e[:2] for e in found] == [e[:2] for e in wanted]
    assert [e[2] for e in found] == pytest.approx([e[2] for e in wanted], abs=1e-5)


def random_log(seed: int, size: int) -> list[Event]:
    """Ties, events around the edges of hours, some before 1970, null keys and values."""
    draw = random.Random(seed)
    return [
        (
            n,
            draw.choice(["a", "a", "a", "b", "c", None]),
            draw.choice(["x", "y", "z", None]),
            draw.choice(["show", "show", "click", "buy"]),
            float(draw.choice([START, START, -7200]))
            + draw.choice([0, 3599, 3600, 7200, 36000, draw.randrange(10**5)])
            + draw.choice([0, 0, 0, 1, 2])
            + draw.choice([0.0, 0.0, 0.25, 0.999999]),
        )
        for n in range(size)
    ]


def test_a_sequence_is_what_a_search_of_the_seconds_before_the_sample_finds(
    spark: SparkSession,
) -> None:
    """Also of users whose first event is the sample, and of those without a name."""
    events = random_log(0, 300)
    last = (START + 1e6, START + 1e6 + 0.5)
    samples = [e for e in events if e[3] == "show"]
    later: list[Event] = [(900, "a", "x", "show", last[0]), (901, "new", "x", "show", last[1])]
    frame = frame_of(spark, [*events, *later])
    hashes, happened = hashes_of(frame), [*events, *later]
    wanted = {s[0]: searched(happened, hashes, s) for s in [*samples, *later]}
    found = found_in(frame.where("kind = 'show'"), frame, features_of())
    assert found.keys() == wanted.keys()
    for n, sequence in wanted.items():
        assert_same(found[n], sequence)
    lengths = [len(s) for s in wanted.values()]
    # Not by chance: there are empty, short and full sequences.
    assert min(lengths) == 0 and max(lengths) == LENGTH and 0 < lengths.count(2) < len(lengths)
    assert wanted[901] == [] and len(wanted[900]) == LENGTH


def test_a_key_with_most_of_the_events_has_the_same_answer(spark: SparkSession) -> None:
    """The hot key has 50,000 events in one second, and an event in each second of a day."""
    count = 150_000
    n = F.col("id")
    time = F.when(n < 50_000, 40_000).otherwise(n % 86_400)
    hot = spark.range(count, numPartitions=2).select(
        n.alias("n"),
        F.when(n % 1000 == 7, "cold").otherwise("hot").alias("user"),
        (n % 97).cast("string").alias("item"),
        F.when(n % 4 == 0, "click").otherwise("show").alias("kind"),
        F.timestamp_seconds(START + time).alias("event_time"),
    )
    times = (START, START + 40_000, START + 40_001, START + 40_004, START + 10**6)
    samples: list[Event] = [
        (i, user, "x", "show", float(t))
        for i, (user, t) in enumerate((u, t) for u in ("hot", "cold") for t in times)
    ]
    seen = hot.where("kind = 'click'").withColumn("t", F.unix_seconds("event_time").cast("double"))
    rows = seen.select("n", "user", "item", "kind", "t").collect()
    events: list[Event] = [tuple(row) for row in rows]  # type: ignore[misc]
    hashes = hashes_of(seen)
    found = found_in(frame_of(spark, samples), hot, features_of(where="kind = 'click'"))
    for sample in samples:
        assert_same(found[sample[0]], searched(events, hashes, sample))
    assert found[2] != found[3]


def test_without_the_section_both_columns_are_null(spark: SparkSession) -> None:
    frame = frame_of(spark, random_log(1, 3))
    rows = with_raw_features(frame, frame, Features()).select("sequence_ids", "sequence_gaps")
    assert rows.distinct().collect() == [(None, None)]
    assert rows.schema.simpleString() == (
        "struct<sequence_ids:array<int>,sequence_gaps:array<float>>"
    )


def test_the_shape_names_the_fields_that_share_an_embedding() -> None:
    shape = features_of().sequence_shape
    assert shape is not None
    assert (shape.length, shape.fields) == (LENGTH, {"item": 64, "kind": 16})
    assert shape.shared == {"item": 1}
    assert Features().sequence_shape is None


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"length": 0}, "length"),
        ({"length": 201}, "length"),
        ({"fields": {}}, "fields"),
        ({"keys": []}, "keys"),
        ({"keys": ["user", "USER"]}, "keys"),
    ],
)
def test_a_wrong_section_is_refused(settings: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError, match=rf"sequence\.{place}"):
        features_of(**settings)


def test_every_expression_is_checked_against_the_events(spark: SparkSession) -> None:
    frame = frame_of(spark, random_log(1, 3))
    wrong = {"fields": {"item": {"value": "no_item"}}, "where": "no_kind = 1", "keys": ["item"]}
    with pytest.raises(SourceError) as refused:
        check_features(frame, frame.drop("item"), features_of(**wrong))
    assert refused.value.got.startswith("3 error(s)")
    for place in ("sequence.keys.item", "sequence.where", "sequence.fields.item"):
        assert place in refused.value.got
