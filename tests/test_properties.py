"""Promises that hold for any log: no look ahead, no shared group, no order of rows, mean 1."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.encoding import with_features, with_raw_features
from reweight.build_samples.feature_stats import fit_features
from reweight.build_samples.features import Features
from reweight.build_samples.labels import with_label
from reweight.build_samples.sampling import Label, Sampling, with_identity
from reweight.build_samples.splits import Splits, with_split
from reweight.score_weights.policy import Weighting, fit_policy, weight
from reweight.score_weights.training_rows import FrameRows

HOUR = 3600
COLUMNS = "user string, item string, kind string, t long"
Event = tuple[str | None, str | None, str, int]

# An example is a few Spark jobs over many drawn rows, so that few examples say much.
QUICK = settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

USERS = st.sampled_from(["a", "b", None])
EVENTS = st.tuples(
    USERS,
    st.sampled_from(["x", "y"]),
    st.sampled_from(["show", "click", "buy"]),
    st.integers(0, 60).map(lambda n: n * HOUR // 4),
)
LOGS = st.lists(EVENTS, min_size=5, max_size=40)

FEATURES = Features.model_validate(
    {
        "numeric": {"minute": "minute(event_time)"},
        "one_hot": {"item": {"value": "item", "values": 1}},
        "categorical": {"user": {"value": "user", "buckets": 7}},
        "history": {
            "user": {
                "keys": ["user"],
                "counts": {"shown": "kind = 'show'", "clicked": "kind = 'click'"},
                "rates": {"rate": ["clicked", "shown"]},
                "recency": ["clicked"],
                "windows": ["2 hours", "all"],
                "grain": "1 hour",
            }
        },
    }
)


def frame(spark: SparkSession, rows: list[Any], columns: str = COLUMNS) -> DataFrame:
    return spark.createDataFrame(rows, columns).withColumn("event_time", F.timestamp_seconds("t"))


@settings(QUICK, max_examples=3)
@given(pairs=st.lists(st.tuples(LOGS, LOGS), min_size=6, max_size=6))
def test_features_of_a_sample_never_change_when_later_events_come(
    spark: SparkSession, pairs: list[tuple[list[Event], list[Event]]]
) -> None:
    # Each log is a world of its own users, once with and once without the later events.
    events: list[Event] = []
    samples: list[tuple[int, *Event]] = []
    pair_of: list[tuple[int, int]] = []
    for number, (log, more) in enumerate(pairs):
        now = max(t for *_, t in log)
        # At the newest sample's own time or later, in its hour too.
        later = [(user, item, kind, now + t) for user, item, kind, t in more]
        first, second = (_renamed(log, f" {number} {world}") for world in ("before", "after"))
        events += [*first, *second, *_renamed(later, f" {number} after")]
        begin = len(samples)
        samples += [(begin + n, *event) for n, event in enumerate([*first, *second])]
        pair_of += [(begin + n, begin + len(log) + n) for n in range(len(log))]
    asked = frame(spark, samples, "n long, " + COLUMNS)
    raw = with_raw_features(asked, frame(spark, events), FEATURES)
    found = dict(raw.select("n", "_numbers").collect())
    assert len(found) == len(samples)
    for one, two in pair_of:
        assert found[one] == found[two]


def _renamed(events: list[Event], world: str) -> list[Event]:
    return [(user and user + world, item, kind, t) for user, item, kind, t in events]


@QUICK
@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=80),
    seed=st.integers(0, 1000),
    target=st.sampled_from([0.2, 0.5, 1.0]),
    partitions=st.integers(1, 5),
)
def test_splits_never_share_a_group_and_do_not_depend_on_the_order_of_rows(
    spark: SparkSession, groups: list[str], seed: int, target: float, partitions: int
) -> None:
    draw = random.Random(seed)
    rows = [(n, g, draw.randrange(100) * HOUR, n % 5 > 0) for n, g in enumerate(groups)]
    columns = "sample_id long, group_id string, t long, mature boolean"
    splits = Splits(by="group", target=target)
    shuffled = draw.sample(rows, len(rows))
    one, two = (
        sorted(
            with_split(samples, splits, seed, 0).select("sample_id", "split", "target").collect()
        )
        for samples in (
            frame(spark, rows, columns),
            frame(spark, shuffled, columns).repartition(partitions),
        )
    )
    assert one == two
    homes = {(groups[n], split) for n, split, _ in one if split != "immature"}
    assert len(homes) == len({group for group, _ in homes})
    assert {split for _, split, is_target in one if is_target} <= {"train"}


@settings(QUICK, max_examples=2)
@given(
    log=st.lists(EVENTS, min_size=20, max_size=120),
    seed=st.integers(0, 1000),
    partitions=st.integers(1, 5),
)
def test_samples_and_features_do_not_depend_on_the_order_of_rows(
    spark: SparkSession, log: list[Event], seed: int, partitions: int
) -> None:
    # Rows without identity, some of them equal.
    log = [*log, *log[:3]]
    label = Label(where="kind = 'buy'", keys=("user", "item"), window=2 * HOUR)
    sampling = Sampling(label=label)

    def built(events: DataFrame) -> list[Any]:
        labelled = with_label(events, sampling, F.timestamp_seconds(F.lit(12 * HOUR)))
        raw = with_raw_features(with_identity(labelled, sampling), events, HISTORY_ONLY)
        rows = with_features(raw, HISTORY_ONLY, fit_features(raw, HISTORY_ONLY))
        return sorted(
            rows.select(
                "sample_id", "user", "t", "label", "label_time", "mature", "features", "ids"
            ).collect(),
            key=lambda row: row["sample_id"],
        )

    shuffled = random.Random(seed).sample(log, len(log))
    one, two = built(frame(spark, log)), built(frame(spark, shuffled).repartition(partitions))
    assert one == two
    assert len({row["sample_id"] for row in one}) == len(log)


# What has a value whatever the log: counts, and parts of the time.
HISTORY_ONLY = FEATURES.model_copy(
    update={
        "history": {
            "user": FEATURES.history["user"].model_copy(update={"recency": (), "rates": {}})
        }
    }
)


# What networks give: float32, so without the far ends of a double.
IMPORTANCE = st.floats(0, 2.0**127, width=32)


@QUICK
@given(
    columns=st.lists(st.tuples(*[IMPORTANCE] * 6), min_size=12, max_size=12),
    scale=st.sampled_from([1.0, 1e-30, 1e6]),
    kind=st.sampled_from(["identity", "rank"]),
    temper=st.sampled_from([0.5, 1.0, 2.0]),
    mix=st.sampled_from([0.3, 1.0]),
    # Of 12 rows the quantile is the largest: one that is 0 is refused.
    clip=st.sampled_from([{}, {"clip_ratio": 2.0}, {"clip_quantile": 0.95}]),
)
def test_weights_of_any_importance_have_mean_1_and_are_finite_and_not_negative(
    spark: SparkSession,
    columns: list[tuple[float, ...]],
    scale: float,
    kind: Any,
    temper: float,
    mix: float,
    clip: dict[str, float],
) -> None:
    values = np.array(columns)
    values[:, 1] = np.abs(np.sin(values[:, 1])) * scale
    # A third method has one row with all of the importance, the hardest case.
    values[1:, 2] = 0
    assume((values.sum(axis=0) > 0).all())
    names = ["wide", "narrow", "single", "a", "b", "c"]
    train = spark.createDataFrame(values.tolist(), names)
    policy = Weighting(map=kind, temper=temper, mix=mix, ess_warn=0, ess_refuse=0, **clip)
    stats = fit_policy(
        FrameRows(train),
        policy,
        [SimpleNamespace(name=n, polarity="valuable", signed=False) for n in names],
    )
    found = train.select(*[weight(F.col(m), policy, stats[m]).alias(m) for m in names]).toPandas()
    weights = found.to_numpy(float)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert weights.mean(axis=0) == pytest.approx(1, rel=1e-9)
