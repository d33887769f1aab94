"""Cleaning: the mapping, the rules, duplicates and lookups; every raw row ends in one place."""

import itertools
import json
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from omegaconf import OmegaConf
from pydantic import ValidationError
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs import cleaning, lookups, reasons
from reweight.clean_logs.section import Cleaning, Duplicates, Lookup, Source
from reweight.core.errors import SourceError
from reweight.core.section import Section

BIG = 9_007_199_254_740_993  # 2^53 + 1: a double cannot hold it
LONG = 1_234_567_890_123_456_789
COLUMNS = {
    "event_time": "try_to_timestamp(ts)",
    "id": "try_cast(id AS bigint)",
    "kind": "kind",
    "price": "try_cast(price AS double)",
}
SCHEMA = "id bigint, kind string, price string, ts string"
EXACT_ONLY = {"exact": True}


def section(path: Path | str, form: str = "json", **rest: Any) -> Cleaning:
    source = {"path": str(path), "format": form} | ({"schema": SCHEMA} if form == "json" else {})
    return Cleaning.model_validate({"sources": {"log": source}, "columns": COLUMNS} | rest)


def cleaned(spark: SparkSession, config: Cleaning) -> DataFrame:
    return (
        cleaning.mapped(cleaning.read_sources(spark, config), config)
        .transform(lookups.with_lookups, spark, config)
        .transform(reasons.with_reasons, config)
        .transform(reasons.with_duplicates, config)
    )


def lines(path: Path, *documents: dict[str, Any] | str) -> Path:
    told = [d if isinstance(d, str) else json.dumps(d) for d in documents]
    path.write_text("\n".join(told) + "\n")
    return path


def doc(number: int | None = 1, **rest: Any) -> dict[str, Any]:
    return {"id": number, "kind": "buy", "price": "2.5", "ts": "2026-03-01 10:00:00"} | rest


def reasons_by_text(rows: DataFrame) -> dict[str, list[str]]:
    """Raw text -> reasons, of rows that differ in their text."""
    found = rows.select("_raw", "_reasons").collect()
    by_text = {row["_raw"]: sorted(row["_reasons"]) for row in found}
    assert len(by_text) == len(found)
    return by_text


LOG = [
    (LONG, "buy", 2.5, "2026-03-01 10:00:00"),
    (BIG, "click, twice", None, "2026-03-01T12:00:00+02:00"),
    (-1, None, 0.1, "2026-03-01"),
]


def write_log(spark: SparkSession, folder: Path, form: str) -> Path:
    path = folder / f"log.{form}"
    if form == "csv":
        rows = [
            f'{number},{id_},"{kind or ""}",{"" if price is None else price},{time}'
            for number, (id_, kind, price, time) in enumerate(LOG)
        ]
        path.write_text("\n".join([",id,kind,price,ts", *rows]) + "\n")
    elif form == "json":
        names = ("id", "kind", "price", "ts")
        lines(path, *[dict(zip(names, row, strict=True)) for row in LOG])
    else:
        frame = spark.createDataFrame(LOG, "id bigint, kind string, price double, ts string")
        frame.coalesce(1).write.format(form).save(str(path))
    return path


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "delta"])
def test_the_same_log_in_every_form_gives_the_same_events(
    spark: SparkSession, tmp_path: Path, form: str
) -> None:
    config = section(
        write_log(spark, tmp_path, form),
        form,
        columns=COLUMNS | {"log": "source", "file": "source_file"},
    )
    found = cleaning.events(cleaned(spark, config)).collect()
    assert all(f"log.{form}" in row["file"] and row["log"] == "log" for row in found)
    by_id = {row["id"]: (row["kind"], row["price"], row["event_time"]) for row in found}
    ten, midnight = (instant(text) for text in ("2026-03-01T10:00", "2026-03-01T00:00"))
    assert by_id == {
        LONG: ("buy", 2.5, ten),
        BIG: ("click, twice", None, ten),
        -1: (None, 0.1, midnight),
    }


def instant(text: str) -> datetime:
    """As Spark gives it to Python: the local time of the machine, without a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def test_each_element_of_a_nested_document_is_a_row_of_its_own(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = lines(
        tmp_path / "sessions.json",
        {"_id": 1, "tags": ["a"], "events": [{"item": LONG, "ts": 0}, {"item": 2, "ts": 1000}]},
        {"_id": 2, "tags": ["a"], "events": [{"item": 2, "ts": 1000}]},
        {"_id": 2, "tags": ["b"], "events": [{"item": 2, "ts": 1000}]},
        {"_id": 3, "events": []},
        {"_id": 4},
        '{"_id": 5, "events": [{"item": 1',
    )
    source = {
        "path": str(path),
        "format": "json",
        "schema": "_id bigint, tags array<string>, events array<struct<item: bigint, ts: bigint>>",
        "explode": "events",
    }
    columns = {
        "event_time": "timestamp_millis(element.ts)",
        "session": "_id",
        "item": "element.item",
    }
    config = Cleaning.model_validate({"sources": {"log": source}, "columns": columns})
    rows = cleaned(spark, config).persist()
    assert cleaning.count_rows(cleaning.read_sources(spark, config))[0] == {"log": 7}
    events = Counter((r["session"], r["item"]) for r in cleaning.events(rows).collect())
    # The element of document 2 stands in two documents that differ in a field around it.
    assert events == {(1, LONG): 1, (1, 2): 1, (2, 2): 2}
    thrown = {r["raw"]: r["reasons"] for r in cleaning.rejected(rows).collect()}
    assert thrown == {
        '{"_id":3}': ["missing:event_time"],
        '{"_id":4}': ["missing:event_time"],
        '{"_id": 5, "events": [{"item": 1': ["malformed"],
    }


RULES: dict[str, Any] = {
    "required": ["id"],
    "allowed": {"kind": ["buy", "click"]},
    "ranges": {"price": [0.0, None], "amount": [None, 10]},
    "not_before": "2026-03-01",
    "not_after": "2026-03-31T23:59:59+00:00",
    "reject": {"dear_click": "kind = 'click' AND price > 100", "never": "CAST(NULL AS boolean)"},
    "duplicates": {"exact": False},
}


def test_a_row_is_rejected_for_all_that_is_wrong_with_it(
    spark: SparkSession, tmp_path: Path
) -> None:
    cases: list[tuple[dict[str, Any], list[str]]] = [
        (doc(1), []),
        (doc(2, kind=None, price=None), []),
        (doc(None), ["missing:id"]),
        (doc(3, ts="yesterday"), ["missing:event_time"]),
        (doc(4, ts=None), ["missing:event_time"]),
        (doc(5, kind="view"), ["not_allowed:kind"]),
        (doc(6, price="0"), []),
        (doc(7, price="-0.01"), ["out_of_range:price"]),
        (doc(8, price="NaN"), ["out_of_range:amount", "out_of_range:price"]),
        (doc(9, price="Infinity"), ["out_of_range:amount", "out_of_range:price"]),
        (doc(10, price="-Infinity"), ["out_of_range:amount", "out_of_range:price"]),
        (doc(11, price="two"), ["out_of_range:amount"]),
        (doc(12, price="10"), []),
        (doc(13, price="10.5"), ["out_of_range:amount"]),
        (doc(14, ts="2026-03-01"), []),
        (doc(15, ts="2026-02-28 23:59:59.999"), ["out_of_range:event_time"]),
        (doc(16, ts="2026-03-01 00:59:59+01:00"), ["out_of_range:event_time"]),
        (doc(17, ts="2026-03-31 23:59:59"), []),
        (doc(18, ts="2026-03-31 23:59:59.001"), ["out_of_range:event_time"]),
        (doc(19, kind="click", price="101"), ["dear_click", "out_of_range:amount"]),
        (
            doc(None, kind="view", price="-1", ts="2020-01-01"),
            ["missing:id", "not_allowed:kind", "out_of_range:event_time", "out_of_range:price"],
        ),
    ]
    path = lines(tmp_path / "log.json", *[one for one, _ in cases])
    # `price` is null where it is no number; `amount` is the text itself.
    config = section(path, columns=COLUMNS | {"amount": "price"}, **RULES)
    rows = cleaned(spark, config).persist()
    assert reasons_by_text(rows) == {json.dumps(one): wrong for one, wrong in cases}
    total, bad, counts = reasons.count_reasons(reasons.count_groups(rows, config))
    expected = Counter(reason for _, wrong in cases for reason in wrong)
    assert (total, bad, counts) == (21, sum(bool(w) for _, w in cases), dict(expected))
    assert cleaning.events(rows).count() + cleaning.rejected(rows).count() == total
    assert cleaning.events(rows).columns == list(config.columns)


def test_a_broken_line_is_kept_whole_with_its_file(spark: SparkSession, tmp_path: Path) -> None:
    broken = ['{"id": 1', "[1]", "null", "plain", '{"id": "x", "kind": "buy"}', '{"id": 1e30}']
    lines(tmp_path / "a.json", *broken, doc(1), "", "   ")
    csv = ["7,buy", "7,buy,1,2026-03-01,more", '"7']
    (tmp_path / "b.csv").write_text("\n".join(["id,kind,price,ts", "7,buy,1,2026-03-01", *csv]))
    sources = {
        "json": {"path": str(tmp_path / "a.json"), "format": "json", "schema": SCHEMA},
        "csv": {"path": str(tmp_path / "b.csv"), "format": "csv"},
    }
    rule = {"keys": ["id"]}
    config = Cleaning.model_validate(
        {"sources": sources, "columns": COLUMNS, "duplicates": rule, "required": ["id"]}
    )
    rows = cleaned(spark, config).persist()
    thrown = cleaning.rejected(rows).collect()
    # The key of a broken line is no key: 7 is a duplicate nowhere.
    assert {tuple(row["reasons"]) for row in thrown} == {("malformed",)}
    assert {(r["source"], r["source_file"].split("/")[-1], r["raw"]) for r in thrown} == {
        *[("json", "a.json", line) for line in broken],
        *[("csv", "b.csv", line) for line in csv],
    }
    counts = cleaning.count_rows(cleaning.read_sources(spark, config))
    assert counts == ({"json": 7, "csv": 4}, {"json": 0, "csv": 0})
    assert {row["id"] for row in cleaning.events(rows).collect()} == {1, 7}


def test_of_equal_rows_one_stays(spark: SparkSession, tmp_path: Path) -> None:
    lines(tmp_path / "a.json", doc(1), doc(1), doc(2), doc(1, price="2.50"))
    lines(tmp_path / "b.json", doc(1), doc(3, kind=None))
    config = section(tmp_path, duplicates=EXACT_ONLY)
    rows = cleaned(spark, config).persist()
    thrown = cleaning.rejected(rows).collect()
    assert [(r["raw"], r["reasons"]) for r in thrown] == [(json.dumps(doc(1)), ["duplicate"])] * 2
    assert sorted(r["id"] for r in cleaning.events(rows).collect()) == [1, 1, 2, 3]
    # The copy that stays is the one of the first file.
    assert sorted(r["source_file"][-6:] for r in thrown) == ["a.json", "b.json"]


def test_a_copy_without_fault_stays_rather_than_one_with(
    spark: SparkSession, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        lines(tmp_path / f"{name}.json", doc(1))
    config = section(tmp_path, reject={"untrusted": "file LIKE '%a.json'"}).model_copy(
        update={"columns": COLUMNS | {"file": "source_file"}}
    )
    rows = cleaned(spark, config).persist()
    assert [r["file"][-6:] for r in cleaning.events(rows).collect()] == ["b.json"]
    assert [r["reasons"] for r in cleaning.rejected(rows).collect()] == [["untrusted", "duplicate"]]
    # Nor is the event lost where the copy of a later file is the preferred one.
    rule = {"exact": True, "keys": ["id"], "prefer": "if(file LIKE '%b.json', 0, 1)"}
    preferred = Duplicates.model_validate(rule)
    rows = cleaned(spark, config.model_copy(update={"reject": {}, "duplicates": preferred}))
    assert [r["file"][-6:] for r in cleaning.events(rows).collect()] == ["b.json"]


def test_of_rows_with_one_key_the_stated_one_stays(spark: SparkSession, tmp_path: Path) -> None:
    rule = {"exact": True, "keys": ["id", "kind"], "prefer": "price"}
    documents = [
        doc(1, price="1", ts="never"),  # the smallest, but with a fault
        doc(1, price="3"),
        doc(1, price="2"),
        doc(1, price="2"),
        doc(1, price=None),  # nothing is the last choice
        doc(2, price=None),
        doc(2, price="9"),
        doc(3, price="5", ts="never"),  # faulty both: the smaller one is the first of its key
        doc(3, price="4", ts="never"),
        doc(None, price="1"),  # null keys are no keys
        doc(None, price="2"),
        doc(4, kind=None, price="1"),
        doc(4, kind=None, price="2"),
        doc(4, kind="click"),
    ]
    config = section(lines(tmp_path / "log.json", *documents), duplicates=rule)
    rows = cleaned(spark, config).persist()
    events = Counter((r["id"], r["kind"], r["price"]) for r in cleaning.events(rows).collect())
    assert events == Counter(
        [
            (1, "buy", 2.0),
            (2, "buy", 9.0),
            (None, "buy", 1.0),
            (None, "buy", 2.0),
            (4, None, 1.0),
            (4, None, 2.0),
            (4, "click", 2.5),
        ]
    )
    thrown = Counter((r["raw"], *r["reasons"]) for r in cleaning.rejected(rows).collect())
    assert thrown == Counter(
        [
            (json.dumps(documents[0]), "missing:event_time", "duplicate_key"),
            (json.dumps(documents[1]), "duplicate_key"),
            (json.dumps(documents[3]), "duplicate"),
            (json.dumps(documents[4]), "duplicate_key"),
            (json.dumps(documents[5]), "duplicate_key"),
            (json.dumps(documents[7]), "missing:event_time", "duplicate_key"),
            (json.dumps(documents[8]), "missing:event_time"),
        ]
    )


def test_rows_are_told_apart_though_a_64_bit_hash_is_equal(
    spark: SparkSession, tmp_path: Path
) -> None:
    # Bytes 8-16 and 40-48 meet in one lane of xxhash64; these were searched so that it ends equal.
    one, two = (
        '{"n":"--' + first + "-" * 24 + second + "-" * 14 + '"}'
        for first, second in (("LJdsSXw9", "3i8YC2Qw"), ("jkosr6S4", "XY4rISp5"))
    )
    path = lines(tmp_path / "log.json", one, two, two)
    source = {"path": str(path), "format": "json", "schema": "n string"}
    columns = {"event_time": "timestamp '2026-01-01'", "n": "n"}
    config = Cleaning.model_validate({"sources": {"log": source}, "columns": columns})
    rows = cleaned(spark, config).persist()
    assert rows.select(F.xxhash64("_raw")).distinct().count() == 1
    assert Counter(r["_raw"] for r in rows.where("size(_reasons) = 0").collect()) == {
        one: 1,
        two: 1,
    }


def test_times_of_tables_differ_to_the_microsecond_and_without_a_zone_are_utc(
    spark: SparkSession, tmp_path: Path
) -> None:
    spark.sql(
        "SELECT explode(array(timestamp_ntz '2026-03-08 02:30:00.000001',"
        " timestamp_ntz '2026-03-08 02:30:00.000002')) AS t, 1 AS id"
    ).write.parquet(str(tmp_path / "log"))
    config = section(tmp_path / "log", "parquet", columns={"event_time": "t", "id": "id"})
    rows = cleaned(spark, config)
    micros = rows.where("size(_reasons) = 0").select(F.unix_micros("event_time").alias("m"))
    start = int(datetime(2026, 3, 8, 2, 30, tzinfo=UTC).timestamp()) * 1_000_000
    assert sorted(r["m"] for r in micros.collect()) == [start + 1, start + 2]


def test_a_log_may_have_columns_that_are_called_source(spark: SparkSession, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("ts,Source,a.b,c`d\n2026-03-01,newsletter,1,2\n")
    columns = {
        "event_time": "try_to_timestamp(ts)",
        "campaign": "source",
        "file": "source_file",
        "ab": "`a.b`",
        "cd": "`c``d`",
    }
    (row,) = cleaning.events(cleaned(spark, section(path, "csv", columns=columns))).collect()
    assert (row["campaign"], row["ab"], row["cd"]) == ("newsletter", "1", "2")
    assert row["file"].endswith("log.csv")


def test_sources_of_different_columns_have_their_own(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "clicks.dat").write_text("1,2026-03-01,7,0\n1,2026-03-02,8,S\n2,2026-03-02\n")
    (tmp_path / "buys.dat").write_text("1,2026-03-01 01:00:00,7,12,1\n")
    clicks = {
        "path": str(tmp_path / "clicks.dat"),
        "format": "csv",
        "names": ["session", "time", "item", "category"],
        "columns": {"kind": "'click'", "category": "category"},
        "where": "category = '0'",
    }
    buys = {
        "path": str(tmp_path / "buys.dat"),
        "format": "csv",
        "names": ["session", "time", "item", "price", "quantity"],
        "columns": {"kind": "'buy'", "price": "try_cast(price AS double)", "coupon": "null"},
    }
    columns = {"event_time": "try_to_timestamp(time)", "id": "try_cast(item AS bigint)"}
    both = {"sources": {"clicks": clicks, "buys": buys}, "columns": columns}
    config = Cleaning.model_validate(both | {"columns": columns | {"coupon": "CAST(null AS int)"}})
    rows = cleaned(spark, config).persist()
    names = ("kind", "id", "category", "price", "coupon")
    found = {tuple(row[name] for name in names) for row in cleaning.events(rows).collect()}
    assert found == {("click", 7, "0", None, None), ("buy", 7, None, 12.0, None)}
    assert [row["raw"] for row in cleaning.rejected(rows).collect()] == ["2,2026-03-02"]
    counts = cleaning.count_rows(cleaning.read_sources(spark, config))
    assert counts == ({"clicks": 2, "buys": 1}, {"clicks": 1, "buys": 0})

    def refused(**change: Any) -> SourceError:
        with pytest.raises(SourceError) as error:
            cleaned(spark, Cleaning.model_validate(both | change))
        return error.value

    untyped = refused()
    assert untyped.got == "coupon: null"
    assert untyped.fix == "give it a type, such as `coupon: CAST(null AS string)`"
    wrong = refused(columns=columns | {"paid": "price"})
    assert wrong.what == "expressions in the config do not fit the source 'clicks'"
    assert "columns.paid: price" in wrong.got
    wrong = refused(sources={"clicks": clicks | {"columns": {"kind": "knd"}}, "buys": buys})
    assert "sources.clicks.columns.kind: knd" in wrong.got
    wrong = refused(sources={"clicks": clicks | {"where": "nothing = 1"}, "buys": buys})
    assert "sources.clicks.where" in wrong.got
    price = {"columns": {"kind": "'click'", "price": "category"}}
    wrong = refused(sources={"clicks": clicks | price, "buys": buys})
    assert (wrong.what[:43], wrong.got[:5]) == (
        "the sources 'clicks' and 'buys' differ in t",
        "price",
    )


def lookup_section(folder: Path, facts: str, **lookup: Any) -> Cleaning:
    (folder / "items.csv").write_text(facts)
    path = lines(folder / "log.json", doc(LONG), doc(LONG + 1), doc(2), doc(None))
    items = {
        "source": {"path": str(folder / "items.csv"), "format": "csv"},
        "keys": {"id": "try_cast(item AS bigint)"},
        "columns": {"shop": "shop"},
    } | lookup
    return section(path, lookups={"items": items}, reject={"closed": "shop = 'closed'"})


def test_facts_are_joined_to_events_by_exact_keys(spark: SparkSession, tmp_path: Path) -> None:
    facts = f"item,shop\n{LONG},north\n2,closed\n99,south\n,nobody\n,nobody\n"
    rows = cleaned(spark, lookup_section(tmp_path, facts)).persist()
    found = {(r["id"], r["shop"], tuple(r["_reasons"])) for r in rows.collect()}
    assert found == {
        (LONG, "north", ()),
        (LONG + 1, None, ()),
        (2, "closed", ("closed",)),
        (None, None, ()),
    }
    assert rows.count() == 4


def test_what_a_lookup_loses_by_a_conversion_is_counted(
    spark: SparkSession, tmp_path: Path
) -> None:
    facts = 'item,shop\n1,"1,99"\nx2,3\n3,\n'
    config = lookup_section(tmp_path, facts, columns={"listed": "double(shop)", "shop": "shop"})
    assert lookups.lost_facts(spark, config) == {
        "lookups.items.keys.id": "1 value such as 'x2'",
        "lookups.items.columns.listed": "1 value such as '1,99'",
    }
    config = lookup_section(tmp_path, facts, keys={"id": "item"})
    assert lookups.lost_facts(spark, config) == {}


@pytest.mark.parametrize(
    ("facts", "lookup", "parts"),
    [
        ("item,shop\n7,a\n8,b\n7,c\n", {}, ["'items' has duplicate", "2 rows for [7]", "`keys`"]),
        ("item,shop\n7,a\n8\n", {}, ["line that does not parse", "a malformed line in file:"]),
        ("item,shop\n7,a\n", {"keys": {"id": "item"}}, ["id: bigint and string", "try_cast"]),
        (
            "item,shop\n7,a\n",
            {"keys": {"id": "try_cast(itm AS bigint)"}, "columns": {"shop": "shp"}},
            ["lookups.items.keys.id", "itm", "lookups.items.columns.shop", "shp"],
        ),
        ("item,shop\n7,a\n", {"keys": {"nothing": "item"}}, ["lookups.items.keys.nothing"]),
        (
            "item,shop\n7,a\n",
            {"keys": {"id": "monotonically_increasing_id()"}},
            ["lookup 'items'", "lookups.items.keys.id: monotonically_", "line_number"],
        ),
        (
            "item,shop\n7,a\n",
            {"source": {"path": "/nowhere/items.csv", "format": "csv"}},
            ["cleaning.lookups.items.source", "/nowhere/items.csv"],
        ),
    ],
    ids=["doubled", "broken", "type", "columns", "event column", "numbered", "missing"],
)
def test_a_lookup_that_would_spoil_events_is_refused(
    spark: SparkSession, tmp_path: Path, facts: str, lookup: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(SourceError) as error:
        cleaned(spark, lookup_section(tmp_path, facts, **lookup))
    for part in parts:
        assert part in str(error.value)


SOURCE = {"path": "x", "format": "csv"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"columns": {"id": "id"}}, "event_time"),
        ({"columns": COLUMNS | {"ID": "id"}}, r"\['ID', 'id'\] are defined twice"),
        ({"columns": COLUMNS | {"run_id": "id"}}, "run_id"),
        ({"columns": COLUMNS | {"_raw": "id"}}, "_raw"),
        (
            {"lookups": {"a": {"source": SOURCE, "keys": {"id": "i"}, "columns": {"kind": "k"}}}},
            r"\['kind'\] are defined twice",
        ),
        ({"not_before": "soon"}, "not_before"),
        ({"not_after": "2026-02-30"}, "not_after"),
        ({"sources": {}}, "sources"),
        ({"sources": {"a b": SOURCE}}, "pattern"),
        ({"sources": {"a": SOURCE | {"options": {"MODE": "DROPMALFORMED"}}}}, "no line is lost"),
        ({"sources": {"a": SOURCE | {"format": "parquet", "options": {"sep": ";"}}}}, "for csv"),
        ({"max_rejected": 1.1}, "max_rejected"),
        (
            {"sources": {"a": SOURCE | {"columns": {"ID": "id"}}}},
            r"\['ID', 'id'\] are defined twice",
        ),
        ({"columns": {}, "sources": {"a": SOURCE}}, r"the sources \['a'\]"),
        ({"sources": {"a": SOURCE | {"names": ["a"], "options": {"Header": "true"}}}}, "a header"),
        ({"sources": {"a": SOURCE | {"format": "delta", "compression": "gzip"}}}, "csv and json"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_a_section_that_cannot_work_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Cleaning.model_validate({"sources": {"log": SOURCE}, "columns": COLUMNS} | change)


@pytest.mark.parametrize(
    "limit", ["20260302", "2026-W10-1", "20260302T000000Z", "2026-03-02T01:00+01:00"]
)
def test_a_limit_of_time_holds_however_it_is_written(spark: SparkSession, limit: str) -> None:
    limited = section("raw", not_before=limit, not_after=limit, columns={"event_time": "t"})
    times = ["2026-03-01 23:59:59", "2026-03-02", "2026-03-02 00:00:01"]
    rows = spark.createDataFrame([(t,) for t in times], "t string").select(
        F.col("t").cast("timestamp").alias("event_time"),
        F.lit("raw").alias("_raw"),
        F.lit(False).alias("_malformed"),
    )
    found = reasons.with_reasons(rows, limited).orderBy("event_time").collect()
    late = ["out_of_range:event_time"]
    assert [row["_reasons"] for row in found] == [late, [], late]


@pytest.mark.parametrize("part", [Source, Lookup, Duplicates, Cleaning])
def test_no_key_means_something_else_in_yaml(part: type[Section]) -> None:
    for name in part.model_fields:  # `on`, `no` and `y` are truth values there
        assert OmegaConf.to_container(OmegaConf.create(f"{name}: 1")) == {name: 1}


@pytest.mark.parametrize(
    ("raw", "total", "bad", "limit", "said"),
    [
        ({"a": 1, "b": 0}, 1, 0, 1.0, r"\['b'\] have no rows"),
        ({"a": 5}, 4, 0, 1.0, "5 rows: events"),
        ({"a": 5}, 6, 0, 1.0, "5 rows: events"),
        ({"a": 60, "b": 40}, 100, 30, 0.29, r"(?s)30\.0%.*29\.0%.*malformed: 30"),
        ({"a": 1}, 1, 1, 0.0, "100.0%"),
    ],
)
def test_counts_that_do_not_add_up_are_refused(
    raw: dict[str, int], total: int, bad: int, limit: float, said: str
) -> None:
    with pytest.raises(SourceError, match=said):
        reasons.check_counts(raw, total, bad, {"malformed": bad}, limit)


def test_just_as_many_rejected_as_allowed_pass() -> None:
    for percent in range(101):
        reasons.check_counts({"a": 100}, 100, percent, {}, percent / 100)


raw_row = st.one_of(
    st.builds(
        doc,
        st.sampled_from([None, 1, 2, BIG, BIG + 1]),
        kind=st.sampled_from([None, "buy", "view"]),
        price=st.sampled_from([None, "1", "2", "NaN", "-1"]),
        ts=st.sampled_from([None, "2026-03-01", "2026-03-02 01:00:00", "32 May"]),
    ).map(json.dumps),
    st.sampled_from(['{"id": 1', "[]", "caf\u00e9", '{"id": 1.5}', "{}"]),
)
fresh = itertools.count()


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from("ab"), raw_row), min_size=1, max_size=40), st.randoms())
def test_any_rows_reconcile_whatever_their_order_and_partitions(
    spark: SparkSession,
    tmp_path: Path,
    rows: list[tuple[str, str]],
    chance: random.Random,
) -> None:
    rule = {"exact": True, "keys": ["id"], "prefer": "price"}
    rules = RULES | {"duplicates": rule, "ranges": {"price": [0.0, 10.0]}, "not_after": None}
    results = []
    for parts in (2, 8):
        folder = tmp_path / str(next(fresh))
        folder.mkdir()
        for name in {file for file, _ in rows}:
            lines(folder / f"{name}.json", *[text for file, text in rows if file == name])
        results.append(_cut(spark, section(folder, **rules), parts))
        rows = chance.sample(rows, len(rows))
    first, second = (
        Counter((r["_source_file"][-6:], r["_raw"], tuple(r["_reasons"])) for r in result)
        for result in results
    )
    assert first == second
    assert Counter((r["_source_file"][-6], r["_raw"]) for r in results[0]) == Counter(rows)
    kept = [r for r in results[0] if not r["_reasons"]]
    keys = [r["id"] for r in kept]
    assert len(set(keys)) == len(keys)
    # A key is lost only when each row that has it is at fault by itself.
    sound = {
        r["id"] for r in results[0] if all(why.startswith("duplicate") for why in r["_reasons"])
    }
    assert set(keys) == sound
    for row in kept:
        rivals = [
            r["price"]
            for r in results[0]
            if r["id"] == row["id"] and r["_reasons"] in (["duplicate"], ["duplicate_key"])
        ]
        assert all(p is None or (row["price"] is not None and row["price"] <= p) for p in rivals)


def _cut(spark: SparkSession, config: Cleaning, parts: int) -> list[Row]:
    """The cleaned rows, computed in this many partitions."""
    before = str(spark.conf.get("spark.sql.shuffle.partitions"))
    spark.conf.set("spark.sql.shuffle.partitions", str(parts))
    try:
        raw = cleaning.mapped(cleaning.read_sources(spark, config), config).repartition(parts)
        rows = raw.transform(reasons.with_reasons, config)
        return rows.transform(reasons.with_duplicates, config).collect()
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", before)
