"""The simulated log: what its config says is in it, and the same log on every machine."""

import json
import math
from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.config import Run, load_config
from reweight.core.errors import SourceError
from reweight.simulate_logs import raw_files, simulation, words
from reweight.simulate_logs.section import THINGS, Dirt, News, Search, Simulation
from reweight.simulate_logs.stage import simulate_logs

SEED = 3
SHOP = Simulation(
    path="unused",
    sessions=6_000,
    users=400,
    items=300,
    days=20,
    bots=0.1,
    bot_clicks=0.25,
    rare=0.4,
    unrecorded=0.3,
    drift=1.5,
    dirt=Dirt(
        duplicates=0.05,
        redelivered=0.04,
        malformed=0.03,
        null_ids=0.02,
        bad_prices=0.015,
        future_times=0.01,
    ),
)
END = pd.Timestamp("2026-01-21")


@pytest.fixture(scope="module")
def shown(spark: SparkSession) -> Iterator[DataFrame]:
    rows = simulation.impressions(spark, SHOP, SEED).persist()
    yield rows
    rows.unpersist()


@pytest.fixture(scope="module")
def impressions(shown: DataFrame) -> pd.DataFrame:
    """The impressions of people and bots, and the columns that the tests count."""
    found = shown.selectExpr(
        "session_id",
        "bot",
        "_user",
        "user_group",
        "position",
        "item_id",
        "_category",
        "relevance",
        "seen",
        "clicked",
        "would_buy",
        "recorded",
        "delay",
        "began_at",
        "clicked_at",
    ).toPandas()
    found["logit"] = np.log(found["relevance"] / (1 - found["relevance"]))
    return found


@pytest.fixture(scope="module")
def people(impressions: pd.DataFrame) -> pd.DataFrame:
    return impressions[~impressions["bot"]]


@pytest.fixture(scope="module")
def events(shown: DataFrame) -> pd.DataFrame:
    return raw_files.events(shown, SHOP).toPandas()


def close(share: float, expected: float, rows: int) -> None:
    """Four standard errors of a share."""
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / rows) + 1e-12


def fingerprint(rows: DataFrame) -> tuple[Any, ...]:
    """Number of rows and what is left of their content however they are ordered."""
    row = F.xxhash64(*sorted(rows.columns))
    found = rows.agg(F.count("*"), F.bit_xor(row), F.sum(row % 1_000_003)).first()
    assert found is not None
    return tuple(found)


def log(spark: SparkSession, seed: int, sessions: int = 300) -> DataFrame:
    small = SHOP.model_copy(update={"sessions": sessions})
    clean = raw_files.events(simulation.impressions(spark, small, seed), small)
    return raw_files.with_dirt(clean, small, seed)


def test_a_log_depends_on_its_seed_and_neither_on_partitions_nor_on_its_size(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = log(spark, SEED)
    expected = fingerprint(whole)
    longer = log(spark, SEED, sessions=320)
    assert fingerprint(longer.where("session_id < 300")) == expected
    assert fingerprint(log(spark, SEED + 1)) != expected
    monkeypatch.setattr(simulation, "_SESSIONS_PER_TASK", 300 // 8)
    cut = log(spark, SEED)
    assert cut.rdd.getNumPartitions() == 8 != whole.rdd.getNumPartitions()
    assert fingerprint(cut) == expected


def test_every_session_shows_a_whole_list_of_distinct_items(impressions: pd.DataFrame) -> None:
    assert not impressions.duplicated(["session_id", "position"]).any()
    assert not impressions.duplicated(["session_id", "item_id"]).any()
    lists = impressions.groupby("session_id")["position"].max()
    assert len(lists) == SHOP.sessions
    assert (lists == SHOP.list_size).all()
    assert impressions["item_id"].between(0, SHOP.items - 1).all()


def test_an_item_at_place_r_is_seen_with_probability_one_over_r(people: pd.DataFrame) -> None:
    for place, seen in people.groupby("position")["seen"]:
        close(seen.mean(), place**-SHOP.eta, len(seen))


def test_what_is_seen_is_clicked_as_it_is_relevant(people: pd.DataFrame) -> None:
    assert not people.loc[~people["seen"], "clicked"].any()
    seen = people[people["seen"]]
    for _, tenth in seen.groupby(pd.qcut(seen["relevance"], 10)):
        close(tenth["clicked"].mean(), tenth["relevance"].mean(), len(tenth))


def test_clicks_fall_with_the_place_as_its_power(people: pd.DataFrame) -> None:
    by_place = people.groupby("position").agg({"clicked": "mean", "relevance": "mean"})
    # Good items stand in front: their relevance is taken out.
    ratio = by_place["clicked"] / by_place["relevance"]
    slope = np.polyfit(np.log(by_place.index), np.log(ratio), 1)[0]
    assert slope == pytest.approx(-SHOP.eta, abs=0.1)


def test_users_and_items_are_popular_by_zipfs_law(people: pd.DataFrame) -> None:
    visits = people.drop_duplicates("session_id")["_user"].to_numpy()
    edges = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 401])
    power = 1 - SHOP.zipf
    expected = np.diff(edges.astype(float) ** power) / (float(SHOP.users + 1) ** power - 1)
    found = np.histogram(visits + 1, edges)[0]
    assert found.sum() == len(visits)
    for share, wanted in zip(found / len(visits), expected, strict=True):
        close(share, wanted, len(visits))
    shown = people["item_id"].value_counts().sort_index()
    assert np.corrcoef(np.log(shown.index + 1), np.log(shown))[0, 1] < -0.97


def test_bots_see_and_click_at_random_and_buy_nothing(impressions: pd.DataFrame) -> None:
    bots = impressions[impressions["bot"]]
    close(bots["session_id"].nunique() / SHOP.sessions, SHOP.bots, SHOP.sessions)
    assert bots["seen"].all()
    assert not bots["would_buy"].any()
    for _, clicked in bots.groupby("position")["clicked"]:
        close(clicked.mean(), SHOP.bot_clicks, len(clicked))
    # Their ids are those of no person.
    assert (bots["_user"] >= SHOP.users).all()
    assert (impressions.loc[~impressions["bot"], "_user"] < SHOP.users).all()


def test_some_purchases_are_never_recorded(people: pd.DataFrame) -> None:
    assert not people.loc[~people["clicked"], "would_buy"].any()
    bought = people[people["would_buy"]]
    assert not people.loc[~people["would_buy"], "recorded"].any()
    close(1 - bought["recorded"].mean(), SHOP.unrecorded, len(bought))


def test_purchases_come_after_hours_or_days(people: pd.DataFrame) -> None:
    delays = (people.loc[people["would_buy"], "delay"] - 60) / 3600
    means = {SHOP.late_days * 24: SHOP.late, SHOP.hours: 1 - SHOP.late}
    for hours in (1, 4, 24, 96):
        later = sum(share * math.exp(-hours / mean) for mean, share in means.items())
        close((delays > hours).mean(), later, len(delays))
    assert delays.min() >= 0


def profile(rows: pd.DataFrame) -> np.ndarray:
    """Mean logit of the relevance by category."""
    return rows.groupby("_category")["logit"].mean().to_numpy()


def test_tastes_turn_with_time(people: pd.DataFrame) -> None:
    main = people[people["user_group"] == "main"]
    day = (main["began_at"] - main["began_at"].min()) // 86_400
    early, late = main[day < 4], main[day >= 16]
    kind = 2 * math.pi * np.arange(SHOP.categories) / SHOP.categories
    # The means of the first and of the last fifth of the log.
    began, ended = (0.7 * np.cos(kind + SHOP.drift * at) for at in (0.1, 0.9))
    moved = profile(late) - profile(early)
    assert np.corrcoef(moved, ended - began)[0, 1] > 0.9
    assert np.std(moved) == pytest.approx(np.std(ended - began), rel=0.3)


def test_the_rare_group_likes_the_opposite_and_takes_any_price(people: pd.DataFrame) -> None:
    close(
        (people.drop_duplicates("_user")["user_group"] == "rare").mean(),
        SHOP.rare,
        people["_user"].nunique(),
    )
    day = (people["began_at"] - people["began_at"].min()) // 86_400
    early = people[day < 4]
    rare = early["user_group"] == "rare"
    kind = 2 * math.pi * np.arange(SHOP.categories) / SHOP.categories
    wanted = 1.4 * np.cos(kind + SHOP.drift * 0.1)
    assert np.corrcoef(profile(early[~rare]) - profile(early[rare]), wanted)[0, 1] > 0.8


def test_the_log_ends_and_purchases_that_come_later_are_not_in_it(
    impressions: pd.DataFrame, events: pd.DataFrame
) -> None:
    times = pd.to_datetime(events["ts"]).dt.tz_localize(None)
    assert times.max() < END
    assert times.min() >= pd.Timestamp(SHOP.start)
    recorded = impressions[impressions["recorded"]]
    arrives = pd.to_datetime(recorded["clicked_at"] + recorded["delay"], unit="s")
    kinds = events["event_type"].value_counts()
    assert kinds["purchase"] == (arrives < END).sum() < len(recorded)
    assert kinds["impression"] == len(impressions)
    assert events["event_id"].is_unique


def test_an_event_shows_what_a_shop_knows_and_nothing_else(events: pd.DataFrame) -> None:
    assert list(events.columns) == [
        "event_id",
        "event_type",
        "ts",
        "received_at",
        "session_id",
        "user_id",
        "user_group",
        "device",
        "item_id",
        "category",
        "price",
        "position",
        "impression_id",
    ]
    assert (events["position"].isna() == (events["event_type"] == "purchase")).all()
    assert events["user_id"].min() > 2**53
    assert (events["price"] > 0).all()


def test_the_truth_has_one_row_per_impression(shown: DataFrame, impressions: pd.DataFrame) -> None:
    truth = simulation.truth(shown).toPandas()
    assert truth["impression_id"].is_unique
    assert len(truth) == len(impressions)
    assert (truth["delay_hours"].notna() == truth["would_buy"]).all()
    assert truth["would_buy"].sum() == impressions["would_buy"].sum()
    # What is wanted is bought where it was seen, and nowhere else.
    assert (truth["would_buy"] == (truth["wanted"] & truth["seen"])).all()
    assert truth["would_buy"].sum() < truth["wanted"].sum()


# Each fault as it shows in the files, over the fields of a parsed line.
VISIBLE: dict[str, Callable[[], Column]] = {
    "malformed": lambda: F.col("event_id").isNull(),
    "null_ids": lambda: F.col("event_id").isNotNull() & F.col("user_id").isNull(),
    "bad_prices": lambda: F.col("price") < 0,
    "future_times": lambda: F.col("ts") >= "2030",
}


@pytest.mark.parametrize("kind", ["json", "parquet"])
def test_every_fault_is_planted_as_often_as_configured_and_is_in_the_files(
    spark: SparkSession, shown: DataFrame, events: pd.DataFrame, tmp_path: Path, kind: str
) -> None:
    written = SHOP.model_copy(update={"path": str(tmp_path / "raw"), "format": kind})
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "of-an-earlier-log.json").write_text("{}")
    clean = raw_files.events(shown, written)
    lines = raw_files.with_dirt(clean, written, SEED)
    with pytest.raises(SourceError, match="no simulated log"):
        raw_files.check_replaced(spark, written.path)
    raw_files.write_raw(lines, written)
    raw_files.check_replaced(spark, written.path)
    planted = {row["fault"]: row["count"] for row in lines.groupBy("fault").count().collect()}
    assert planted.pop(None) == len(events)
    faults = dict(written.dirt)
    if kind == "parquet":
        assert faults.pop("malformed") > 0
    assert planted.keys() == faults.keys()
    for fault, share in faults.items():
        close(planted[fault] / len(events), share, len(events))

    schema = "event_id string, ts string, received_at string, user_id long, price double"
    if kind == "json":
        text = spark.read.text(written.path)
        parsed = text.select("value", F.from_json("value", schema).alias("e")).select(
            "value", "e.*"
        )
    else:
        parsed = spark.read.parquet(written.path)
        parsed = parsed.withColumn("value", F.to_json(F.struct("*")))
    visible = [F.count_if(VISIBLE[k]()).alias(k) for k in VISIBLE if k in faults]
    row = parsed.agg(
        F.count("*").alias("lines"), F.count_distinct("value").alias("distinct"), *visible
    ).first()
    assert row is not None
    found = row.asDict()
    assert found["lines"] == len(events) + sum(planted.values())
    assert found["lines"] - found["distinct"] == planted["duplicates"]
    assert {k: found[k] for k in VISIBLE if k in faults} == {
        k: planted[k] for k in VISIBLE if k in faults
    }
    twice = parsed.where("event_id is not null").groupBy("event_id")
    redelivered = twice.agg(F.count_distinct("received_at").alias("times")).where("times = 2")
    assert redelivered.count() == planted["redelivered"]


def test_worlds_share_nobody_and_nothing_and_have_mechanisms_of_their_own(
    spark: SparkSession,
) -> None:
    worlds = {
        "plain": {"bots": 0.0, "late": 0.0, "hours": 0.01},
        "blind": {"bots": 0.0, "eta": 3.0, "unrecorded": 1.0},
        "noisy": {"bots": 1.0, "spurious": 0.2, "sessions": 3000, "users": 500, "items": 40},
    }
    shop = SHOP.model_copy(update={"worlds": worlds, "sessions": 1500})
    shown = simulation.impressions(spark, shop, SEED).persist()
    rows = shown.withColumn("world", simulation.world_name(shop))
    ids = rows.groupBy("world").agg(
        F.min("session_id"), F.max("session_id"), F.min("user_id"), F.max("user_id"),
        F.min("item_id"), F.max("item_id"),
    )  # fmt: skip
    spans = sorted(tuple(row)[1:] for row in ids.collect())
    for low, high in pairwise(spans):
        assert all(low[i + 1] < high[i] for i in (0, 2, 4))
    found = rows.groupBy("world").agg(
        F.avg(F.col("bot").cast("int")).alias("bots"),
        F.avg(F.when(F.col("position") == 2, F.col("seen").cast("int"))).alias("seen"),
        F.avg(F.col("recorded").cast("int")).alias("recorded"),
        F.avg(F.col("would_buy").cast("int")).alias("bought"),
        F.max(F.when(F.col("would_buy"), F.col("delay"))).alias("delay"),
        F.count_distinct("session_id").alias("sessions"),
        F.count_distinct("item_id").alias("items"),
    )
    own = found.toPandas().set_index("world")
    assert own["bots"].to_dict() == {"plain": 0.0, "blind": 0.0, "noisy": 1.0}
    assert own.loc["plain", "seen"] == pytest.approx(0.5, abs=0.05)
    assert own.loc["blind", "seen"] == pytest.approx(0.125, abs=0.04)
    assert own.loc["blind", "recorded"] == 0 < own.loc["blind", "bought"]
    assert own.loc["noisy", "recorded"] == pytest.approx(0.2, abs=0.015)
    assert own.loc["noisy", "bought"] == 0
    assert own.loc["plain", "delay"] < 2000
    assert own["sessions"].to_dict() == {"plain": 1500, "blind": 1500, "noisy": 3000}
    assert own["items"].to_dict() == {"plain": SHOP.items, "blind": SHOP.items, "noisy": 40}
    lines = raw_files.events(shown, shop).groupBy("world").count().collect()
    assert {row["world"] for row in lines} == set(worlds)
    shown.unpersist()


def test_what_is_wanted_depends_on_the_order_of_what_was_looked_at(spark: SparkSession) -> None:
    quiet = {"sessions": 2000, "drift": 0.0, "bots": 0.0, "rare": 0.0, "order": 5.0}
    shop = SHOP.model_copy(update=quiet)
    shown = simulation.impressions(spark, shop, SEED)
    rows = raw_files.events(shown, shop).select(
        "session_id", "event_type", "event_id", "ts", "item_id", "category"
    )
    found = rows.toPandas().sort_values("ts")
    views = found[found["event_type"] == "view"]
    assert views["item_id"].isna().all()
    assert views["event_id"].is_unique
    number = views["category"].str[1:].astype(int)
    seen = number.groupby(views["session_id"]).agg(list)
    assert len(seen) == 2000 and set(map(len, seen)) == {3}
    steps = {(b - a) % 12 for three in seen for a, b in pairwise(three)}
    assert steps == {1, 11}
    way = seen.map(lambda three: 1 if (three[1] - three[0]) % 12 == 1 else -1)
    assert abs((way == 1).mean() - 0.5) < 0.05
    # They come before the list of their session.
    first = found[found["event_type"] == "impression"].groupby("session_id")["ts"].min()
    assert (views.groupby("session_id")["ts"].max()[first.index] < first).all()
    clicked = found[found["event_type"] == "click"]
    middle = clicked["session_id"].map(seen).str[1]
    ahead = (clicked["category"].str[1:].astype(int) - middle) * clicked["session_id"].map(way)
    turn = np.sin(2 * np.pi * ahead / 12)
    # A quarter of the circle further on, and not where one would go the other way.
    assert turn.mean() > 0.4
    unsigned = np.sin(2 * np.pi * ahead * clicked["session_id"].map(way) / 12)
    assert abs(unsigned.mean()) < 0.06
    assert "_viewed" not in simulation.impressions(spark, SHOP, SEED).columns


def test_purchases_come_back_as_the_truth_says_and_a_broken_day_loses_sessions(
    spark: SparkSession,
) -> None:
    calm = {"drift": 0.0, "rare": 0.0, "dirt": Dirt(**dict.fromkeys(SHOP.dirt.model_dump(), 0))}
    turning = {"drift": 3.0, "drift_from": 10, "lost": {date(2026, 1, 5): 0.75}}
    back = {"sessions": 3_000, "eta": 0.0, "bots": 0.0, "refunds": 0.3, "refund_days": 1.0}
    plain = SHOP.model_copy(update=calm | {"sessions": 3_000, "eta": 0.0, "bots": 0.0})
    shop = Simulation.model_validate(plain.model_dump() | turning | back)
    shown = simulation.impressions(spark, shop, SEED).persist()
    clean = raw_files.events(shown, shop).persist()
    truth = simulation.truth(shown).toPandas().set_index("impression_id")
    # As often as it says, on average over the quality of what is bought.
    chance = shown.where("would_buy").selectExpr("1 / (1 + exp(_quality - ln(0.3 / 0.7))) AS p")
    bought = truth[truth["would_buy"]]
    returned = bought["refund_hours"].notna()
    close(returned.mean(), chance.toPandas()["p"].mean(), len(bought))
    assert (bought["wanted"] == ~returned).all()
    assert truth.loc[~truth["would_buy"], "refund_hours"].isna().all()
    assert bought["refund_hours"].mean() == pytest.approx(24, rel=0.1)
    # Refunds of recorded purchases, unless the log ends before, at the time that the truth says.
    columns = clean.select("event_type", "event_id", "impression_id", "ts", "position")
    lines = columns.toPandas().set_index("impression_id")
    lines["ts"] = pd.to_datetime(lines["ts"])
    sold, refunds = (lines[lines["event_type"] == kind] for kind in ("purchase", "refund"))
    hours = (refunds["ts"] - sold["ts"].reindex(refunds.index)).dt.total_seconds() / 3600
    assert np.allclose(hours, truth["refund_hours"].reindex(refunds.index))
    later = truth["refund_hours"].reindex(sold.index).dropna()
    due = sold["ts"].reindex(later.index) + pd.to_timedelta(later, unit="h")
    assert set(refunds.index) == set(due.index[due < END.tz_localize("UTC")])
    assert refunds["event_id"].is_unique and refunds["position"].isna().all()
    # Before tastes turn and without refunds, it is the log that it would have been.
    other = simulation.impressions(spark, plain, SEED)
    same = [rows.where("began_at < 1768003200") for rows in (shown, other)]
    kept = ("impression_id", "relevance", "clicked", "delay", "recorded")
    assert fingerprint(same[0].select(*kept)) == fingerprint(same[1].select(*kept))
    assert "refund" not in {
        r[0] for r in raw_files.events(other, plain).groupBy("event_type").count().collect()
    }
    # Of one day, a quarter of the sessions is in the log, with all of their lines of that day.
    logged = raw_files.with_dirt(clean, shop, SEED)
    missing = clean.join(logged, on="event_id", how="left_anti")
    days = {r[0] for r in missing.selectExpr("substring(received_at, 1, 10)").collect()}
    assert days == {"2026-01-05"}
    on_day = "received_at LIKE '2026-01-05%'"
    sessions = [x.where(on_day).select("session_id").distinct() for x in (clean, logged)]
    total, there = (rows.count() for rows in sessions)
    close(there / total, 0.25, total)
    assert not missing.join(sessions[1], on="session_id", how="left_semi").count()
    for rows in (shown, clean):
        rows.unpersist()


def test_a_log_without_dirt_has_only_clean_lines(spark: SparkSession) -> None:
    none = SHOP.model_copy(
        update={"sessions": 50, "dirt": Dirt(**dict.fromkeys(SHOP.dirt.model_dump(), 0))}
    )
    clean = raw_files.events(simulation.impressions(spark, none, SEED), none)
    lines = raw_files.with_dirt(clean, none, SEED)
    assert lines.where("fault is not null").isEmpty()
    assert fingerprint(lines.drop("fault")) == fingerprint(clean)


@pytest.mark.parametrize(
    "values",
    [
        {"start": "next week"},
        {"start": "2026-02-30"},
        {"zipf": 1},
        {"list_size": 21},
        {"items": 19},
        {"sessions": 0},
        {"bots": 1.5},
        {"format": "csv"},
        {"dirt": {"dust": 0.1}},
        {"refunds": 1},
        {"lost": {"2026-01-05": 2}},
        {"worlds": {"a": {"days": 3}}},
        {"worlds": {"a": {"bots": 2}}},
    ],
    ids=json.dumps,
)
def test_a_shop_that_cannot_be_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Simulation.model_validate({"path": "/raw"} | values)
    assert caught.value.error_count() == 1
    assert str(caught.value.errors()[0]["loc"][0]) == next(iter(values))


def test_a_run_on_a_log_that_is_there_simulates_nothing(
    spark: SparkSession, tmp_path: Path
) -> None:
    otto = Path(__file__).parents[2] / "conf" / "otto.yaml"
    config = load_config(str(otto), [f"root={tmp_path}", "data_dir=/nowhere"])
    run = Run.open(spark, config)
    assert "skipped" in simulate_logs(run)
    assert not (tmp_path / "tables").exists()


def test_a_search_is_relevant_by_what_its_words_mean(spark: SparkSession) -> None:
    search = Search(strength=2, hits=0.5)
    shop = SHOP.model_copy(update={"search": search, "sessions": 1_000, "bots": 0.0})
    shown = simulation.impressions(spark, shop, SEED)
    columns = ("session_id", "item_id", "query", "title", "relevance")
    rows = shown.select(*columns).toPandas()
    # An item has one title, and a session one query.
    assert (rows.groupby("item_id")["title"].nunique() == 1).all()
    assert (rows.groupby("session_id")["query"].nunique() == 1).all()
    meaning = {word: n for n, same in enumerate(words._THINGS) for word in same}
    asked = rows["query"].map(lambda q: next(n for w, n in meaning.items() if q.endswith(w)))
    called = rows["title"].str.partition(" ")[2].str.partition(",")[0]
    hit = asked == called.map(meaning)
    # Half of what is drawn, but only twelve items of a thing can be drawn, each once.
    assert 0.3 < hit.mean() < 0.5
    assert rows["relevance"][hit].mean() > rows["relevance"][~hit].mean() + 0.4
    # Most items that were asked for are called by another word.
    same_word = [word in query for word, query in zip(called[hit], rows["query"][hit], strict=True)]
    assert np.mean(same_word) < 0.5
    assert set(meaning.values()) == set(range(THINGS))
    assert {"query", "title"} < set(raw_files.events(shown, shop).columns)
    assert not {"query", "title"} & set(simulation.impressions(spark, SHOP, SEED).columns)
    with pytest.raises(ValidationError, match="expected at least 24, one for each thing"):
        Simulation(path="", items=20, search=search)


def test_articles_come_and_go_and_bait_is_clicked_but_not_read(spark: SparkSession) -> None:
    news = News(life_days=2, fades=3, bait=2)
    shop = SHOP.model_copy(update={"news": news, "sessions": 2_000, "bots": 0.0, "rare": 0.0})
    shown = simulation.impressions(spark, shop, SEED)
    columns = ("item_id", "began_at", "published_at", "relevance", "_likes", "_buys")
    rows = shown.select(*columns).toPandas()
    age = rows["began_at"] - rows["published_at"]
    assert age.between(-1, 2 * 86_400).all()
    # An article appears once; ten follow each other in a place.
    assert (rows.groupby("item_id")["published_at"].nunique() == 1).all()
    assert rows["item_id"].nunique() > 5 * SHOP.items
    assert (rows["item_id"] % SHOP.items).max() < SHOP.items
    young = age < 86_400
    assert rows["relevance"][young].mean() > rows["relevance"][~young].mean() + 0.15
    attractive = rows["relevance"] > rows["relevance"].median()
    assert rows["_buys"][attractive].mean() < rows["_buys"][~attractive].mean() - 0.1
    assert "published_at" in raw_files.events(shown, shop).columns
    with pytest.raises(ValidationError, match="`news` cannot be simulated with `search`"):
        Simulation(path="", news=news, search=Search())
