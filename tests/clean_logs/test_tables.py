"""Parquet: parts of different schemas, types that Spark lacks, names and folders."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import Row, SparkSession

from reweight.clean_logs.section import Source
from reweight.clean_logs.sources import read
from reweight.core.errors import SourceError


def rows(spark: SparkSession, path: Path) -> list[Row]:
    source = Source.model_validate({"path": str(path), "format": "parquet"})
    return read(spark, "log", "sources.log", source).rows.collect()


def put(path: Path, **columns: pa.Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_parts_are_merged_where_a_type_holds_the_values_of_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    nothing = pa.array([None], pa.null())
    put(
        tmp_path / "shop=007" / "a.parquet",
        id=pa.array([1], pa.int32()),
        coupon=nothing,
        price=pa.array([0.5], pa.float32()),
    )
    put(
        tmp_path / "shop=010" / "b.parquet",
        id=pa.array([2**40], pa.int64()),
        coupon=pa.array(["X1"]),
        price=pa.array([0.25], pa.float64()),
        more=pa.array(["y"]),
    )
    found = {
        (r["id"], r["coupon"], r["price"], r["more"], r["shop"]) for r in rows(spark, tmp_path)
    }
    assert found == {(1, None, 0.5, None, "007"), (2**40, "X1", 0.25, "y", "010")}
    put(tmp_path / "shop=010" / "c.parquet", id=pa.array([1.5]))
    with pytest.raises(SourceError, match="differ in the type of the column 'id'") as error:
        rows(spark, tmp_path)
    assert "double in file:" in error.value.got
    assert "c.parquet" in error.value.got


def test_nanoseconds_are_named_with_the_setting_that_reads_them(
    spark: SparkSession, tmp_path: Path
) -> None:
    put(tmp_path / "log.parquet", ts=pa.array([1_709_287_200 * 10**9], pa.timestamp("ns", "UTC")))
    with pytest.raises(SourceError, match="nanoseconds") as error:
        rows(spark, tmp_path / "log.parquet")
    setting = "spark.sql.legacy.parquet.nanosAsLong"
    assert f"`spark: {{{setting}: 'true'}}`" in error.value.fix
    spark.conf.set(setting, "true")
    try:
        (row,) = rows(spark, tmp_path / "log.parquet")
    finally:
        spark.conf.unset(setting)
    assert row["ts"] == 1_709_287_200 * 10**9


def test_a_log_may_have_a_column_of_any_name(spark: SparkSession, tmp_path: Path) -> None:
    put(tmp_path / "log.parquet", _metadata=pa.array(["x"]))
    (row,) = rows(spark, tmp_path / "log.parquet")
    assert (row["_metadata"], row["_source_file"]) == ("x", f"file:{tmp_path}/log.parquet")


def test_a_folder_does_not_replace_a_column_of_its_files(
    spark: SparkSession, tmp_path: Path
) -> None:
    times = pa.array([1_709_287_872 * 10**6], pa.timestamp("us", "UTC"))
    put(tmp_path / "date=2024-03-01" / "a.parquet", id=pa.array([1]))
    put(tmp_path / "date=2024-03-02" / "b.parquet", id=pa.array([2]), Date=times)
    with pytest.raises(SourceError, match="columns of one name") as error:
        rows(spark, tmp_path)
    assert error.value.got == "['date']"
    assert f"{tmp_path}/*/*.parquet" in error.value.fix
    found = {(r["id"], r["Date"]) for r in rows(spark, tmp_path / "*" / "*.parquet")}
    assert found == {(1, None), (2, datetime(2024, 3, 1, 10, 11, 12))}
