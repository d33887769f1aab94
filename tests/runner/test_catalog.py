"""The line on tables of a catalog: a name where there was a folder, and the same rows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from reweight.config import Run
from reweight.core.run_folder import read_records
from reweight.core.tables import EVENTS, METRICS, REJECTED, SAMPLES, WEIGHTS
from reweight.runner.pipeline import PIPELINE
from reweight.runner.records import run_stage

pytestmark = pytest.mark.timeout(600)

SCHEMA = "spark_catalog.reweight_test"
FEW = ("importance=[{method: class_balanced}]", "simulation.sessions=300")

OpenRun = Callable[..., Run]


@pytest.fixture(scope="module")
def named(
    spark: SparkSession, open_run: OpenRun, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """A run that has been through every stage, on tables of a catalog."""
    spark.sql(f"CREATE SCHEMA {SCHEMA}")
    root = f"root={tmp_path_factory.mktemp('named')}"
    opened = open_run("named", root, f"catalog={SCHEMA}", *FEW)
    for stage in PIPELINE:
        run_stage(opened, stage)
    yield opened
    spark.sql(f"DROP SCHEMA {SCHEMA} CASCADE")


def test_every_table_of_the_line_is_in_the_catalog(spark: SparkSession, named: Run) -> None:
    # Views of other tests are of the session, and listed in every schema.
    shown = spark.sql(f"SHOW TABLES IN {SCHEMA}").where("NOT isTemporary")
    there = {row["tableName"] for row in shown.collect()}
    made = {"truth", "events", "rejected", "samples", "weights", "predictions", "metrics"}
    assert there == made
    records = read_records(named.folder)
    assert {r["status"] for r in records.values()} == {"done"}
    assert {name for r in records.values() for name in r["outputs"]} == made
    assert (named.folder.page("report")).exists()
    assert not (Path(named.config.root) / "tables").exists()
    # A catalog of a metastore would leave its files where the process was started.
    assert not Path("metastore_db").exists()


def test_the_rows_add_up_as_they_do_in_folders(named: Run) -> None:
    samples = named.store.read(SAMPLES).count()
    weights = named.store.read(WEIGHTS)
    assert {row["method"] for row in weights.select("method").distinct().collect()} == {
        "class_balanced",
        "uniform",
    }
    assert weights.count() == 2 * samples
    assert named.store.read(METRICS).where("kind = 'difference'").count() > 0
    cleaned = read_records(named.folder)["clean_logs"]["summary"]
    assert cleaned["raw"] == named.store.read(EVENTS).count() + named.store.read(REJECTED).count()


def test_a_log_may_be_a_table_or_a_view_of_a_catalog(
    spark: SparkSession, named: Run, open_run: OpenRun
) -> None:
    root, source = named.config.root, named.config.cleaning.sources["log"]
    rows = spark.read.schema(str(source.schema_)).json(str(source.path))
    rows.write.format("delta").saveAsTable(f"{SCHEMA}.raw_log")
    spark.sql(f"CREATE VIEW {SCHEMA}.raw_view AS SELECT * FROM {SCHEMA}.raw_log")
    clean = next(stage for stage in PIPELINE if stage.__name__ == "clean_logs")
    found = {}
    for table in ("raw_log", "raw_view"):
        files = "path: null, format: null, schema: null"
        log = f"cleaning.sources.log={{{files}, table: {SCHEMA}.{table}}}"
        run = open_run(table, f"root={root}", f"catalog={SCHEMA}", *FEW, log)
        run_stage(run, clean)
        found[table] = run.store.read(EVENTS).drop("run_id")
        rejected = run.store.read(REJECTED).select("source_file").distinct().collect()
        assert [row["source_file"] for row in rejected] == [f"{SCHEMA}.{table}"]
    found["files"] = named.store.read(EVENTS).drop("run_id")
    total = F.sum(F.xxhash64(*sorted(found["files"].columns)) % 1_000_003)
    sums = [frame.agg(F.count("*"), total).first() for frame in found.values()]
    assert sums[0] == sums[1] == sums[2]
