"""Bad input ends in rejected rows with a reason or in a named error before anything is written."""

import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.sql import Row, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs import cleaning, reasons
from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.sources import readable
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run, load_config
from reweight.core.errors import ReweightError, SourceError, TableError
from reweight.core.run_folder import read_records
from reweight.core.tables import EVENTS, REJECTED
from reweight.runner.records import run_stage

COLUMNS = {"event_time": "try_to_timestamp(ts)", "id": "try_cast(id AS bigint)", "kind": "kind"}
SCHEMA = "id bigint, kind string, ts string"
GOOD = "id,kind,ts\n1,buy,2026-03-01\n2,click,2026-03-02\n"
MANY = "id,kind,ts\n" + "".join(f"{i},{i * i},2026-03-01\n" for i in range(20_000))


def section(path: Path, form: str = "csv", source: Any = None, **rest: Any) -> dict[str, Any]:
    read = {"path": str(path), "format": form} | (source or {})
    return {"sources": {"log": read}, "columns": COLUMNS} | rest


def file(folder: Path, content: str | bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def json_source(folder: Path, *documents: Any) -> dict[str, Any]:
    text = "\n".join(d if isinstance(d, str) else json.dumps(d) for d in documents)
    return section(file(folder, text, "log.json"), "json", {"schema": SCHEMA})


def parquet(spark: SparkSession, folder: Path, *queries: str) -> Path:
    for number, query in enumerate(queries):
        spark.sql(query).coalesce(1).write.parquet(str(folder / f"day={number}"))
    return folder


def open_run(spark: SparkSession, root: Path, given: dict[str, Any]) -> Run:
    demo = load_config(str(Path(__file__).parents[1] / "shop.yaml"))
    changes = {"run_id": "night", "root": str(root), "cleaning": Cleaning.model_validate(given)}
    return Run.open(spark, demo.model_copy(update=changes))


def commits(root: Path) -> set[str]:
    """Every commit of every table: what a failed stage must leave as it was."""
    return {str(path) for path in (root / "tables").glob("*/_delta_log/*.json")}


@pytest.fixture(scope="module")
def root(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables that hold the same run's events of a day that went well: one row of each."""
    folder = tmp_path_factory.mktemp("root")
    path = file(folder, "id,kind,ts\n1,buy,2026-03-01\n")
    run = open_run(spark, folder, section(path))
    assert run_stage(run, clean_logs) == {
        "raw": 1,
        "events": 1,
        "rejected": 0,
        "reasons": {},
        "times": "2026-03-01 00:00:00",
    }
    return folder


Given = Callable[[SparkSession, Path], dict[str, Any]]


def broken_gzip(_: SparkSession, folder: Path) -> dict[str, Any]:
    packed = gzip.compress(MANY.encode())
    return section(file(folder, packed[: len(packed) // 2], "cut.csv.gz"))


def broken_gzip_of_json(_: SparkSession, folder: Path) -> dict[str, Any]:
    packed = gzip.compress("\n".join(json.dumps({"id": i * i}) for i in range(9999)).encode())
    path = file(folder, packed[: len(packed) // 2], "cut.json.gz")
    return section(path, "json", {"schema": SCHEMA})


def broken_parquet(spark: SparkSession, folder: Path) -> dict[str, Any]:
    path = parquet(spark, folder / "log", "SELECT 1 AS id, 'buy' AS kind, '2026-03-01' AS ts")
    whole = next(path.glob("*/*.parquet"))
    whole.with_name("cut.parquet").write_bytes(whole.read_bytes()[:200])
    return section(path, "parquet")


def retyped_parquet(spark: SparkSession, folder: Path) -> dict[str, Any]:
    queries = [f"SELECT {i} AS id, 'a' AS kind, '2026-03-01' AS ts" for i in ("1L", "double(1)")]
    return section(parquet(spark, folder / "log", *queries), "parquet")


def other_header(_: SparkSession, folder: Path) -> dict[str, Any]:
    file(folder, ",id,kind,ts\n0,1,buy,2026-03-01\n", "a.csv")
    file(folder, ",kind,id,ts\n0,buy,1,2026-03-01\n", "swapped.csv")
    return section(folder / "*.csv")


def one_of_two_empty(_: SparkSession, folder: Path) -> dict[str, Any]:
    sources = {
        name: {"path": str(file(folder, text, f"{name}.csv")), "format": "csv"}
        for name, text in (("one", GOOD), ("two", "id,kind,ts\n"))
    }
    return {"sources": sources, "columns": COLUMNS}


def typed_beside_text(spark: SparkSession, folder: Path) -> dict[str, Any]:
    query = "SELECT 1L AS id, 'buy' AS kind, '2026-03-01' AS ts"
    sources = {
        "text": {"path": str(file(folder, GOOD)), "format": "csv"},
        "typed": {"path": str(parquet(spark, folder / "log", query)), "format": "parquet"},
    }
    return {"sources": sources, "columns": COLUMNS | {"id": "id"}}


def csv(content: str | bytes, source: Any = None, **rest: Any) -> Given:
    return lambda _, folder: section(file(folder, content), "csv", source, **rest)


CASES: dict[str, tuple[Given, list[str]]] = {
    "no such file": (
        lambda _, folder: section(folder / "nowhere.csv"),
        ["cleaning.sources.log", "nowhere.csv", "csv files"],
    ),
    "no such folder of json": (
        lambda _, folder: section(folder / "nowhere", "json", {"schema": SCHEMA}),
        ["cleaning.sources.log", "nowhere"],
    ),
    "empty file": (csv(""), ["log.csv", "an empty file"]),
    "empty file of json": (lambda _, folder: json_source(folder), ["['log'] have no rows"]),
    "header alone": (csv("id,kind,ts\n"), ["['log'] have no rows"]),
    "empty folder": (lambda _, folder: section(folder), ["cleaning.sources.log", "csv files at"]),
    "empty folder of parquet": (
        lambda _, folder: section(folder, "parquet"),
        ["cleaning.sources.log", "schema"],
    ),
    "one source of two is empty": (one_of_two_empty, ["the sources ['two'] have no rows"]),
    "sources of two types": (
        typed_beside_text,
        ["'text' and 'typed' differ", "id: string and bigint", "try_cast"],
    ),
    "wrong column name": (csv("ident,kind,ts\n1,a,2026-03-01\n"), ["columns.id", "`id`", "ident"]),
    "no SQL": (
        csv(GOOD, columns=COLUMNS | {"kind": "upper(kind"}),
        ["columns.kind: upper(kind", "missing ')'", "over the columns ['id', 'kind'"],
    ),
    "two errors at once": (
        csv(GOOD, columns=COLUMNS | {"kind": "knd", "id": "cast(id as)"}),
        ["2 error(s)", "columns.kind: knd", "columns.id: cast(id as)"],
    ),
    "time that is none": (
        csv(GOOD, columns=COLUMNS | {"event_time": "ts"}),
        ["`event_time` of the source 'log' is not a time", "type string", "try_to_timestamp"],
    ),
    "rules of unknown columns": (
        csv(
            GOOD,
            required=["a1"],
            allowed={"a2": ["x"]},
            ranges={"a3": [0, 1]},
            reject={"a4": "a4 > 1"},
            duplicates={"keys": ["a5"], "prefer": "a6"},
        ),
        ["6 error(s)", "required.a1", "allowed.a2", "ranges.a3", "reject.a4", "keys.a5", "a6"],
    ),
    "rules of the wrong type": (
        csv(
            GOOD,
            columns=COLUMNS | {"both": "array(id)", "pairs": "map(id, ts)"},
            ranges={"both": [0, 1]},
            reject={"early": "ts"},
            duplicates={"keys": ["pairs"], "prefer": "pairs"},
        ),
        ["4 error(s)", "ranges.both", "reject.early", "duplicates.keys.pairs", "prefer"],
    ),
    "aggregate in a column": (
        csv(GOOD, columns=COLUMNS | {"n": "count(id)"}),
        ["the logs cannot be read", "GROUP BY"],
    ),
    "column that makes two rows of one": (
        csv(GOOD, columns=COLUMNS | {"n": "explode(array(1, 2))"}),
        ["do not add up", "2 rows: events + rejected", "got:      4"],
    ),
    "expression that fails on a row": (
        csv(GOOD, columns=COLUMNS | {"n": "cast(raise_error(concat('no ', kind)) as int)"}),
        ["the expression columns.n fails on a row", "kind = 'buy' in file:", "log.csv", "no buy"],
    ),
    "number that is too large for its unit": (
        csv(
            "id,kind,ts\n1,a,1709287200\n2,b,1709287200000000000\n",
            columns=COLUMNS | {"event_time": "timestamp_seconds(try_cast(ts AS bigint))"},
        ),
        [
            "the expression columns.event_time fails on a row",
            "ts = '1709287200000000000' in file:",
            "of the source 'log': long overflow",
            "timestamp_micros(try_cast(ts AS bigint) div 1000)",
        ],
    ),
    "pattern that does not fit": (
        csv(GOOD, reject={"odd": "regexp_extract(kind, 'b', 3) = ''"}),
        ["the expression reject.odd fails on a row", "kind = 'buy'", "but got 3"],
    ),
    "lookup that fails on a row": (
        lambda _, folder: section(
            file(folder, GOOD),
            lookups={
                "facts": {
                    "source": {"path": str(file(folder, GOOD, "facts.csv")), "format": "csv"},
                    "keys": {"id": "try_cast(id AS bigint)"},
                    "columns": {"fact": "cast(raise_error(concat('no ', kind)) as int)"},
                }
            },
        ),
        ["lookups.facts.columns.fact fails on a row", "facts.csv", "no buy"],
    ),
    "milliseconds as seconds": (
        csv(
            f"id,kind,ts\n1,a,{10**12}\n2,b,{10**12 + 10**9}\n",
            columns=COLUMNS | {"event_time": "timestamp_seconds(try_cast(ts AS bigint))"},
        ),
        ["2 of 2 times", "the year 33", "`event_time: timestamp_millis(try_cast(ts AS bigint))`"],
    ),
    "seconds as text": (
        csv("id,kind,ts\n1,a,5221\n2,b,86400\n3,c,170928\n"),
        ["3 of 3 times", "the year 170928", "timestamp_seconds(try_cast(ts AS bigint))"],
    ),
    "seconds that are no text of a time": (
        csv("id,kind,ts\n1,a,1709287200\n2,b,1709287201\n"),
        ["100.0%", "missing:event_time: 2", "timestamp_seconds(try_cast(ts AS bigint))"],
    ),
    "seconds with fractions that are no text of a time": (
        csv("id,kind,ts\n1,a,1709287200.5\n2,b,1709287201.25\n"),
        [
            "100.0%",
            "missing:event_time: 2",
            "`event_time: timestamp_seconds(try_cast(ts AS double))`",
        ],
    ),
    "seconds among milliseconds": (
        csv(
            "id,kind,ts\n"
            + "".join(f"{i},a,{1709287200 * 1000 ** (i % 3 > 0)}\n" for i in range(6)),
            columns=COLUMNS | {"event_time": "timestamp_millis(try_cast(ts AS bigint))"},
        ),
        [
            "2 of 6 times are in January 1970",
            "1970-01-20",
            "`event_time: CASE WHEN try_cast(ts AS double) < 4102444800 THEN timestamp_seconds(",
            "ELSE timestamp_millis(try_cast(ts AS bigint)) END`",
            "not_before: '1971-01-01'",
        ],
    ),
    "too many rejected": (
        csv(GOOD + "x,buy,2026-03-01\ny,buy,late\n", required=["id"], max_rejected=0.4),
        ["50.0%", "at most 40.0%", "missing:event_time: 1", "missing:id: 2", "max_rejected"],
    ),
    "cut gzip": (broken_gzip, ["cut.csv.gz", "Unexpected end of input stream", "read in part"]),
    "cut gzip of json": (broken_gzip_of_json, ["cut.json.gz", "Unexpected end of input stream"]),
    "no gzip at all": (
        lambda _, folder: section(file(folder, GOOD, "plain.csv.gz")),
        ["plain.csv.gz", "not a gzip file"],
    ),
    "cut parquet": (broken_parquet, ["cut.parquet", "read in part"]),
    "retyped column": (retyped_parquet, ["'id'", "bigint in file:", "double in file:"]),
    "columns in another order": (other_header, ["swapped.csv", "header", "same first line"]),
    "column twice": (
        csv("id,kind,id,ts\n1,a,1,2026-03-01\n"),
        ["log.csv", "names columns twice", "['id']"],
    ),
    "names that are taken": (
        csv("id,_raw,_source\n1,a,2026-03-01\n"),
        ["reserved names", "got:      ['_raw', '_source']"],
    ),
    "UTF-16": (csv(GOOD.encode("utf-16")), ["log.csv", "encoding", "UTF-8"]),
    "unknown encoding": (csv(GOOD, {"options": {"encoding": "klingon"}}), ["klingon"]),
    "json without a schema": (
        lambda _, folder: section(file(folder, "{}"), "json"),
        ["has no schema", "DDL"],
    ),
    "json schema that is none": (
        lambda _, folder: section(file(folder, "{}"), "json", {"schema": "id bigintt,"}),
        ["schema of cleaning.sources.log", "bigintt"],
    ),
    "json schema with times": (
        lambda _, folder: section(
            file(folder, "{}"), "json", {"schema": "ts timestamp, seen array<struct<at: date>>"}
        ),
        ["schema of cleaning.sources.log has times", "ts timestamp, seen[].at date", "ts string"],
    ),
    "explode of no array": (
        csv(GOOD, {"explode": "kind"}),
        ["cleaning.sources.log", "kind", "ARRAY"],
    ),
    "no delta table": (lambda _, folder: section(folder, "delta"), ["delta files", "Delta table"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_stage_names_what_is_wrong_and_writes_nothing(
    spark: SparkSession, tmp_path: Path, root: Path, case: str
) -> None:
    given, parts = CASES[case]
    if case in ("cut gzip", "cut gzip of json") and spark.version < "4":
        # Spark 3.5 does not say which file ended too early.
        parts = parts[1:]
    before = commits(root)
    run = open_run(spark, root, given(spark, tmp_path))
    with pytest.raises(SourceError) as error:
        run_stage(run, clean_logs)
    said = str(error.value)
    for part in (*parts, "expected:", "got:", "fix:"):
        assert part in said
    assert "\tat " not in said and len(said) < 3000
    assert commits(root) == before
    assert read_records(run.folder)["clean_logs"]["status"] == "failed"


def test_a_column_that_no_table_holds_is_refused_before_the_first_commit(
    spark: SparkSession, tmp_path: Path, root: Path
) -> None:
    before, path = commits(root), file(tmp_path, GOOD)
    run = open_run(spark, root, section(path) | {"columns": COLUMNS | {"coupon": "null"}})
    with pytest.raises(ReweightError, match="coupon"):
        run_stage(run, clean_logs)
    assert commits(root) == before
    # A time without a zone is in UTC, as `event_time` is: the table was made without such times.
    seen = {"seen": "to_timestamp_ntz(ts)", "coupon": "cast(null AS string)"}
    run = open_run(spark, root, section(path) | {"columns": COLUMNS | seen})
    run_stage(run, clean_logs)
    assert run.store.read(EVENTS).schema["seen"].dataType.simpleString() == "timestamp"


def test_the_summary_says_what_is_not_read_and_what_is_left_out(
    spark: SparkSession, tmp_path: Path, root: Path, logged: Callable[[], str]
) -> None:
    file(tmp_path, GOOD, "a.csv")
    file(tmp_path, GOOD, "_b.csv")
    run = open_run(spark, root, section(tmp_path, source={"where": "kind = 'buy'"}))
    assert run_stage(run, clean_logs) == {
        "raw": 1,
        "events": 1,
        "rejected": 0,
        "reasons": {},
        "times": "2026-03-01 00:00:00",
        "left out": {"log": 1},
        "files not read": {"log": {"files": 1, "names": [f"{tmp_path}/_b.csv"]}},
    }
    assert "1 file(s) below the path are not read (hidden names" in logged()


def test_a_day_that_goes_well_replaces_the_rows_of_the_run(
    spark: SparkSession, tmp_path: Path, root: Path
) -> None:
    kinds = {"allowed": {"kind": ["buy", "click", "view"]}}
    run = open_run(spark, root, section(file(tmp_path, GOOD + "3,bye,2026-03-03\n"), **kinds))
    told = run_stage(run, clean_logs)
    assert told == {
        "raw": 3,
        "events": 2,
        "rejected": 1,
        "reasons": {"not_allowed:kind": 1},
        "times": "2026-03-01 00:00:00 to 2026-03-02 00:00:00",
    }
    # No `view` came: that is no fault.
    assert {row["kind"] for row in run.store.read(EVENTS).collect()} == {"buy", "click"}
    (thrown,) = run.store.read(REJECTED).collect()
    assert thrown.asDict() == {
        "run_id": "night",
        "source": "log",
        "source_file": f"file:{tmp_path}/log.csv",
        "reasons": ["not_allowed:kind"],
        "raw": '{"id":"3","kind":"bye","ts":"2026-03-03"}',
        "day": None,
    }


def test_a_far_row_is_rejected_and_what_is_lost_is_named(
    spark: SparkSession, tmp_path: Path, root: Path
) -> None:
    lines = [f"{i},buy,2026-03-0{1 + i % 6} 10:00:00,{i}" for i in range(300)]
    odd = ["300,buy,2037-04-09,n/a", "300,buy,2026-03-06 23:00:00,", "302,view,noon,1"]
    for name in ("a", "b"):
        # An event in both files, which are two sources.
        file(tmp_path, "\n".join(["id,kind,ts,price", *lines[:100], *odd, ""]), f"{name}.csv")
        lines = lines[99:]
    sources = {n: {"path": str(tmp_path / f"{n}.csv"), "format": "csv"} for n in ("a", "b")}
    columns = COLUMNS | {
        "log": "source",
        "price": "try_cast(price AS double)",
        "viewed": "CASE WHEN kind = 'view' THEN try_cast(price AS double) END",
    }
    given = {"sources": sources, "columns": columns}
    told = run_stage(open_run(spark, root, given), clean_logs)
    assert told["raw"] == 206
    assert (told["events"], told["rejected"]) == (202, 4)
    assert told["reasons"] == {"missing:event_time": 2, "out_of_range:event_time": 2}
    assert told["times"] == "2026-03-01 10:00:00 to 2026-03-06 23:00:00"
    assert told["after the log"].startswith("2 rows, 2037-04-09 00:00:00; rejected")
    assert told["not converted"] == {
        "event_time": "2 values such as 'noon'",
        "price": "2 values such as 'n/a'",
    }
    latest = {"across_sources": True, "keys": ["id"], "prefer": "-unix_seconds(event_time)"}
    told = run_stage(open_run(spark, root, given | {"duplicates": latest}), clean_logs)
    # The first file is kept, so that all equal rows are in the second.
    assert told["reasons"] == {"duplicate": 4, "duplicate_key": 1, "missing:event_time": 2}
    assert told["duplicates by source"] == {"a": 1, "b": 4}
    # Not the row of 2037 is kept, but the one with its key that is within the log.
    assert told["times"] == "2026-03-01 10:00:00 to 2026-03-06 23:00:00"
    kept = given | {"not_after": "2040-01-01"}
    told = run_stage(open_run(spark, root, kept), clean_logs)
    assert told["times"] == "2026-03-01 10:00:00 to 2037-04-09 00:00:00"


def outcome(spark: SparkSession, given: dict[str, Any]) -> list[Row]:
    """The cleaned rows of a log that is read to its end; their number is that of the files."""
    config = Cleaning.model_validate(given)
    sources = cleaning.read_sources(spark, config)
    rows = cleaning.mapped(sources, config).transform(reasons.with_reasons, config)
    found = rows.transform(reasons.with_duplicates, config).collect()
    assert sum(cleaning.count_rows(sources)[0].values()) == len(found)
    return found


def test_text_in_another_encoding_is_rejected_and_the_rest_stays(
    spark: SparkSession, tmp_path: Path
) -> None:
    text = "id,kind,ts\n1,caf\u00e9,2026-03-01\n2,tea,2026-03-01\n"
    path = file(tmp_path, text.encode("latin-1"))
    found = {row["id"]: row["_reasons"] for row in outcome(spark, section(path))}
    assert found == {1: ["undecodable"], 2: []}
    told = section(path, source={"options": {"encoding": "ISO-8859-1"}})
    assert {row["id"]: row["kind"] for row in outcome(spark, told)} == {1: "caf\u00e9", 2: "tea"}


def test_json_in_another_encoding_is_rejected_as_text_that_others_can_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    text = '{"id": 1, "kind": "caf\u00e9", "ts": "2026-03-01"}'
    path = file(tmp_path, text.encode("latin-1") + b"\n" + text.encode(), "log.json")
    given = section(path, "json", {"schema": SCHEMA})
    found = {row["_raw"]: row["_reasons"] for row in outcome(spark, given)}
    assert found == {text.replace("\u00e9", "\ufffd"): ["undecodable"], text: []}
    config = Cleaning.model_validate(given)
    ((source, _, _),) = cleaning.read_sources(spark, config).values()
    # Bytes that are no UTF-8 would stop every reader of the table `rejected`.
    stored = source.select(F.col("_raw").cast("binary").alias("b")).collect()
    assert {bytes(row["b"]).decode() for row in stored} == set(found)


def test_utf16_is_read_when_the_source_says_so(spark: SparkSession, tmp_path: Path) -> None:
    path = file(tmp_path, GOOD.encode("utf-16"))
    options = {"encoding": "UTF-16", "multiLine": "true"}
    found = outcome(spark, section(path, source={"options": options}))
    assert {(row["id"], row["kind"]) for row in found} == {(1, "buy"), (2, "click")}


def test_a_byte_order_mark_is_no_part_of_the_first_name(
    spark: SparkSession, tmp_path: Path
) -> None:
    found = outcome(spark, section(file(tmp_path, GOOD.encode("utf-8-sig"))))
    assert sorted(row["id"] for row in found) == [1, 2]


def test_a_csv_without_a_header_or_with_unnamed_columns_has_numbered_ones(
    spark: SparkSession, tmp_path: Path
) -> None:
    columns = {"event_time": "try_to_timestamp(_c2)", "id": "try_cast(_c0 AS bigint)"}
    bare = file(tmp_path, "1,a,2026-03-01\n2,b,2026-03-01\n", "bare.csv")
    given = section(bare, source={"options": {"header": "false"}}) | {"columns": columns}
    assert sorted(row["id"] for row in outcome(spark, given)) == [1, 2]
    unnamed = file(tmp_path, ",kind,\n1,a,2026-03-01\n2,b,2026-03-01\n", "unnamed.csv")
    given = section(unnamed) | {"columns": columns | {"kind": "kind"}}
    assert {(row["id"], row["kind"]) for row in outcome(spark, given)} == {(1, "a"), (2, "b")}


def test_columns_that_come_and_go_between_parquet_files_are_null_where_they_are_not(
    spark: SparkSession, tmp_path: Path
) -> None:
    queries = ["SELECT 1L AS id, '2026-03-01' AS ts", "SELECT 'a' AS kind, '2026-03-01' AS ts"]
    # Whichever file comes first: a column that only the other has is there.
    for number, order in enumerate((queries, queries[::-1])):
        path = parquet(spark, tmp_path / str(number), *order)
        found = outcome(spark, section(path, "parquet", required=["id"]))
        kinds = {(row["id"], row["kind"], *row["_reasons"]) for row in found}
        assert kinds == {(1, None), (None, "a", "missing:id")}


def test_a_log_of_5000_columns_is_a_log(spark: SparkSession, tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(5000)]
    lines = [",".join([str(n), "buy", "2026-03-01", *[str(n)] * len(names)]) for n in range(20)]
    log = "\n".join([",".join(["id", "kind", "ts", *names]), *lines, "20,buy,2026-03-01,7", ""])
    numbers = ", ".join(f"try_cast({name} AS double)" for name in names)
    columns = COLUMNS | {"total": f"aggregate(array({numbers}), 0D, (a, x) -> a + x)"}
    found = outcome(spark, section(file(tmp_path, log), columns=columns))
    assert {row["id"]: row["total"] for row in found if not row["_reasons"]} == {
        n: 5000.0 * n for n in range(20)
    }
    assert [row["_reasons"] for row in found if row["_reasons"]] == [["malformed"]]


def test_a_json_document_of_another_shape_is_rejected(spark: SparkSession, tmp_path: Path) -> None:
    time = {"ts": "2026-03-01"}
    shapes = {
        '{"other": {"id": 1}}': ["missing:event_time", "missing:id"],
        json.dumps({"id": {"value": 1}} | time): ["malformed"],
        json.dumps({"id": [1]} | time): ["malformed"],
        json.dumps({"id": 10**19} | time): ["malformed"],
        json.dumps({"id": 7, "kind": {"name": "buy"}} | time): [],  # a document in place of text
        json.dumps({"id": 8, "more": 1} | time): [],
    }
    found = outcome(spark, json_source(tmp_path, *shapes) | {"required": ["id"]})
    assert {row["_raw"]: row["_reasons"] for row in found} == shapes


def test_times_across_a_change_of_clocks(spark: SparkSession, tmp_path: Path) -> None:
    # New York went from -05:00 to -04:00 on 8 March 2026 at 2, and back on 1 November at 2.
    times = {
        "2026-03-08 01:59:59-05:00": "06:59:59",
        "2026-03-08 03:00:00-04:00": "07:00:00",
        "2026-03-08 02:30:00": "02:30:00",  # no such time in New York, but one in UTC
        "2026-03-08 01:30:00 America/New_York": "06:30:00",
        "2026-03-08 03:30:00 America/New_York": "07:30:00",
        "2026-11-01 01:30:00-04:00": "05:30:00",
        "2026-11-01 01:30:00-05:00": "06:30:00",
        "2026-11-01 01:30:00": "01:30:00",
        "2026-11-01 00:30:00 America/New_York": "04:30:00",
        "2026-11-01 02:30:00 America/New_York": "07:30:00",
        "2026-03-08 01:30:00 America/New_Yoork": None,
    }
    seconds = {
        number: clock and datetime.fromisoformat(f"{text[:10]}T{clock}+00:00").timestamp()
        for number, (text, clock) in enumerate(times.items())
    }
    documents = [{"id": number, "ts": text} for number, text in enumerate(times)]
    columns = COLUMNS | {"second": "unix_seconds(try_to_timestamp(ts))"}
    found = outcome(spark, json_source(tmp_path, *documents) | {"columns": columns})
    assert {row["id"]: row["second"] for row in found} == seconds
    assert [row["id"] for row in found if row["_reasons"]] == [10]


def test_a_log_of_local_times_is_read_by_the_rules_of_its_zone(
    spark: SparkSession, tmp_path: Path
) -> None:
    documents = [{"id": n, "ts": f"2026-03-08 0{hour}:30:00"} for n, hour in enumerate((1, 2, 3))]
    local = "to_utc_timestamp(try_to_timestamp(ts), 'America/New_York')"
    columns = COLUMNS | {"event_time": local, "hour": f"hour({local})"}
    found = outcome(spark, json_source(tmp_path, *documents) | {"columns": columns})
    # The half hour that New York left out is the one that followed.
    assert {row["id"]: row["hour"] for row in found} == {0: 6, 1: 7, 2: 7}


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_a_file_that_vanishes_before_it_is_read_is_named(
    spark: SparkSession, tmp_path: Path, form: str
) -> None:
    if form == "parquet":
        query = "SELECT 1 AS id, 'a' AS kind, '2026-03-01' AS ts"
        given = section(parquet(spark, tmp_path / "log", query), form)
    else:
        given = section(file(tmp_path, GOOD), form, {"schema": SCHEMA} if form == "json" else None)
    config = Cleaning.model_validate(given)
    sources = cleaning.read_sources(spark, config)
    rows = cleaning.mapped(sources, config).transform(reasons.with_reasons, config)
    (gone,) = tmp_path.rglob("*.parquet" if form == "parquet" else "*.csv")
    gone.unlink()
    for look in (
        lambda: reasons.count_groups(rows, config),
        lambda: cleaning.count_rows(sources),
    ):
        with pytest.raises(SourceError) as error, readable():
            look()
        assert gone.name in str(error.value)
        assert "does not exist" in str(error.value)


def test_a_failure_that_is_no_fault_of_the_log_is_not_called_one(spark: SparkSession) -> None:
    with pytest.raises(Py4JJavaError, match="NoSuchElement"), readable():
        spark._jvm.java.util.Optional.empty().get()  # type: ignore[union-attr]
    with pytest.raises(TableError), readable():
        raise TableError("a table", expected="a", got="b", fix="c")
