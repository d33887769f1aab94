"""Facts without a key: a row belongs to the item of its line's number, however the file is cut."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from reweight.clean_logs.lookups import with_lookups
from reweight.clean_logs.section import Cleaning, Lookup
from reweight.core.errors import SourceError

ITEMS = 120
BARE = {"header": "false"}


def lookup(path: Path | str, **rest: Any) -> dict[str, Any]:
    source = {"path": str(path), "format": "csv", "options": rest.pop("options", BARE)}
    return {
        "source": source | rest.pop("source", {}),
        "keys": {"item": "line - 1"},
        "columns": {"fact": "_c0"},
        "line_number": "line",
    } | rest


def joined(spark: SparkSession, facts: dict[str, Any], items: int = ITEMS) -> dict[int, str]:
    cleaning = Cleaning.model_validate(
        {
            "sources": {"log": {"path": "log.csv", "format": "csv"}},
            "columns": {"event_time": "ts", "item": "item"},
            "lookups": {"facts": facts},
        }
    )
    rows = spark.range(items).withColumnRenamed("id", "item")
    return {row["item"]: row["fact"] for row in with_lookups(rows, spark, cleaning).collect()}


@pytest.fixture
def small_blocks(spark: SparkSession) -> Iterator[None]:
    """Files are read in blocks of 256 bytes, several of them in one task."""
    settings = {"maxPartitionBytes": "256", "openCostInBytes": "0", "minPartitionNum": "3"}
    before = {key: spark.conf.get(f"spark.sql.files.{key}", None) for key in settings}
    for key, value in settings.items():
        spark.conf.set(f"spark.sql.files.{key}", value)
    yield
    for key, old in before.items():
        name = f"spark.sql.files.{key}"
        spark.conf.unset(name) if old is None else spark.conf.set(name, old)


@pytest.mark.usefixtures("small_blocks")
def test_facts_are_joined_by_the_number_of_their_line(spark: SparkSession, tmp_path: Path) -> None:
    wanted = {item: f"fact of {item}" + "." * (item % 37) for item in range(ITEMS)}
    text = "\n".join(wanted.values()) + "\n"
    (tmp_path / "bare.csv").write_text(text)
    (tmp_path / "headed.csv").write_text(f"fact\n{text}\n\n")
    (tmp_path / "bare.csv.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "facts.json").write_text("\n".join(f'{{"fact": "{f}"}}' for f in wanted.values()))
    blocks = spark.read.text(str(tmp_path / "bare.csv")).rdd.getNumPartitions()
    assert blocks > 10
    assert joined(spark, lookup(tmp_path / "bare.csv")) == wanted
    assert joined(spark, lookup(tmp_path / "bare.csv.gz")) == wanted
    named = {"columns": {"fact": "fact"}}
    assert joined(spark, lookup(tmp_path / "headed.csv", options={}, **named)) == wanted
    json = {"format": "json", "schema": "fact string"}
    assert (
        joined(spark, lookup(tmp_path / "facts.json", source=json, options={}, **named)) == wanted
    )


def test_lines_that_are_no_rows_would_shift_the_numbers(
    spark: SparkSession, tmp_path: Path
) -> None:
    path = tmp_path / "facts.csv"

    def refused(text: str, **rest: Any) -> str:
        path.write_text(text)
        with pytest.raises(SourceError) as error:
            joined(spark, lookup(path, **rest), 3)
        return str(error.value)

    said = refused("a\n\nb\n")
    assert f"1 blank lines in {path}" in said
    assert "a row for each line" in said
    assert "cleaning.lookups.facts.line_number" in said
    assert "2 rows of 3 lines" in refused("# a\na\nb\n", options=BARE | {"comment": "#"})
    said = refused("line,b\n1,x\n", options={}, columns={"fact": "b"})
    assert "['line']" in said
    assert "line_number, such as line_number" in said
    (tmp_path / "more.csv").write_text("c\n")
    path.write_text("a\nb\n")
    with pytest.raises(SourceError, match=r"2 files at .*; make one file|no order") as error:
        joined(spark, lookup(tmp_path), 3)
    assert f"2 files at {tmp_path}" in str(error.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"source": {"format": "parquet", "options": {}}},
            "rows of a parquet source have no order",
        ),
        ({"source": {"explode": "split(_c0, ' ')"}}, "several rows a line"),
        ({"keys": {"item": "_c0"}}, r"write keys: \{item: line\}, or \{item: line - 1\}"),
        ({"line_number": "the line"}, "line_number"),
    ],
)
def test_line_numbers_that_mean_nothing_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Lookup.model_validate(lookup("facts.csv", **change))
