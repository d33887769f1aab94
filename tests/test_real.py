"""Five real logs, cleaned and made into samples: nothing lost, and every known fault counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, load_config
from reweight.core.run_folder import read_records
from reweight.core.tables import EVENTS, REJECTED, SAMPLES
from reweight.diagnose.stage import diagnose
from reweight.runner.records import run_stage

pytestmark = pytest.mark.real

CONF = Path(__file__).parents[1] / "conf"

RunOf = Callable[[str], Run]


@pytest.fixture(scope="module")
def run_of(
    spark: SparkSession,
    real_data: Path,
    large_data: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> RunOf:
    def made(name: str) -> Run:
        root = tmp_path_factory.mktemp(Path(name).name)
        overrides = [f"root={root}", f"data_dir={real_data}"]
        run = Run.open(spark, load_config(str(CONF / f"{name}.yaml"), overrides))
        for stage in (clean_logs, build_samples):
            run_stage(run, stage)
        return run

    return made


@pytest.fixture(scope="module")
def retail(run_of: RunOf) -> Run:
    return run_of("online_retail")


@pytest.fixture(scope="module")
def shoppers(run_of: RunOf) -> Run:
    return run_of("online_shoppers")


@pytest.fixture(scope="module")
def bandit(run_of: RunOf) -> Run:
    return run_of("open_bandit")


@pytest.fixture(scope="module")
def otto(run_of: RunOf) -> Run:
    return run_of("otto")


@pytest.fixture(scope="module")
def funnel(run_of: RunOf) -> Run:
    return run_of("benchmark/olist_funnel")


def said(run: Run, stage: str) -> dict[str, Any]:
    summary: dict[str, Any] = read_records(run.folder)[stage]["summary"]
    return summary


def counts(frame: DataFrame, *columns: str) -> dict[Any, int]:
    rows = frame.groupBy(*columns).count().collect()
    return {row[0] if len(columns) == 1 else tuple(row)[:-1]: row["count"] for row in rows}


def positives(run: Run) -> int:
    return run.store.read(SAMPLES).where("label = 1").count()


def feature_names(run: Run) -> list[str]:
    names: list[str] = json.loads((run.folder.features).read_text())["names"]
    return names


def raw_csv(run: Run, source: str) -> DataFrame:
    path = run.config.cleaning.sources[source].path
    return run.spark.read.option("header", "true").csv(path)


# Online Retail: lines of invoices.


def test_every_line_of_the_retail_log_is_an_event_or_rejected(retail: Run) -> None:
    events, rejected = retail.store.read(EVENTS).count(), retail.store.read(REJECTED).count()
    assert events + rejected == 541_909
    cleaned = said(retail, "clean_logs")
    assert [cleaned[k] for k in ("raw", "events", "rejected")] == [541_909, events, rejected]


def test_the_known_faults_of_the_retail_log_are_counted_to_the_line(retail: Run) -> None:
    each = retail.store.read(REJECTED).select(F.explode("reasons").alias("reason"))
    found = counts(each, "reason")
    assert found == said(retail, "clean_logs")["reasons"]
    assert found == {
        "duplicate": 5_268,
        "missing:user_id": 135_080,
        "cancellation": 9_288,
        "out_of_range:quantity": 10_624,
        "out_of_range:price": 2_517,
    }


def test_what_is_left_of_the_retail_log_has_none_of_the_faults(retail: Run) -> None:
    events = retail.store.read(EVENTS)
    bad = "user_id is null or quantity < 1 or price < 0.001 or invoice_no like 'C%'"
    assert events.where(bad).isEmpty()


def test_the_retail_log_is_cut_by_time_with_a_gap_of_a_label_window(retail: Run) -> None:
    spans = {
        row["split"]: row
        for row in retail.store.read(SAMPLES)
        .groupBy("split")
        .agg(F.min("event_time").alias("low"), F.max("event_time").alias("high"))
        .collect()
    }
    assert set(spans) == {"train", "validation", "test", "gap", "immature"}
    for early, late in (("train", "validation"), ("validation", "test")):
        assert (spans[late]["low"] - spans[early]["high"]).days >= 30
    assert spans["immature"]["low"] > spans["test"]["high"]


def test_the_last_30_days_of_the_retail_log_are_immature(retail: Run) -> None:
    end = retail.store.read(EVENTS).agg(F.max("event_time")).first()[0]  # type: ignore[index]
    still_open = F.col("event_time") > F.lit(end) - F.expr("interval 30 days")
    samples = retail.store.read(SAMPLES)
    assert samples.where(still_open).count() > 1000
    assert samples.where(still_open != ~F.col("mature")).isEmpty()
    assert samples.where(still_open != (F.col("split") == "immature")).isEmpty()


def test_an_invoice_is_positive_when_its_customer_comes_back_within_30_days(retail: Run) -> None:
    invoices = retail.store.read(EVENTS).groupBy("invoice_no", "user_id")
    begun = invoices.agg(F.min("event_time").alias("at"))
    own, later = begun.alias("own"), begun.alias("later")
    follows = F.expr(
        "own.user_id = later.user_id and later.at > own.at "
        "and later.at <= own.at + interval 30 days"
    )
    returned = own.join(later, follows, how="left_semi")
    samples = retail.store.read(SAMPLES)
    assert samples.count() == begun.count()
    expected = returned.select(F.xxhash64("own.invoice_no", "own.user_id").alias("sample_id"))
    labelled = samples.where("label = 1").select("sample_id")
    assert labelled.exceptAll(expected).isEmpty()
    assert expected.exceptAll(labelled).isEmpty()


# Online Shoppers: one row per session, without ids.


def test_no_row_of_the_shoppers_is_lost_and_repeated_rows_are_samples(shoppers: Run) -> None:
    cleaned = said(shoppers, "clean_logs")
    assert [cleaned[k] for k in ("raw", "events", "rejected")] == [12_330, 12_330, 0]
    assert raw_csv(shoppers, "sessions").distinct().count() == 12_330 - 125
    ids = shoppers.store.read(SAMPLES).agg(F.count("*"), F.count_distinct("sample_id")).first()
    assert ids is not None
    assert tuple(ids) == (12_330, 12_330)
    assert positives(shoppers) == 1_908


def test_page_values_are_no_feature_of_the_shoppers(shoppers: Run) -> None:
    told = [*feature_names(shoppers), *shoppers.store.read(EVENTS).columns]
    assert "bounce_rate" in told
    assert not [name for name in told if "value" in name.lower()]


def test_the_months_of_the_shoppers_are_their_time(shoppers: Run) -> None:
    # January and April do not occur.
    months = {"Feb": 2, "Mar": 3, "May": 5, "June": 6, "Jul": 7, "Aug": 8}
    months |= {"Sep": 9, "Oct": 10, "Nov": 11, "Dec": 12}
    raw = counts(raw_csv(shoppers, "sessions"), "Month")
    samples = shoppers.store.read(SAMPLES).withColumn("month", F.month("event_time"))
    assert counts(samples, "month") == {months[name]: n for name, n in raw.items()}
    order = [split for _, split in sorted(counts(samples, "month", "split"))]
    assert len(order) == len(months)
    assert order == sorted(order, key=("train", "validation", "test").index)
    assert len(set(order)) == 3


# Open Bandit: impressions by two policies.


def test_both_policies_of_the_bandit_are_there_with_their_clicks(bandit: Run) -> None:
    cleaned = said(bandit, "clean_logs")
    assert [cleaned[k] for k in ("raw", "events", "rejected")] == [20_000, 20_000, 0]
    samples = bandit.store.read(SAMPLES)
    assert counts(samples, "segment") == {"bts": 10_000, "random": 10_000}
    assert counts(samples.where("label = 1"), "segment") == {"bts": 69, "random": 46}


def test_position_and_propensity_of_the_bandit_are_kept(bandit: Run) -> None:
    kept = bandit.store.read(SAMPLES)
    for source in ("bts", "random"):
        raw = raw_csv(bandit, source).selectExpr(
            "cast(position AS int) AS position", "cast(propensity_score AS double) AS propensity"
        )
        own = kept.where(F.col("segment") == source).select("position", "propensity")
        assert own.exceptAll(raw).isEmpty()
        assert raw.exceptAll(own).isEmpty()
    assert set(counts(kept, "position")) == {1, 2, 3}


def test_every_impression_of_the_bandit_has_the_facts_of_its_item(bandit: Run) -> None:
    facts = bandit.spark.read.option("header", "true").csv(
        bandit.config.cleaning.lookups["items"].source.path
    )
    wanted = {int(row["item_id"]): float(row["item_feature_0"]) for row in facts.collect()}
    assert len(wanted) == 34
    seen = bandit.store.read(EVENTS).select("item_id", "item_feature_0").distinct().collect()
    assert {row["item_id"]: row["item_feature_0"] for row in seen} == wanted
    assert len(seen) == 34


# OTTO: nested JSON.


def test_every_event_of_otto_is_taken_out_of_its_session(otto: Run) -> None:
    cleaned = said(otto, "clean_logs")
    assert [cleaned[k] for k in ("raw", "events", "rejected")] == [862, 862, 0]
    events = otto.store.read(EVENTS)
    assert counts(events, "event_type") == {"clicks": 800, "carts": 52, "orders": 10}
    assert len(counts(events, "session")) == 20


def test_every_click_of_otto_is_a_sample_and_some_were_ordered(otto: Run) -> None:
    expected = 0
    path = Path(otto.config.cleaning.sources["sessions"].path)
    for line in path.read_text().splitlines():
        events = json.loads(line)["events"]
        orders = [(e["aid"], e["ts"]) for e in events if e["type"] == "orders"]
        clicks = [(e["aid"], e["ts"]) for e in events if e["type"] == "clicks"]
        expected += sum(any(a == aid and ts < t for a, t in orders) for aid, ts in clicks)
    built = said(otto, "build_samples")
    assert built["samples"] == sum(built["splits"].values()) == 800
    assert positives(otto) == sum(built["positives"].values()) == expected > 0
    assert set(built["splits"]) == {"train", "validation", "test"}


# The Olist funnel: leads, and deals that are won later or never.


def test_every_lead_and_every_deal_of_the_funnel_is_an_event(funnel: Run) -> None:
    cleaned = said(funnel, "clean_logs")
    assert [cleaned[k] for k in ("raw", "events", "rejected")] == [8_842, 8_842, 0]
    assert counts(funnel.store.read(EVENTS), "event_type") == {"lead": 8_000, "deal": 842}


def test_no_lead_is_lost_and_each_has_the_label_that_counts_for_its_part(funnel: Run) -> None:
    leads, deals = raw_csv(funnel, "leads"), raw_csv(funnel, "deals")
    known = (
        leads.join(deals.select("mql_id", "won_date"), on="mql_id", how="left")
        .withColumn("part", F.when(F.col("first_contact_date") < "2018-03-01", "train"))
        .withColumn("later", F.when(F.col("first_contact_date") < "2018-04-01", "validation"))
        .withColumn("part", F.coalesce("part", "later", F.lit("test")))
        # One deal is two days older than its lead.
        .where("won_date > first_contact_date")
        .where("won_date < '2018-03-01' OR part <> 'train'")
    )
    built = said(funnel, "build_samples")
    assert built["splits"] == {"train": 4_171, "validation": 1_174, "test": 2_655}
    assert built["positives"] == counts(known, "part")
    assert built["positives"] == {"train": 189, "validation": 166, "test": 313}
    assert built["validation from"] == "2018-03-01 00:00:00; 3,982 label windows were open"
    assert "label events" not in built
    train = funnel.store.read(SAMPLES).where("split = 'train'")
    assert train.where("mature OR delay > elapsed OR elapsed <= 0").isEmpty()


def test_of_every_log_it_is_told_what_is_visible(
    retail: Run, shoppers: Run, bandit: Run, otto: Run
) -> None:
    visible = {}
    for run in (retail, shoppers, bandit, otto):
        run_stage(run, diagnose)
        visible[run.config.run_id] = set(said(run, "diagnose")["visible"].split(", "))
    # Invoices follow for weeks; visits of November are others than those of March.
    assert "delayed labels" in visible["online_retail"]
    assert "drift of the label rate" in visible["online_shoppers"]
