"""Writers of the same tables at the same time."""

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from pipelines import Undisturbed, assert_same_tables, finish, record, start, tables, wait_for
from reweight.core.run_folder import RunFolder
from reweight.core.store import Store
from reweight.core.store_places import open_store
from reweight.core.tables import WEIGHTS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def weights(spark: SparkSession, rows: int, value: float) -> DataFrame:
    return spark.range(rows).select(
        F.lit("uniform").alias("method"),
        F.col("id").alias("sample_id"),
        F.lit(value).alias("importance"),
        F.lit(value).alias("weight"),
        F.lit(None).cast("float").alias("label"),
        F.lit(False).alias("in_sample"),
        F.lit(None).cast("timestamp").alias("event_time"),
    )


def slowly(rows: DataFrame, begun: Path, go: Path) -> DataFrame:
    """The rows, of which the first comes only when the file ``go`` is there."""

    def wait(batches):  # type: ignore[no-untyped-def]
        import time

        begun.touch()
        while not go.exists():
            time.sleep(0.05)
        yield from batches

    return rows.coalesce(1).mapInPandas(wait, rows.schema)


@pytest.fixture(params=["by path", "by name"])
def store_of(
    spark: SparkSession, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Store]]:
    """Opens the tables of one place, a folder or the schema of a catalog."""
    schema = "spark_catalog.races" if request.param == "by name" else None
    if schema:
        spark.sql(f"CREATE SCHEMA {schema}")
    yield lambda run_id: open_store(spark, str(tmp_path / "root"), run_id, schema)
    if schema:
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


def test_a_commit_that_loses_a_race_is_tried_again(
    spark: SparkSession, store_of: Callable[[str], Store], tmp_path: Path
) -> None:
    store_of("same").write(WEIGHTS, weights(spark, 3, 1.0))
    begun, go = tmp_path / "begun", tmp_path / "go"
    slow = store_of("same")
    late = slowly(weights(spark, 5, 2.0), begun, go)
    writer = threading.Thread(target=slow.write, args=(WEIGHTS, late))
    writer.start()
    wait_for(begun.exists)
    # Another writes and commits the slice that the slow one has begun to replace.
    store_of("same").write(WEIGHTS, weights(spark, 4, 3.0))
    go.touch()
    writer.join(timeout=120)
    assert slow.retries >= 1
    found = store_of("same").read(WEIGHTS).toPandas()
    assert sorted(found["sample_id"]) == [0, 1, 2, 3, 4]
    assert set(found["weight"]) == {2.0}


def test_two_runs_that_make_the_same_tables_at_once_both_get_their_rows(
    spark: SparkSession, store_of: Callable[[str], Store]
) -> None:
    stores = {name: store_of(name) for name in ("one", "two", "three")}
    together = threading.Barrier(len(stores))

    def write(store: Store, rows: int) -> None:
        together.wait()
        store.write(WEIGHTS, weights(spark, rows, 1.0))

    writers = [
        threading.Thread(target=write, args=(store, rows))
        for rows, store in enumerate(stores.values(), 2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=200)
    assert [store_of(name).read(WEIGHTS).count() for name in stores] == [2, 3, 4]
    with pytest.raises(Exception, match="weight_range"):
        spark.sql(
            f"INSERT INTO {stores['one'].name(WEIGHTS)} "
            "VALUES ('x', 'uniform', 1, 1.0, -1.0, null, false, null)"
        )


def test_a_constraint_that_another_run_adds_first_is_taken_as_it_is(
    spark: SparkSession, store_of: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    sql = spark.sql

    def late(text: str) -> DataFrame:
        if text.startswith("ALTER TABLE"):
            if not asked:
                sql(text)  # The other run's, after this one saw that there was none.
            asked.append(text)
        return sql(text)

    # As an earlier version may have made it.
    store_of("old").write(replace(WEIGHTS, checks={}), weights(spark, 2, 1.0))
    store = store_of("one")
    monkeypatch.setattr(spark, "sql", late)
    assert store.write(WEIGHTS, weights(spark, 3, 1.0)) == 3
    assert store.retries == 1
    # The one that was there was not asked for again, all others once.
    assert len(asked) == len(set(asked)) == len(WEIGHTS.checks)


def test_of_two_jobs_of_one_run_one_wins_and_the_other_says_why(tmp_path: Path) -> None:
    root = tmp_path / "root"
    first = start(root, job="simulate_logs")
    wait_for((RunFolder.of(str(root), "line").owner).exists)
    said = finish(start(root, job="simulate_logs"), status=2)
    assert "run 'line' is already in progress" in said
    assert str(first.pid) in said
    finish(first)


def test_two_lines_at_once_in_the_same_tables_leave_what_each_leaves_alone(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    both = {
        name: start(root, f"run_id={name}", f"simulation.path={root}/raw-{name}")
        for name in ("one", "two")
    }
    for process in both.values():
        finish(process, timeout=600)
    together = tables(spark, root)
    for name in both:
        own = {
            table: rows[rows["run_id"] == name].assign(run_id="line").reset_index(drop=True)
            for table, rows in together.items()
        }
        assert_same_tables(own, undisturbed.tables)


def test_a_day_delivered_twice_is_counted_once(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(undisturbed.root, root)
    for path in (root / "raw").glob("*.gz"):
        (root / "raw" / f"again-{path.name}").write_bytes(path.read_bytes())
    for job in ("clean_logs", "build_samples"):
        finish(start(root, "cleaning.max_rejected=0.6", job=job))
    raw = [record(r, "clean_logs")["summary"]["raw"] for r in (root, undisturbed.root)]
    assert raw[0] == 2 * raw[1]
    came = {
        name: spark.read.format("delta").load(f"{root}/tables/{name}").count()
        for name in ("events", "samples")
    }
    expected = {name: len(undisturbed.tables[name]) for name in came}
    assert came == expected
