"""Which files are read under a path, by whatever names, and what is said about the others."""

import bz2
import gzip
import zipfile
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.clean_logs.section import Source
from reweight.clean_logs.sources import Read, read, version
from reweight.core.errors import SourceError


def of(spark: SparkSession, path: Path, **rest: object) -> Read:
    source = Source.model_validate({"path": str(path), "format": "csv"} | rest)
    return read(spark, "log", "sources.log", source)


def ids(found: Read) -> list[str]:
    return sorted(row["id"] for row in found.rows.where("_left_out IS NULL").collect())


def names(found: Read) -> list[str]:
    return [file.rpartition("/")[2] for file in found.passed_over]


def put(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"id\n{number}\n")
    return path


def test_files_that_spark_passes_over_are_known_by_name(
    spark: SparkSession, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    for number, name in enumerate(["a.csv", "_b.csv", ".c.csv", "below/d.csv", "_e/f.csv"]):
        put(log / name, number)
    (log / "_SUCCESS").touch()
    found = of(spark, log)
    assert ids(found) == ["0"]
    assert names(found) == [".c.csv", "_b.csv", "f.csv", "d.csv"]
    found = of(spark, log / "*.csv")
    assert (ids(found), names(found)) == (["0"], [".c.csv", "_b.csv"])
    found = of(spark, log, options={"recursiveFileLookup": "true"})
    assert (ids(found), names(found)) == (["0", "3"], [".c.csv", "_b.csv", "f.csv"])
    found = of(spark, log / "_e")  # a folder that is given is read as any other
    assert (ids(found), names(found)) == (["4"], [])


@pytest.mark.parametrize(
    "name",
    ["_b.csv", ".c.csv", "a[1].csv", "a{b}.csv", "12:30.csv", "_a b[1]:x%.csv"],
)
def test_a_path_that_is_given_is_read(spark: SparkSession, tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "log" / name, 7)
    put(tmp_path / "log" / "a1.csv", 8)
    found = of(spark, path)
    assert (ids(found), names(found)) == (["7"], [])
    (row,) = found.rows.where("_left_out IS NULL").select("_source_file").distinct().collect()
    assert row["_source_file"].startswith(f"file:{tmp_path}/log/")
    assert "viewfs" not in row["_source_file"]
    source = Source.model_validate({"path": str(path), "format": "csv"})
    assert str(version(spark, "sources.log", source)).startswith("1 files, 5 bytes")


def test_a_folder_may_have_files_with_a_colon(spark: SparkSession, tmp_path: Path) -> None:
    put(tmp_path / "log" / "12:30.csv", 1)
    put(tmp_path / "log" / "12:40.csv", 2)
    assert ids(of(spark, tmp_path / "log")) == ["1", "2"]


def test_packed_files_are_read_by_their_names_or_by_what_the_source_says(
    spark: SparkSession, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    for day in ("1", "2"):
        (log / f"day=0{day}").mkdir(parents=True)
        packed = gzip.compress(f"id\n{day}\n".encode())
        (log / f"day=0{day}" / "part").write_bytes(packed)
    with pytest.raises(SourceError) as error:
        of(spark, log)
    assert error.value.got.startswith("gzip: ")
    assert "`compression: gzip` to cleaning.sources.log" in error.value.fix
    found = of(spark, log, compression="gzip")
    rows = found.rows.where("_left_out IS NULL").collect()
    seen = sorted((r["id"], r["day"], r["_source_file"]) for r in rows)
    assert seen == [(d, f"0{d}", f"file:{log}/day=0{d}/part") for d in ("1", "2")]
    assert found.passed_over == []
    alone = tmp_path / "alone"
    alone.write_bytes(bz2.compress(b'{"id": "3"}\n'))
    assert ids(of(spark, alone, format="json", schema="id string", compression="bzip2")) == ["3"]


def test_what_is_not_text_is_named(spark: SparkSession, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.csv.zip", "w") as archive:
        archive.writestr("log.csv", "id\n1\n")
    spark.range(1).coalesce(1).write.parquet(str(tmp_path / "log"))
    (parquet,) = (tmp_path / "log").glob("*.parquet")
    kinds = {tmp_path / "log.csv.zip": ("a zip", "unpack"), parquet: ("Parquet", "format to par")}
    for path, (kind, fix) in kinds.items():
        for form, schema in (("csv", None), ("json", "id string")):
            with pytest.raises(SourceError, match="is not text") as error:
                of(spark, path, format=form, schema=schema)
            assert error.value.got.startswith(kind)
            assert path.name in error.value.got
            assert fix in error.value.fix
