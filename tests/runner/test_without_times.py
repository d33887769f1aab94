"""A log without times, through every stage: nothing is made up, and the pages say so."""

import json
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.config import Run, RunConfig, read_config
from reweight.core.run_folder import read_records
from reweight.core.tables import EVENTS, SAMPLES, WEIGHTS
from reweight.diagnose.needs import TIMED
from reweight.diagnose.stage import diagnose
from reweight.explain.stage import explain
from reweight.runner.pipeline import PIPELINE
from reweight.runner.records import run_stage

# The setup is a whole run.
pytestmark = pytest.mark.timeout(600)

ROWS = 1200
CONFIG: dict[str, Any] = {
    "run_id": "untimed",
    "cleaning": {
        "times": False,
        "columns": {
            "row": "try_cast(row AS bigint)",
            "user_id": "user",
            "price": "try_cast(price AS double)",
            "country": "country",
            "clicked": "clicked",
        },
        "required": ["row", "user_id"],
        "duplicates": {"keys": ["row"]},
    },
    "sampling": {
        "key": ["row"],
        "group": "user_id",
        "label": {"value": "clicked = 'yes'"},
        "segment": "country",
    },
    "splits": {"by": "group"},
    "features": {
        "numeric": {"price": "price"},
        "one_hot": {"country": {"value": "country", "values": 2}},
        "categorical": {"user": {"value": "user_id", "buckets": 16}},
    },
    "fitting": {"ranks": 1, "batch_size": 256},
    "importance": [
        {"method": "random"},
        {"method": "self_confidence", "training": {"members": 2, "hidden": [4], "epochs": 2}},
        {"method": "density_ratio"},
    ],
    "ranking": {"max_iter": 10, "recalibrate": []},
    "evaluation": {"replicates": 100, "buckets": 40},
}


@pytest.fixture(scope="module")
def untimed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, ranks_here: None) -> Run:
    folder = tmp_path_factory.mktemp("untimed")
    lines = ["row,user,price,country,clicked"]
    for i in range(ROWS):
        price = i * 7919 % 100
        clicked = "yes" if (price < 30) ^ (i % 5 == 0) else "no"
        lines.append(f"{i},u{i % 150},{price},{'de' if i % 3 else 'fr'},{clicked}")
    # One row again, with another price.
    lines.append("5,u5,1000,fr,no")
    (folder / "log.csv").write_text("\n".join(lines) + "\n")
    source = {"log": {"path": str(folder / "log.csv"), "format": "csv"}}
    cleaning = CONFIG["cleaning"] | {"sources": source}
    config = read_config(RunConfig, CONFIG | {"root": str(folder / "root"), "cleaning": cleaning})
    run = Run.open(spark, config)
    stages = [*[stage for stage in PIPELINE if stage.__name__ != "simulate_logs"], diagnose]
    for stage in [*stages, explain]:
        run_stage(run, stage)
    return run


def test_no_table_has_a_time_that_the_log_has_not(untimed: Run) -> None:
    events, samples = untimed.store.read(EVENTS), untimed.store.read(SAMPLES)
    assert "event_time" not in events.columns
    assert events.count() == samples.count() == ROWS
    assert samples.where("event_time IS NOT NULL OR label_time IS NOT NULL OR target").isEmpty()
    assert samples.where("NOT mature OR split NOT IN ('train', 'validation', 'test')").isEmpty()
    parts = samples.groupBy("group_id").agg(F.count_distinct("split").alias("n"))
    assert parts.where("n <> 1").isEmpty()
    assert untimed.store.read(WEIGHTS).select("method").distinct().count() == 3


def test_the_stages_say_that_there_are_no_times(untimed: Run) -> None:
    summaries = {name: record["summary"] for name, record in read_records(untimed.folder).items()}
    cleaned = summaries["clean_logs"]
    assert (cleaned["times"], cleaned["reasons"]) == ("no time", {"duplicate_key": 1})
    (reason,) = summaries["fit_importance"]["left out"].values()
    assert "cleaning.times: false" in reason
    assert "no days to show: the log has no times" in untimed.folder.page("report").read_text()


def test_a_diagnosis_without_times_says_what_it_cannot_see(untimed: Run) -> None:
    findings = json.loads(untimed.folder.content("diagnose").read_text())["findings"]
    unseen = {f["mechanism"]: f for f in findings if "no times" in f["text"]}
    assert set(unseen) == set(TIMED)
    assert {f["verdict"] for f in unseen.values()} == {"cannot be seen"}
    assert all("cleaning.columns.event_time" in f["needs"] for f in unseen.values())
    seen = {f["mechanism"]: f["verdict"] for f in findings}
    assert seen["delayed labels"] == "not visible"
    assert seen["rare segments"] != "cannot be seen"
