"""What tells that raw logs have changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.clean_logs.section import Source
from reweight.clean_logs.sources import version
from reweight.core.errors import SourceError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    folder = tmp_path / "log"
    for day in ("day=1", "day=2"):
        (folder / day).mkdir(parents=True)
        (folder / day / "a.csv").write_text("id\n1\n")
    return folder


def of(spark: SparkSession, **source: object) -> str | None:
    return version(spark, "sources.log", Source.model_validate(source))


def added(log: Path) -> None:
    (log / "day=2" / "b.csv").write_text("id\n2\n")


def grown(log: Path) -> None:
    path = log / "day=2" / "a.csv"
    time = path.stat().st_mtime_ns
    path.write_text("id\n1\n2\n")
    os.utime(path, ns=(time, time))


def touched(log: Path) -> None:
    os.utime(log / "day=2" / "a.csv", ns=(0, 0))


def renamed(log: Path) -> None:
    (log / "day=2").rename(log / "day=3")


def removed(log: Path) -> None:
    (log / "day=2" / "a.csv").unlink()


@pytest.mark.parametrize("change", [added, grown, touched, renamed, removed])
@pytest.mark.parametrize("glob", ["", "*/*.csv"])
def test_files_have_a_version_that_every_change_changes(
    spark: SparkSession, log: Path, change: Callable[[Path], None], glob: str
) -> None:
    source = {"path": str(log / glob), "format": "csv", "options": {"sep": ";"}}
    before = of(spark, **source)
    assert before is not None
    assert before.startswith("2 files, 10 bytes, ")
    assert of(spark, **source) == before
    change(log)
    assert of(spark, **source) != before


def test_files_that_a_reader_passes_over_do_not_count(spark: SparkSession, log: Path) -> None:
    before = of(spark, path=str(log), format="csv")
    (log / "_SUCCESS").touch()
    (log / "day=1" / ".hidden").touch()
    assert of(spark, path=str(log), format="csv") == before
    (log / "day=1" / "b.txt").touch()
    only = {"pathGlobFilter": "*.csv"}
    assert of(spark, path=str(log), format="csv", options=only) == before


def test_an_empty_folder_has_a_version_and_none_has_not(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir()
    assert of(spark, path=str(tmp_path / "log"), format="json") == f"0 files, 0 bytes, {0:016x}"
    with pytest.raises(SourceError, match=r"cleaning\.sources\.log cannot be read"):
        of(spark, path=str(tmp_path / "nowhere"), format="json")


def test_a_delta_table_has_the_version_of_its_newest_commit(
    spark: SparkSession, tmp_path: Path
) -> None:
    path, rows = str(tmp_path / "log"), spark.range(3)
    rows.write.format("delta").save(path)
    versions = [of(spark, path=path, format="delta")]
    rows.write.format("delta").mode("append").save(path)
    versions.append(of(spark, path=path, format="delta"))
    assert of(spark, path=path, format="delta") == versions[1]
    assert [str(v).partition(" of ")[0] for v in versions] == ["0", "1"]


def test_a_table_has_a_version_if_it_is_of_delta(spark: SparkSession) -> None:
    rows = spark.range(3)
    try:
        rows.write.format("delta").saveAsTable("versioned")
        rows.write.format("parquet").saveAsTable("unversioned")
        rows.createOrReplaceTempView("viewed")
        assert str(of(spark, table="versioned")).startswith("0 of ")
        assert of(spark, table="unversioned") is None
        assert of(spark, table="viewed") is None
    finally:
        spark.sql("DROP TABLE IF EXISTS versioned")
        spark.sql("DROP TABLE IF EXISTS unversioned")
