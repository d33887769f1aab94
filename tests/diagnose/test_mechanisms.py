"""Position, delay, bursts and rates over time on frames whose answers are known."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from scipy import stats
from scipy.special import logsumexp

from reweight.build_samples.sampling import Label
from reweight.build_samples.shared_labels import LabelEvents
from reweight.diagnose.bursts import burst_limit, bursts_and_bots, tail_bound
from reweight.diagnose.delay import delayed_labels
from reweight.diagnose.drift import Columns, feature_drift, rate_drift
from reweight.diagnose.findings import Finding
from reweight.diagnose.position import position_bias
from reweight.diagnose.rates import p_above
from reweight.diagnose.settled import more_rows, settling, with_settled

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def named(finding: Finding) -> dict[str, Any]:
    return {m.name: m for m in finding.measures}


def shown(spark: SparkSession, rates: dict[int, dict[int, float]]) -> DataFrame:
    """Item -> position -> rate, with rows at a good item's first and a poor item's last place."""
    rows: list[Any] = []
    for item, own in rates.items():
        for position, rate in own.items():
            n = 3000 if (item == 1) == (position == 1) else 1000
            hits = round(rate * n)
            # The second ids are all different: there is no stratum of two rows.
            rows += [(position, float(i < hits), [item, len(rows) + i]) for i in range(n)]
    frame = spark.createDataFrame(rows, "position int, label float, ids array<int>")
    return frame.withColumn("group_id", F.col("ids")[1].cast("string"))


def test_the_bias_is_measured_within_the_item(spark: SparkSession) -> None:
    # Half as often at place 2 and a quarter as often at place 4, whatever the item.
    rates = {1: {1: 0.4, 2: 0.2, 4: 0.1}, 2: {1: 0.08, 2: 0.04, 4: 0.02}}
    found = position_bias(shown(spark, rates), ["item", "row"])
    ratio, raw, exponent = found.measures
    assert ratio.name == "ratio of position 4 to 1, within item"
    assert ratio.value == pytest.approx(0.25)
    assert raw.value == pytest.approx((0.1 * 1000 + 0.02 * 3000) / 4000 / (1280 / 4000))
    assert exponent.value == pytest.approx(1.0, abs=1e-6)
    assert found.p is not None
    assert found.p < 1e-6


def test_where_negatives_were_sampled_the_bias_is_that_of_the_whole_log(
    spark: SparkSession,
) -> None:
    rates = {1: {1: 0.4, 2: 0.2, 4: 0.1}, 2: {1: 0.08, 2: 0.04, 4: 0.02}}
    whole = shown(spark, rates)
    tenth = "label = 1 OR ids[1] % 10 = 0"
    weighed = F.when(F.col("label") == 1, 1.0).otherwise(10.0)
    found = position_bias(whole.where(tenth).withColumn("design_weight", weighed), ["item"])
    ratio, raw, exponent = found.measures
    known, known_raw, _ = position_bias(whole, ["item"]).measures
    assert ratio.value == pytest.approx(known.value, rel=1e-9)
    assert raw.value == pytest.approx(known_raw.value, rel=0.02)
    assert exponent.value == pytest.approx(1.0, abs=0.01)
    # Fewer rows say less.
    assert ratio.low is not None and ratio.high is not None
    assert known.low is not None and known.high is not None
    assert ratio.high / ratio.low > 1.02 * known.high / known.low


def test_good_items_in_front_are_no_bias(spark: SparkSession) -> None:
    rates = {1: {1: 0.4, 2: 0.4}, 2: {1: 0.1, 2: 0.1}}
    found = position_bias(shown(spark, rates), ["item"])
    ratio, raw, _ = found.measures
    assert ratio.value == pytest.approx(1.0)
    assert raw.high is not None
    assert raw.high < 0.7
    assert found.p is not None
    assert found.p > 0.9


def test_without_positions_or_items_the_bias_cannot_be_seen(spark: SparkSession) -> None:
    rows = shown(spark, {1: {1: 0.4, 2: 0.4}})
    for frame, fields in ((rows, []), (rows.withColumn("position", F.lit(None)), ["item"])):
        found = position_bias(frame, fields)
        assert found.p is None
        assert found.needs is not None


def test_label_events_that_several_samples_share_are_told_with_the_bias(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def text(finding: Finding, labels: LabelEvents | None) -> Finding:
        monkeypatch.setattr("reweight.diagnose.position._within_items", lambda *_: finding)
        return position_bias(None, ["item"], labels)  # type: ignore[arg-type]

    seen = Finding("position bias", "It falls.", 0.0, points={"rate": [[1, 0.1, 0.0, 0.2]]})
    shared = LabelEvents(events=4_000, shared=1_200, keys=("user", "item"))
    found = text(seen, shared)
    assert "1,200 of 4,000 label events are shared by several samples" in found.text
    assert "attribute: last" in found.text
    assert named(found)["share of label events that several samples share"].value == 0.3
    for labels in (None, LabelEvents(events=4_000, attributed=1_200, attribute="last")):
        assert text(seen, labels) == seen
    unseen = Finding("position bias", "The samples have no position.", needs="it")
    assert text(unseen, shared) == unseen


def listed(spark: SparkSession, positions: int) -> DataFrame:
    """Ten items at every one of many positions, chosen half as often in the second half."""
    rows = [
        (k, float(i % 10 < (4 if 2 * k <= positions else 2)), [i // 10], f"{k} {i}")
        for k in range(1, positions + 1)
        for i in range(100)
    ]
    schema = "position int, label float, ids array<int>, group_id string"
    return spark.createDataFrame(rows, schema)


def test_positions_of_long_lists_are_pooled_and_compared(spark: SparkSession) -> None:
    found = position_bias(listed(spark, 250), ["item"])
    ratio, *_ = found.measures
    assert ratio.name == "ratio of position 249 to 1, within item"
    assert ratio.value == pytest.approx(0.5)
    assert found.p is not None
    assert found.p < 0.01
    assert len(found.points["rate"]) == 100
    # A few rows far down are a place of their own, and too few.
    few = listed(spark, 3).union(listed(spark, 1).withColumn("position", F.lit(9)).limit(1))
    assert [k for k, *_ in position_bias(few, ["item"]).points["rate"]] == [1, 2, 3]


def labelled(spark: SparkSession, hours: list[float], immature: int, lines: int = 1) -> DataFrame:
    """A positive for each delay, of groups of some lines, as many negatives, and immature rows."""
    rows: list[Any] = [
        (f"u{i // lines}", BEGIN, 1.0, BEGIN + timedelta(hours=h), True, "train")
        for i, h in enumerate(hours)
    ]
    rows += [("other", BEGIN, 0.0, None, True, "train")] * len(hours)
    rows += [("new", BEGIN + timedelta(days=9), 0.0, None, False, "immature")] * immature
    schema = "group_id string, event_time timestamp, label float, label_time timestamp, "
    return spark.createDataFrame(rows, f"{schema} mature boolean, split string")


def test_quantiles_and_shares_of_the_delay_are_exact(spark: SparkSession) -> None:
    hours = [0.25 * i for i in range(1, 201)]  # up to 50 of 72 hours
    late, missing = delayed_labels(labelled(spark, hours, 50), 72 * 3600, own_time=True)
    own = named(late)
    assert own["share of labels after 18 h"].value == pytest.approx(0.64)
    assert own["share after an hour"].value == pytest.approx(0.98)
    assert own["share after a day"].value == pytest.approx(0.52)
    assert "share after a week" not in own
    assert own["50% of the labels arrive within, h"].value == pytest.approx(25, rel=0.006)
    assert own["share of immature rows"].value == pytest.approx(50 / 450)
    # The design effect of n single rows is n / (n - 1).
    assert late.p == pytest.approx(p_above(128 * 0.995, 199, 0.1), rel=1e-3)
    assert missing.p is None


def test_quick_labels_are_no_delay_but_open_windows_are(spark: SparkSession) -> None:
    hours = [0.1 * i for i in range(1, 101)]
    for immature, p in ((40, 1.0), (60, 0.0)):
        late, _ = delayed_labels(labelled(spark, hours, immature), 72 * 3600, own_time=True)
        assert late.p == pytest.approx(p)
        # What decided comes first.
        first = "share of immature rows" if p == 0 else "share of labels after 18 h"
        assert late.measures[0].name == first


def test_lines_of_an_order_are_late_together(spark: SparkSession) -> None:
    # Three of twenty orders are late.
    hours = [50.0 if order % 7 == 0 else 1.0 for order in range(20) for _ in range(20)]
    single, _ = delayed_labels(labelled(spark, hours, 0), 72 * 3600, own_time=True)
    assert single.p == pytest.approx(stats.binom.sf(59, 400, 0.1), rel=0.05)
    order, _ = delayed_labels(labelled(spark, hours, 0, lines=20), 72 * 3600, own_time=True)
    assert order.p is not None
    assert order.p > 0.2
    for finding in (single, order):
        assert finding.measures[0].value == pytest.approx(0.15)
    low, high = (order.measures[0].low, order.measures[0].high)
    assert low is not None
    assert high is not None
    # Wilson's interval of 3 in 20.
    assert (low, high) == pytest.approx((0.05, 0.36), abs=0.02)


def windowless(spark: SparkSession, mean: float) -> DataFrame:
    """One rate in a log of 120 days, without a label window, and delays of this mean in days."""
    generator = np.random.default_rng(0)
    day, bought = generator.uniform(0, 120, 20_000), generator.random(20_000) < 0.1
    delay = generator.exponential(mean, 20_000)
    arrived = bought & (day + delay < 120)
    rows: list[Any] = [
        (str(i), BEGIN + timedelta(days=begins), float(label), 120 - begins, late)
        for i, (begins, label, late) in enumerate(
            zip(day.tolist(), arrived.tolist(), delay.tolist(), strict=True)
        )
    ]
    schema = "group_id string, event_time timestamp, label float, elapsed double, late double"
    label_time = "timestamp_micros(unix_micros(event_time) + CAST(late * 86400e6 AS bigint))"
    return spark.createDataFrame(rows, schema).withColumns(
        {
            "delay": F.expr("IF(label = 1, late, NULL)"),
            "label_time": F.expr(f"IF(label = 1, {label_time}, NULL)"),
            "mature": F.lit(True),
            "split": F.lit("train"),
        }
    )


@pytest.mark.parametrize(("mean", "visible"), [(20.0, True), (1.0, False)])
def test_labels_without_a_window_that_may_still_come_are_delayed_and_no_drift(
    spark: SparkSession, mean: float, visible: bool
) -> None:
    label = Label(where="kind = 'bought'", keys=("user",))
    samples = windowless(spark, mean).cache()
    seconds = settling(samples, label)
    assert seconds is not None
    old = with_settled(samples, seconds)
    drifts = rate_drift(old.where("mature"), seconds)
    assert drifts.p is not None
    assert drifts.p > 0.05
    if visible:
        as_recorded = rate_drift(samples).p
        assert as_recorded is not None
        assert as_recorded < 1e-6
    late, missing = delayed_labels(old, None, own_time=True, settles=seconds)
    assert (late.p == 0.0) == visible
    assert "The label has no window" in late.text
    share = named(missing)["share of immature rows"].value
    assert share == pytest.approx(seconds / 86_400 / 120, abs=0.01)
    assert (late.measures[0].name == "share of immature rows") == visible


def test_only_labels_without_a_window_are_settled_by_their_age(spark: SparkSession) -> None:
    samples = windowless(spark, 1.0).limit(10).withColumn("mature", F.col("elapsed") < 60)
    for label in (Label(where="a", keys=("user",), window=60), Label(value="bought")):
        assert settling(samples, label) is None
    assert with_settled(samples, None) is samples
    # No label ever came: nothing says when one would.
    assert settling(samples.where("false"), Label(where="a", keys=("user",))) is None
    empty = rate_drift(samples.where("false"), 7200.0)
    assert (empty.p, empty.needs) == (None, more_rows(7200.0))


def test_windows_that_are_open_at_a_cut_alone_are_not_open_when_the_log_ends(
    spark: SparkSession,
) -> None:
    frame = labelled(spark, [0.1 * i for i in range(1, 101)], 40)
    # Sixty of the negatives train with what was known at the cut.
    cut = frame.where("split = 'train' AND label = 0").limit(60).withColumn("mature", F.lit(False))
    for late in delayed_labels(frame.union(cut), 72 * 3600, own_time=True):
        assert named(late)["share of immature rows"].value == pytest.approx(40 / 300)
    # No label is late, and less than a fifth of the rows is open.
    assert delayed_labels(frame.union(cut), 72 * 3600, own_time=True)[0].p == pytest.approx(1)


def test_a_label_that_is_a_column_of_its_row_has_no_delay(spark: SparkSession) -> None:
    late, _ = delayed_labels(labelled(spark, [1.0], 0), None, own_time=False)
    assert late.p == 1.0
    assert late.needs is None
    assert "no delay" in late.text


def test_the_bound_of_the_tail_is_above_scipys_and_near_it(spark: SparkSession) -> None:
    cases = [(k, n) for n in (5, 40, 400) for k in (0, 1, n // 10, n // 4, n // 2, n)]
    frame = spark.createDataFrame(cases, "k int, n int")
    bound = tail_bound(F.col("k"), F.col("n"), 0.1).alias("bound")
    for row in frame.select("k", "n", bound).collect():
        k, n = row["k"], row["n"]
        # logsf of scipy is -inf where sf is below the smallest double.
        exact = logsumexp(stats.binom.logpmf(np.arange(k, n + 1), n, 0.1))
        assert row["bound"] >= exact - 1e-9
        if k > 0.1 * n:
            # The term at k alone is at least exp(-n KL) / sqrt(2 n).
            assert row["bound"] <= exact + math.log(math.sqrt(2 * n)) + 1e-9
        else:
            assert row["bound"] == 0.0


def test_the_limit_of_a_burst_is_ten_mads_above_the_median(spark: SparkSession) -> None:
    peaks = np.exp(np.random.default_rng(0).normal(3, 0.5, 999))
    frame = spark.createDataFrame([(float(p),) for p in peaks], "peak double")
    limit, _ = burst_limit(frame)
    mad = stats.median_abs_deviation(np.log(peaks))
    assert math.log(limit) == pytest.approx(np.median(np.log(peaks)) + 10 * mad, abs=0.15)
    # Groups that all do the same: ten times as much.
    limit, _ = burst_limit(frame.withColumn("peak", F.lit(8.0)))
    assert limit == pytest.approx(80)


def test_visitors_who_leave_at_once_do_not_make_bursts_of_the_others(spark: SparkSession) -> None:
    others = np.random.default_rng(0).geometric(1 / 8, 450) + 1.0
    frame = spark.createDataFrame([(p,) for p in [*[1.0] * 550, *others.tolist()]], "peak double")
    limit, spread = burst_limit(frame)
    mad = stats.median_abs_deviation(np.log(others))
    assert math.log(limit) == pytest.approx(np.median(np.log(others)) + 10 * mad, abs=0.2)
    assert limit > others.max()
    assert spread[0] == (1.0, 0.55)
    # Those few that do more than one thing may be bots.
    bots = spark.createDataFrame([(p,) for p in [*[1.0] * 990, *[300.0] * 10]], "peak double")
    assert burst_limit(bots)[0] == pytest.approx(10)


def test_the_share_of_events_of_bursts_and_clickers_is_exact(spark: SparkSession) -> None:
    hour = timedelta(hours=1)
    rows: list[Any] = []
    for user in range(200):  # 10 shown over ten hours and one click
        rows += [(f"u{user}", BEGIN + i * hour, "shown") for i in range(10)]
        rows += [(f"u{user}", BEGIN, "clicked")]
    rows += [("burst", BEGIN, "shown")] * 300  # all in one hour
    rows += [
        ("clicker", BEGIN + i * hour, kind) for i in range(40) for kind in ("shown", "clicked")
    ]
    rows += [(None, BEGIN, "shown")] * 500
    events = spark.createDataFrame(rows, "user string, event_time timestamp, kind string")
    rates = {"click rate": ("kind = 'clicked'", "kind = 'shown'")}
    found = bursts_and_bots(events, "user", rates)
    total = 200 * 11 + 300 + 80
    whole, bursting, often = found.measures
    assert whole.value == pytest.approx(380 / total)
    assert bursting.value == pytest.approx(300 / total)
    assert often.value == pytest.approx(80 / total)
    assert found.p == 0.0
    usual = bursts_and_bots(events.where("user LIKE 'u%'"), "user", rates)
    assert (usual.measures[0].value, usual.p) == (0.0, 1.0)
    assert bursts_and_bots(events, None, rates).needs == "sampling.group"


def test_items_of_one_list_are_one_act_and_repeats_of_a_second_are_counted(
    spark: SparkSession,
) -> None:
    hour, blink = timedelta(hours=1), timedelta(milliseconds=200)
    begin = BEGIN + timedelta(seconds=7)
    rows: list[Any] = []
    for user in range(200):  # one item an hour, and one list of 25 items at once
        rows += [(f"u{user}", begin + i * hour, f"i{i}") for i in range(10)]
        rows += [(f"u{user}", begin + 12 * hour, f"i{i}") for i in range(25)]
    ordinary = len(rows)
    schema = "user string, event_time timestamp, item string"
    shown = bursts_and_bots(spark.createDataFrame(rows, schema), "user", {}, ["user", "item"])
    assert [m.value for m in shown.measures] == [0.0, 0.0, 0.0]
    assert (shown.p, shown.points["peaks"]) == (1.0, [[1.0, 1.0]])
    # Without contents every event is an act of its own.
    split = bursts_and_bots(spark.createDataFrame(rows, schema), "user", {})
    assert split.points["peaks"] == [[16.0, 1.0]]
    # Two clicks on one item a moment apart are a repeat; two users or two items are none.
    rows += [
        (f"u{user}", begin + 20 * hour + i * blink, "same") for user in range(50) for i in (0, 1)
    ]
    rows += [("bot", begin, "same")] * 100
    found = bursts_and_bots(spark.createDataFrame(rows, schema), "user", {}, ["user", "item"])
    total = ordinary + 100 + 100
    whole, bursting, repeated = (m.value for m in found.measures)
    assert bursting == whole == pytest.approx(100 / total)
    assert repeated == pytest.approx((50 + 99) / total)
    assert found.p == 0.0
    # Repeats alone make it visible, so they come first.
    lone = [row for row in rows if row[0] != "bot"]
    lone += [
        (f"u{user}", begin + 30 * hour + i * blink, "same") for user in range(99) for i in (0, 1)
    ]
    alone = bursts_and_bots(spark.createDataFrame(lone, schema), "user", {}, ["user", "item"])
    assert alone.p == 0.0
    assert "repeat another" in alone.measures[0].name
    assert alone.measures[0].value == pytest.approx(149 / len(lone))
    # Whole minutes do not tell what happened in a second.
    minutes = spark.createDataFrame(rows, schema).withColumn(
        "event_time", F.date_trunc("minute", "event_time")
    )
    assert len(bursts_and_bots(minutes, "user", {}, ["user", "item"]).measures) == 2


def test_a_rate_that_moves_is_told_from_one_that_does_not(spark: SparkSession) -> None:
    hours = range(400)
    schema = "event_time timestamp, group_id string, label float"
    for later, visible in ((0.2, False), (0.4, True)):
        rows = [
            (BEGIN + timedelta(hours=h), f"{h} {i}", float(i < 20 * (later if h >= 200 else 0.2)))
            for h in hours
            for i in range(20)
        ]
        found = rate_drift(spark.createDataFrame(rows, schema))
        assert found.p is not None
        assert (found.p < 0.001) == visible
        assert len(found.points["rates"]) == 20
        # Of two rates, half the time each: a third of their mean from it.
        assert found.measures[0].value == pytest.approx(1 / 3 if visible else 0.0, abs=0.02)
    # One row long before the others, alone in its period, is no drift.
    first = (BEGIN - timedelta(days=1), "first", 1.0)
    steady = [(time, group, float(i % 5 == 0)) for i, (time, group, _) in enumerate(rows)]
    found = rate_drift(spark.createDataFrame([first, *steady], schema))
    assert found.p is not None
    assert found.p > 0.5
    assert len(found.points["rates"]) == 19
    none = rate_drift(spark.createDataFrame([(*row[:2], 0.0) for row in steady], schema))
    assert (none.p, none.needs) == (None, "more labelled rows")


def test_sessions_whose_rows_are_alike_are_no_drift_of_the_rate(spark: SparkSession) -> None:
    generator = np.random.default_rng(4)
    schema = "event_time timestamp, group_id string, label float"
    for later, visible in ((0.2, False), (0.5, True)):
        bought = generator.random(2000) < np.where(np.arange(2000) < 1000, 0.2, later)
        rows = [
            (BEGIN + timedelta(minutes=10 * session), f"s{session}", float(label))
            for session, label in enumerate(bought)
            for _ in range(20)
        ]
        found = rate_drift(spark.createDataFrame(rows, schema))
        assert found.p is not None
        assert (found.p < 0.001) == visible
        # Of 100 sessions, and not of 2,000 rows.
        _, rate, low, high = found.points["rates"][0]
        assert (high - low) / 2 == pytest.approx(1.96 * (rate * (1 - rate) / 100) ** 0.5, rel=0.1)


def test_features_that_tell_the_time_are_told_from_history_that_grows(spark: SparkSession) -> None:
    generator = np.random.default_rng(1)
    late = np.arange(2000) % 2
    x = generator.normal(size=(2000, 2))
    x[:, 1] += 3 * late
    rows = list(
        zip((np.arange(2000) // 4).astype(str).tolist(), late.tolist(), x.tolist(), strict=True)
    )
    frame = spark.createDataFrame(rows, "group_id string, late int, features array<float>").cache()
    names = ("price", "seen_all")
    history = feature_drift(frame, Columns(names, (0,), seed=0))
    steady, everything = history.measures
    assert steady.value == pytest.approx(0.5, abs=0.05)
    # The area of two normal distributions that are 3 deviations apart.
    assert everything.value == pytest.approx(stats.norm.cdf(3 / math.sqrt(2)), abs=0.02)
    assert history.p is not None
    assert history.p > 0.5
    assert history.points["moved"][0] == ["seen_all", pytest.approx(3, abs=0.15)]
    own = feature_drift(frame, Columns(names, (0, 1), seed=0))
    assert own.p is not None
    assert own.p < 1e-6
    assert feature_drift(frame, Columns(names, (), seed=0)).p is None
