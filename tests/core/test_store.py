"""Tables: a run replaces its own rows and no others', whole or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.core.errors import TableError
from reweight.core.failed_commits import lost_race
from reweight.core.store import Store
from reweight.core.store_places import FolderStore, open_store
from reweight.core.tables import EVENTS, METRICS, TRUTH, WEIGHTS, Table

NAN, INFINITY = float("nan"), float("inf")
FACTS = Table("facts", "make_facts", "n bigint not null, note string")

StoreOf = Callable[[str], Store]


@pytest.fixture(scope="module", params=["by path", "by name"])
def catalog(spark: SparkSession, request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The schema of the tables, or none: all that is promised holds in both places."""
    if request.param == "by path":
        yield None
        return
    spark.sql("CREATE SCHEMA spark_catalog.tables_test")
    yield "spark_catalog.tables_test"
    spark.sql("DROP SCHEMA spark_catalog.tables_test CASCADE")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, catalog: str | None) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def store_of(spark: SparkSession, root: Path, catalog: str | None) -> StoreOf:
    return lambda run_id: open_store(spark, str(root), run_id, catalog)


@pytest.fixture
def empty_place(spark: SparkSession, tmp_path: Path, catalog: str | None) -> Iterator[Store]:
    """A store without tables."""
    schema = catalog and f"{catalog}_empty"
    if schema:
        spark.sql(f"CREATE SCHEMA {schema}")
    yield open_store(spark, str(tmp_path), "a", schema)
    if schema:
        spark.sql(f"DROP SCHEMA {schema} CASCADE")


def test_a_table_of_an_earlier_version_takes_nulls_that_are_allowed_now(
    spark: SparkSession, empty_place: Store
) -> None:
    earlier = Table("facts", "make_facts", "n bigint not null, note string not null")
    empty_place.write(earlier, facts(spark, "a"))
    with pytest.raises(TableError, match="breaks a constraint") as error:
        empty_place.write(earlier, facts(spark, None))
    assert "note" in error.value.got
    assert empty_place.write(FACTS, facts(spark, None, "b")) == 2
    assert empty_place.retries == 0
    with pytest.raises(TableError, match="breaks a constraint"):
        empty_place.write(FACTS, facts(spark, "a").withColumn("n", F.lit(None).cast("bigint")))


def test_a_part_is_replaced_by_a_column_that_an_earlier_version_did_not_have(
    spark: SparkSession, store_of: StoreOf
) -> None:
    dated = Table("dated", "make_facts", "n bigint not null, note string")
    now = Table("dated", "make_facts", "n bigint not null, note string, day date")
    store_of("old").write(dated, facts(spark, "a"))
    store, day = store_of("new"), F.lit("2026-01-31").cast("date").alias("day")
    for _ in range(2):
        store.write(now, facts(spark, "b").select("*", day), where="day = DATE '2026-01-31'")
    assert [row["note"] for row in store.read(now).collect()] == ["b"]
    assert store.read(now, run_id="old").select("day").collect() == [(None,)]
    # As a run does that saw the table before another one added the column.
    with pytest.raises(AnalysisException) as late:
        spark.sql(f"ALTER TABLE {store.name(now)} ADD COLUMNS (day date)")
    assert lost_race(late.value)


def facts(spark: SparkSession, *notes: str | None) -> DataFrame:
    return spark.createDataFrame(list(enumerate(notes)), "n long, note string").coalesce(1)


def weights(spark: SparkSession, *values: float | None) -> DataFrame:
    rows = [("uniform", i, 1.0, value, None, False, None) for i, value in enumerate(values)]
    schema = (
        "method string, sample_id bigint, importance double, weight double, label float, "
        "in_sample boolean, event_time timestamp"
    )
    return spark.createDataFrame(rows, schema).coalesce(1)


def notes(store: Store) -> list[str]:
    return sorted(row["note"] for row in store.read(FACTS).collect())


def version(store: Store, table: Table) -> int:
    return int(store.history(table, 1)[0]["version"])


def place(store: Store, table: Table) -> Path:
    return Path(store.folder(table).removeprefix("file:"))


def test_a_run_replaces_its_own_rows_and_no_others(spark: SparkSession, store_of: StoreOf) -> None:
    first, second = store_of("first"), store_of("second")
    assert first.write(FACTS, facts(spark, "a", "b")) == 2
    assert second.write(FACTS, facts(spark, "c")) == 1
    taken = first.read(FACTS)
    assert first.write(FACTS, facts(spark, "d", "e", "f")) == 3
    # As other processes see it; a store reads what it wrote as it wrote it.
    assert notes(store_of("first")) == notes(first) == ["d", "e", "f"]
    assert notes(store_of("second")) == notes(second) == ["c"]
    # What was read stays what it was: the version is pinned.
    assert sorted(row["note"] for row in taken.collect()) == ["a", "b"]
    assert [row["note"] for row in first.read(FACTS, "second").collect()] == ["c"]


def test_the_versions_read_and_written_are_remembered(
    spark: SparkSession, store_of: StoreOf
) -> None:
    writer, reader = store_of("versions"), store_of("versions")
    writer.write(FACTS, facts(spark, "a"))
    assert writer.outputs == {"facts": version(writer, FACTS)}
    reader.read(FACTS)
    assert reader.inputs == writer.outputs
    assert reader.outputs == {}
    assert writer.inputs == {}


def test_what_a_store_wrote_it_reads_without_asking(
    spark: SparkSession, store_of: StoreOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = store_of("own"), store_of("other")
    store.write(FACTS, facts(spark, "a"))
    written = store.outputs["facts"]
    other.write(FACTS, facts(spark, "b"))
    asked: list[str] = []
    kind = type(store)
    for name in ("exists", "history"):
        plain = getattr(kind, name)
        monkeypatch.setattr(
            kind, name, lambda *given, n=name, f=plain: asked.append(n) or f(*given)
        )
    assert notes(store) == ["a"]
    assert asked == []
    # Later commits, which are of other runs, change nothing of it.
    assert store.inputs == {"facts": written}
    assert [row["note"] for row in store.read(FACTS, "other").collect()] == ["b"]
    assert asked == ["exists", "history"]
    assert store.inputs == {"facts": written + 1}


def test_a_commit_says_who_wrote_it_and_from_what(spark: SparkSession, store_of: StoreOf) -> None:
    store = store_of("lineage")
    store.lineage = {"stage": "make_facts", "config_hash": "abc"}
    store.inputs = {"events": 7}
    store.write(FACTS, facts(spark, "a"))
    said = json.loads(store.history(FACTS, 1)[0]["userMetadata"])
    wanted = {"run_id": "lineage", "stage": "make_facts", "config_hash": "abc"}
    assert {k: said[k] for k in wanted} == wanted
    assert said["inputs"] == {"events": 7}


def test_rows_may_be_replaced_by_fewer_of_themselves_and_by_none(
    spark: SparkSession, store_of: StoreOf
) -> None:
    store = store_of("shrinks")
    assert store.write(FACTS, facts(spark)) == 0
    assert store.write(FACTS, facts(spark, "a", "b").select("note", "n")) == 2
    assert store.write(FACTS, store.read(FACTS).where("note = 'a'")) == 1
    assert notes(store) == ["a"]
    assert store.write(FACTS, facts(spark)) == 0
    with pytest.raises(TableError, match="no row of this run"):
        store.read(FACTS)


class Overtaken:
    """Its first commit is replaced by another process's, as where a rename is not atomic."""

    def _commit(
        self, table: Table, rows: DataFrame, instead_of: str | None, options: dict[str, str]
    ) -> None:
        super()._commit(table, rows, instead_of, options)
        if self.retries:
            return
        log = place(self, table) / "_delta_log"
        newest = max(log.glob("*.json"))
        info = json.loads(newest.read_text().splitlines()[0])
        info["commitInfo"]["userMetadata"] = "{}"
        newest.write_text(json.dumps(info))
        for sums in (f".{newest.name}.crc", f"{newest.stem}.crc", f".{newest.stem}.crc.crc"):
            (log / sums).unlink(missing_ok=True)
        jvm: Any = self.spark._jvm
        jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


def test_a_commit_that_another_process_replaced_is_made_again(
    spark: SparkSession, store_of: StoreOf, empty_place: Store
) -> None:
    store_of("before").write(FACTS, facts(spark, "x"))
    for plain in (store_of("overtaken"), empty_place):
        kind = type("OvertakenStore", (Overtaken, type(plain)), {})
        store = kind(**{f.name: getattr(plain, f.name) for f in fields(plain)})
        assert store.write(FACTS, facts(spark, "a", "b")) == 2
        assert store.retries == 1
        assert notes(store) == notes(plain) == ["a", "b"]
    assert notes(store_of("before")) == ["x"]


@pytest.fixture(scope="module")
def weighted(spark: SparkSession, store_of: StoreOf) -> Store:
    store = store_of("weighted")
    store.write(WEIGHTS, weights(spark, 0.0, 0.5, 1e300))
    return store


def test_two_jobs_of_a_run_that_make_a_table_at_once_leave_the_rows_of_one(
    spark: SparkSession, empty_place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = replace(empty_place, own={}, outputs={})
    exists = empty_place.exists

    def just_before(table: Table) -> bool:
        found = exists(table)
        if not found:
            other.write(FACTS, facts(spark, "other"))
        return found

    monkeypatch.setattr(empty_place, "exists", just_before)
    assert empty_place.write(FACTS, facts(spark, "a", "b")) == 2
    assert empty_place.retries == 1
    assert notes(empty_place) == notes(replace(empty_place, own={})) == ["a", "b"]


@pytest.mark.parametrize("left", [None, ".00000000000000000000.json.1.tmp"])
def test_a_table_whose_making_was_killed_is_made_anew(
    spark: SparkSession, empty_place: Store, left: str | None
) -> None:
    store = empty_place
    log = place(store, WEIGHTS) / "_delta_log"
    log.mkdir(parents=True)
    if left:
        (log / left).write_text('{"commitInfo"')
    assert not store.exists(WEIGHTS)
    assert store.write(WEIGHTS, weights(spark, 1.0, 2.0)) == 2
    assert store.retries == 3
    # As declared: what a plain write would make has nullable columns and no constraints.
    for value in (-1.0, None):
        with pytest.raises(TableError, match="breaks a constraint"):
            store.write(WEIGHTS, weights(spark, value))
    store.own.clear()
    assert store.read(WEIGHTS).count() == 2


def test_a_table_is_made_in_one_commit_and_each_write_is_one_more(
    spark: SparkSession, empty_place: Store
) -> None:
    empty_place.write(WEIGHTS, weights(spark, 1.0))
    # Made, with its constraints, and written.
    assert len(empty_place.history(WEIGHTS, 20)) == 2
    empty_place.write(WEIGHTS, weights(spark, 2.0))
    assert len(empty_place.history(WEIGHTS, 20)) == 3
    with pytest.raises(TableError, match="weight_range"):
        empty_place.write(WEIGHTS, weights(spark, -1.0))


def test_small_slices_are_kept_while_stages_run_and_a_rewrite_is_seen(
    spark: SparkSession, empty_place: Store
) -> None:
    store = empty_place

    def is_kept() -> bool:
        plan: Any = store.read(FACTS)
        return "InMemory" in plan._jdf.queryExecution().optimizedPlan().toString()

    context: Any = spark.sparkContext
    store.write(FACTS, facts(spark, "a"))
    assert not is_kept()
    before = len(context._jsc.getPersistentRDDs())
    with store.keeping_small_slices():
        assert is_kept() and notes(store) == ["a"]
        store.write(FACTS, facts(spark, "b", "c"))
        assert is_kept() and notes(store) == ["b", "c"]
        # Of a slice of which a part was written, the size is not known.
        store.write(FACTS, facts(spark, "d"), where="n = 0")
        assert not is_kept() and notes(store) == ["c", "d"]
    assert not is_kept() and notes(store) == ["c", "d"]
    assert len(context._jsc.getPersistentRDDs()) == before


@pytest.mark.parametrize("stays", [False, True])
def test_a_folder_that_holds_something_else_is_waited_for_and_then_named(
    spark: SparkSession, empty_place: Store, monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    store = empty_place
    other = place(store, WEIGHTS) / "part-0.parquet"
    other.parent.mkdir(parents=True)
    other.write_text("of another run, whose commit is not yet there")

    def pause(seconds: float) -> None:
        if not stays:
            other.unlink(missing_ok=True)

    # Of this module only: Py4J's threads sleep too.
    monkeypatch.setattr("reweight.core.store.time", SimpleNamespace(sleep=pause))
    if stays:
        with pytest.raises(TableError, match="cannot be created"):
            store.write(WEIGHTS, weights(spark, 1.0))
        assert other.exists()
    else:
        assert store.write(WEIGHTS, weights(spark, 1.0)) == 1
        assert store.retries == 1


def test_a_table_that_the_catalog_forgot_is_left_alone_and_named(
    spark: SparkSession,
    store_of: StoreOf,
    empty_place: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if isinstance(empty_place, FolderStore):
        pytest.skip("what is in a folder is there: no catalog can forget it")
    before = store_of("before")
    before.write(FACTS, facts(spark, "x"))
    forgotten = place(empty_place, FACTS)
    shutil.copytree(place(before, FACTS), forgotten)
    monkeypatch.setattr("reweight.core.store.time", SimpleNamespace(sleep=lambda _: None))
    with pytest.raises(TableError, match="cannot be created"):
        empty_place.write(FACTS, facts(spark, "y"))
    assert spark.read.format("delta").load(str(forgotten)).count() > 0


@pytest.mark.parametrize("value", [-1e-9, NAN, INFINITY, -INFINITY, None], ids=str)
def test_a_weight_that_is_no_weight_leaves_the_table_as_it_was(
    spark: SparkSession, weighted: Store, value: float | None
) -> None:
    before = version(weighted, WEIGHTS)
    with pytest.raises(TableError, match="breaks a constraint of the table 'weights'") as caught:
        weighted.write(WEIGHTS, weights(spark, 1.0, value))
    assert "nothing was written" in str(caught.value)
    assert version(weighted, WEIGHTS) == before
    weighted.own.clear()
    found = sorted(row["weight"] for row in weighted.read(WEIGHTS).collect())
    assert found == [0.0, 0.5, 1e300]


def test_a_soft_label_is_null_or_a_probability(weighted: Store) -> None:
    rows = weights(weighted.spark, 0.0, 0.5, 1e300)
    for bad in (-0.1, 1.5, NAN):
        with pytest.raises(TableError, match="constraint"):
            weighted.write(WEIGHTS, rows.withColumn("label", F.lit(bad).cast("float")))
    good = F.element_at(F.array(F.lit(0.0), F.lit(1.0), F.lit(None)), F.expr("int(sample_id + 1)"))
    assert weighted.write(WEIGHTS, rows.withColumn("label", good.cast("float"))) == 3


@pytest.mark.parametrize(
    ("change", "expected", "came"),
    [
        (lambda rows: rows.drop("note"), "{'note': 'string'}", "{}"),
        (lambda rows: rows.withColumn("more", F.lit(1)), "{}", "{'more': 'int'}"),
        (
            lambda rows: rows.withColumn("n", F.col("n").cast("int")),
            "{'n': 'bigint'}",
            "{'n': 'int'}",
        ),
        (
            lambda rows: rows.withColumnRenamed("note", "Note"),
            "{'note': 'string'}",
            "{'Note': 'string'}",
        ),
    ],
    ids=["missing", "more", "another type", "another name"],
)
def test_columns_that_do_not_fit_are_named_on_both_sides(
    spark: SparkSession,
    store_of: StoreOf,
    change: Callable[[DataFrame], DataFrame],
    expected: str,
    came: str,
) -> None:
    with pytest.raises(TableError, match="rows do not fit the table 'facts'") as caught:
        store_of("columns").write(FACTS, change(facts(spark, "a")))
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert f"expected: {expected}" in lines
    assert f"got:      {came}" in lines
    assert "make_facts" in lines[-1]


def test_a_table_or_a_slice_that_is_missing_names_the_stage_to_run(
    spark: SparkSession, store_of: StoreOf
) -> None:
    store = store_of("late")
    assert not store.exists(METRICS)
    with pytest.raises(TableError, match="'metrics' has nothing for run 'late'") as caught:
        store.read(METRICS)
    assert "no such table" in str(caught.value)
    assert "run the stage 'evaluate' first" in str(caught.value)
    store_of("early").write(FACTS, facts(spark, "a"))
    assert store.exists(FACTS)
    with pytest.raises(TableError, match="no row of this run") as caught:
        store.read(FACTS)
    assert "run the stage 'make_facts' first" in str(caught.value)
    assert store.inputs == {}


def test_an_open_table_takes_the_columns_of_each_run(
    spark: SparkSession, store_of: StoreOf
) -> None:
    one, two = store_of("one"), store_of("two")
    one.write(EVENTS, spark.sql("SELECT 1 AS user_id, 'phone' AS device"))
    two.write(EVENTS, spark.sql("SELECT 2 AS user_id, 9.5D AS price"))
    found: dict[str, Any] = {}
    for run_id in ("one", "two"):
        # As another process sees them, after the last commit.
        row = store_of(run_id).read(EVENTS).first()
        assert row is not None
        found[run_id] = row.asDict()
    assert found == {
        "one": {"run_id": "one", "user_id": 1, "device": "phone", "price": None},
        "two": {"run_id": "two", "user_id": 2, "device": None, "price": 9.5},
    }
    before = version(one, EVENTS)
    with pytest.raises(TableError, match="'events' refuses the rows") as caught:
        two.write(EVENTS, spark.sql("SELECT array(3) AS user_id"))
    assert "user_id" in str(caught.value)
    assert version(one, EVENTS) == before


UNSTORABLE = {
    "null": "coupon: void",
    "array(null)": "coupon[]: void",
    "named_struct('a', null)": "coupon.a: void",
    "map('a', interval 1 day)": "coupon (values): interval day",
    "named_struct('a', 1, 'A', 2)": "coupon.A: a field name that is there twice",
}


def test_types_that_a_table_cannot_hold_are_refused_before_the_first_commit(
    spark: SparkSession, store_of: StoreOf
) -> None:
    before, store = store_of("before"), store_of("coupons")
    before.write(EVENTS, spark.sql("SELECT 1 AS user_id"))
    at = version(before, EVENTS)
    for sql, got in UNSTORABLE.items():
        with pytest.raises(TableError, match="'events' cannot hold all columns") as caught:
            store.write(EVENTS, spark.sql(f"SELECT 2 AS user_id, {sql} AS coupon"))
        assert got in caught.value.got
        assert "cast(null AS string)" in caught.value.fix
    assert version(before, EVENTS) == at
    held = "named_struct('a', array(1.5), 'b', map('x', date'2026-01-01')) AS coupon, 'y' AS mark"
    assert store.write(EVENTS, spark.sql(f"SELECT 2 AS user_id, {held}")) == 1


def test_a_column_without_a_type_that_an_earlier_version_wrote_is_passed_over(
    spark: SparkSession, store_of: StoreOf
) -> None:
    before, broken = store_of("sound"), store_of("broken")
    before.write(EVENTS, spark.sql("SELECT 1 AS user_id"))
    rows = spark.sql("SELECT 'broken' AS run_id, 7 AS user_id, null AS nothing")
    broken._commit(EVENTS, rows, "run_id = 'broken'", {"mergeSchema": "true"})
    for run_id, user in (("sound", 1), ("broken", 7)):
        frame = store_of(run_id).read(EVENTS)
        assert "nothing" not in frame.columns
        assert [row["user_id"] for row in frame.collect()] == [user]
    # The column gets its type with the first run that has one.
    broken.write(EVENTS, spark.sql("SELECT 8 AS user_id, 'x' AS nothing"))
    assert [row["nothing"] for row in broken.read(EVENTS).collect()] == ["x"]


def test_no_rows_are_rows_where_none_may_be(spark: SparkSession, store_of: StoreOf) -> None:
    store = store_of("none")
    assert store.write(FACTS, facts(spark)) == 0
    frame = store.read(FACTS, may_be_empty=True)
    assert frame.columns == ["run_id", "n", "note"]
    assert frame.count() == 0
    with pytest.raises(TableError, match="no row of this run"):
        store.read(FACTS)


def test_the_run_id_of_a_row_is_that_of_its_writer(spark: SparkSession, store_of: StoreOf) -> None:
    store = store_of("writer")
    store.write(FACTS, facts(spark, "a").withColumn("run_id", F.lit("someone else")))
    assert {row["run_id"] for row in store.read(FACTS).collect()} == {"writer"}


def test_a_root_with_spaces_and_quotes_is_a_place_like_any(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = open_store(spark, str(tmp_path / "a root's place"), "run")
    rows = spark.sql("SELECT 'x' AS impression_id, 0.5D AS relevance, true AS seen, false AS bot")
    rows = rows.selectExpr(
        "*",
        *("true AS wanted", "true AS would_buy", "1D AS delay_hours", "true AS recorded"),
        "1D AS refund_hours",
    )
    assert store.write(TRUTH, rows) == 1
    assert store.write(WEIGHTS, weights(spark, 1.0)) == 1
    assert store.read(TRUTH).count() == 1


def test_tables_of_a_catalog_are_in_it_and_not_under_the_root(
    spark: SparkSession, store_of: StoreOf, root: Path, catalog: str | None
) -> None:
    store = store_of("placed")
    store.write(FACTS, facts(spark, "a"))
    assert (root / "tables").exists() is (catalog is None)
    if catalog is None:
        return
    assert store.name(FACTS) == "`spark_catalog`.`tables_test`.`facts`"
    assert spark.table(f"{catalog}.facts").where("run_id = 'placed'").count() == 1
    # A schema alone is that of the session's catalog.
    near = open_store(spark, str(root), "placed", "tables_test")
    assert notes(near) == ["a"]
    near.check()


@pytest.mark.parametrize("schema", ["nowhere", "spark_catalog.nowhere", "nowhere.at_all"])
def test_a_schema_that_is_not_there_is_named_before_any_work(
    spark: SparkSession, tmp_path: Path, schema: str
) -> None:
    with pytest.raises(TableError, match=f"no schema '{schema}'") as caught:
        open_store(spark, str(tmp_path), "a", schema).check()
    assert "CREATE SCHEMA `nowhere" in str(caught.value) or "spark_catalog" in str(caught.value)


@pytest.mark.parametrize(
    "other",
    [
        "TABLE {} USING parquet AS SELECT 1L AS n, 'x' AS note",
        "TABLE {} USING delta AS SELECT 1L AS n, 'x' AS note",
        "VIEW {} AS SELECT 1L AS n, 'x' AS note",
    ],
    ids=["of another form", "without runs", "a view"],
)
def test_another_table_under_the_name_is_left_alone(
    spark: SparkSession, empty_place: Store, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    if isinstance(empty_place, FolderStore) and "delta" not in other:
        pytest.skip("a folder with something else in it is looked at above")
    monkeypatch.setattr("reweight.core.store.time", SimpleNamespace(sleep=lambda seconds: None))
    name = empty_place.name(FACTS)
    spark.sql(f"CREATE {other.format(name)}")
    with pytest.raises(TableError, match="'facts'"):
        empty_place.write(FACTS, facts(spark, "b"))
    assert [row.asDict() for row in spark.table(name).collect()] == [{"n": 1, "note": "x"}]
