"""The stage monitor on tables of a few days: what it counts, and what it refuses."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import FeatureStats
from reweight.config import Run, RunConfig, read_config
from reweight.core.baselines import BASELINE
from reweight.core.errors import MonitoringError
from reweight.core.files import write_json
from reweight.core.small_rows import frame_of
from reweight.core.tables import METRICS, MONITORING, SAMPLES, WEIGHTS
from reweight.monitor.measures import STATUS
from reweight.monitor.stage import monitor
from reweight.monitor.status import status
from reweight.runner.records import run_stage
from reweight.train_ranker.rankers import RankerJob
from reweight.train_ranker.rows import with_vector

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("runs_stages")]

OpenRun = Callable[..., Run]
# Of the reference, 300 rows on each of 5 days, two in seven of which are training rows, and 900 on
# a day without any; then a day as usual, one of other prices and no settled labels, one without
# rows, and one with few rows.
FIRST = date(2026, 1, 5)
USUAL, DEAR, NONE, FEW = (date(2026, 1, day) for day in (12, 13, 14, 15))


@pytest.fixture(scope="module")
def opened(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> OpenRun:
    config = {
        "root": str(tmp_path_factory.mktemp("monitor")),
        "cleaning": {
            "sources": {"log": {"path": "/raw", "format": "csv"}},
            "columns": {n: n for n in ("event_time", "price", "shown", "bought")},
        },
        "sampling": {"key": ["shown"], "label": {"value": "bought"}, "segment": "string(shown)"},
        "features": {"numeric": {"price": "price"}, "cyclic": ["day_of_week"]},
        "importance": [
            {"method": "density_ratio"},
            {"method": "mature_only"},
            {"method": "product", "of": ["density_ratio", "mature_only"]},
        ],
        "evaluation": {"replicates": 100},
    }
    return lambda run_id, *more: Run.open(
        spark, read_config(RunConfig, config, (f"run_id={run_id}", *more))
    )


TESTED = date(2026, 1, 10)
SPLIT = f"if(day < '{TESTED}' AND id % 7 < 2, 'train', 'test')"


def filled(
    run: Run,
    days: dict[date, tuple[int, float, str]],
    names: tuple[str, ...],
    split: str = "'train'",
) -> None:
    """Writes samples and weights: day -> rows, shift of the price, and whether labels are known."""
    parts = [
        f"SELECT '{day}' AS day, {shift}D AS shift, {mature} AS mature, id FROM range({rows})"
        for day, (rows, shift, mature) in days.items()
    ]
    columns = SAMPLES.columns()
    assert columns is not None
    values = {
        "sample_id": "xxhash64(day, id)",
        "group_id": "concat(day, '-', id)",
        "event_time": "timestamp(concat(day, ' 23:30:00'))",
        "label": "float(int(id % 5 = 0))",
        "mature": "mature",
        "split": split,
        "target": "false",
        "segment": "if(id % 3 = 0, 'a', 'b')",
        # Of a normal distribution, as far as it matters.
        "features": "array(float(shift + probit), float(dayofweek(date(day))), 0f)",
        "ids": "cast(array() AS array<int>)",
    }
    uniform = "(pmod(xxhash64(day, id), 10007) + 0.5) / 10007"
    rows = run.spark.sql(" UNION ALL ".join(parts)).selectExpr(
        "*", f"ln({uniform} / (1 - {uniform})) / 1.7 AS probit"
    )
    selected = [
        f"cast({values.get(f.name, 'null')} AS {f.dataType.simpleString()}) AS {f.name}"
        for f in columns.fields[1:]
    ]
    run.store.write(SAMPLES, rows.selectExpr(*selected))
    weights = rows.selectExpr(
        "explode(array('density_ratio', 'mature_only', 'product')) AS method",
        "xxhash64(day, id) AS sample_id",
        "exp(probit / 3) AS importance",
        "exp(probit / 3) AS weight",
        "float(null) AS label",
        "false AS in_sample",
        "timestamp(null) AS event_time",
    )
    run.store.write(WEIGHTS, weights)
    scaling = {names[0]: (0.0, 1.0)}
    stats = FeatureStats(names=names, scaling=scaling, vocabulary={}, cardinalities={})
    write_json(run.folder.features, stats.model_dump())


def ranked(run: Run) -> None:
    """Fits the run's ranker, which learns that no feature matters, and notes its AUC."""
    rows = with_vector(run.store.read(SAMPLES), ()).withColumn("weight", F.lit(1.0))
    rows = rows.withColumn("label", F.col("label").cast("double"))
    (ranker,) = run.config.rankers
    fitted = ranker.fit(rows, RankerJob(weight_sum=1500.0))
    fitted.save(run.folder.ranker(ranker.name, BASELINE))
    found = {"value": 0.5, "low": 0.48, "high": 0.52}
    row = {"judge": "recorded", "ranker": ranker.name, "method": BASELINE, "split": "test"}
    row |= {"name": "auc", "kind": "value", "seed": 0}
    run.store.write(METRICS, frame_of(run.spark, METRICS, [row | found]))


@pytest.fixture(scope="module")
def today(opened: OpenRun) -> OpenRun:
    """Opens the run of the days, whose reference is there."""
    names = ("price", "day_of_week_sin", "day_of_week_cos")
    before = {date(2026, 1, day): (300, 0.0, "true") for day in range(5, 10)}
    filled(opened("monday"), before | {TESTED: (900, 0.0, "true")}, names, SPLIT)
    ranked(opened("monday"))
    days = {USUAL: (300, 0.0, "true"), DEAR: (300, 2.0, "false"), FEW: (20, 0.0, "true")}
    filled(opened("today"), days, names)
    filled(opened("taller"), {USUAL: (5, 0.0, "true")}, ("height", *names[1:]))
    return lambda *more: opened("today", "model_run_id=monday", *more)


def rows_of(run: Run) -> dict[tuple[date, str, str], Any]:
    frame = run.store.read(MONITORING).toPandas()
    return {
        (row["day"], row["measure"], row["of"] or ""): row
        for row in frame.astype(object).to_dict("records")
    }


def test_each_day_is_compared_and_a_day_looked_at_again_replaces_its_rows(
    today: OpenRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = today("monitoring.json_line=true")
    found = run_stage(run, monitor)
    rows = rows_of(run)
    volumes = {day: n["value"] for (day, m, of), n in rows.items() if (m, of) == ("volume", "")}
    assert volumes == {USUAL: 300, DEAR: 300, NONE: 0, FEW: 20}
    assert rows[USUAL, "volume", ""]["reference"] == 300
    assert rows[USUAL, "volume", "a"]["value"] == rows[USUAL, "volume", "a"]["reference"] == 100
    alarms = {key for key, row in rows.items() if row["alarm"]}
    assert alarms == {
        (NONE, "volume", ""),
        (FEW, "volume", ""),
        (DEAR, "psi_features", "price"),
        (DEAR, "domain_auc", ""),
    }
    assert rows[DEAR, "open_windows", ""]["value"] == 1
    # A method that goes by the age of labels says nothing of a day without settled rows.
    for method in ("mature_only", "product"):
        days = {day for day, measure, of in rows if (measure, of) == ("psi_weights", method)}
        assert days == {USUAL, FEW}
    assert (DEAR, "psi_weights", "density_ratio") in rows
    assert rows[USUAL, "label_rate", ""]["value"] == pytest.approx(0.2)
    assert rows[DEAR, "domain_auc", ""]["value"] > 0.85
    # Not of days without labels.
    assert {day for day, measure, _ in rows if measure == "ranker_auc"} == {USUAL, FEW}
    assert rows[USUAL, "ranker_auc", ""]["value"] == pytest.approx(0.5, abs=0.15)
    assert rows[USUAL, "ranker_auc", ""]["reference"] == 0.5
    assert rows[USUAL, "psi_features", "day_of_week_sin"]["alarm"] is False
    assert found["exit"] == status(run) == STATUS["volume"]
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["exit"] == STATUS["volume"]
    assert {alarm["day"] for alarm in told["alarms"]} == {str(d) for d in (DEAR, NONE, FEW)}
    page = run.folder.page("monitor").read_text()
    assert page.count("<svg") == 9
    assert page.count("<tr><td>2026-01-1") == 4
    assert "src=" not in page

    again = today(f"monitoring.day={DEAR}")
    assert run_stage(again, monitor)["days"] == 1
    assert status(again) == STATUS["psi_features"]
    second = rows_of(again)
    assert second.keys() == rows.keys()
    for key in (key for key in rows if key[0] == DEAR):
        wanted = pytest.approx(rows[key]["value"], nan_ok=True)
        assert second[key]["value"] == wanted, key
    # The page shows all days so far.
    assert run.folder.page("monitor").read_text().count("<tr><td>2026-01-1") == 4


def test_what_cannot_be_compared_is_refused(today: OpenRun) -> None:
    with pytest.raises(MonitoringError, match="before the reference window") as caught:
        monitor(today("monitoring.day=2026-01-04"))
    assert f"--from {FIRST}" in caught.value.fix
    with pytest.raises(MonitoringError, match="other features") as refused:
        monitor(today("monitoring.reference=taller"))
    assert "height" in refused.value.got
