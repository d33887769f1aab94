"""Files and tables as both kinds of session see them."""

from pathlib import Path

import pytest
from clients import client
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql.types import StringType, StructField, StructType

from reweight.core import spark_files


def test_a_client_lists_the_files_that_hadoop_lists(spark: SparkSession, tmp_path: Path) -> None:
    for name in ("a/x 1.csv", "a/_hidden.csv", "b/day=1/y.csv", "b/.z.csv", "c/[1].csv"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("PAR1 and more")
    paths = ["", "/a", "/a/x 1.csv", "/c/[1].csv", "/*/x*.csv", "/{a,b}", "/none", "/b/day=*"]
    for path in paths:
        for scheme in ("", "file:"):
            place = f"{scheme}{tmp_path}{path}"
            by_hadoop = spark_files.listed(spark, place)
            here = spark_files.listed(client(), place)
            assert here.exists == by_hadoop.exists, place
            assert sorted(here.roots) == sorted(by_hadoop.roots), place
            assert sorted(here.under) == sorted(by_hadoop.under), place
    file = f"file:{tmp_path}/a/x 1.csv"
    assert spark_files.first_bytes(client(), file, 4) == b"PAR1"
    assert spark_files.first_bytes(spark, file, 4) == b"PAR1"


def test_a_client_lists_what_only_the_server_sees(spark: SparkSession, tmp_path: Path) -> None:
    spark.range(4, numPartitions=2).write.csv(str(tmp_path / "log"))
    found = spark_files._listed_by_reader(spark, str(tmp_path / "log"))
    assert (found.exists, found.roots) == (True, [(str(tmp_path / "log"), True)])
    assert len(found.under) == 2
    one = spark_files._listed_by_reader(spark, found.under[0])
    assert (one.exists, one.roots) == (True, [(found.under[0], False)])
    assert not spark_files._listed_by_reader(spark, str(tmp_path / "none")).under


def test_folders_are_copied_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    spark_files.upload(client(), tmp_path / "model", str(tmp_path / "saved" / "model"))
    spark_files.download(client(), f"file:{tmp_path}/saved/model", tmp_path / "back")
    assert (tmp_path / "back" / "model.json").read_text() == "{}"


@pytest.mark.parametrize("commit", [False, True])
def test_only_a_log_without_a_commit_is_dropped(tmp_path: Path, commit: bool) -> None:
    log = tmp_path / "table" / "_delta_log"
    log.mkdir(parents=True)
    (log / ("00000000000000000000.json" if commit else ".tmp")).touch()
    spark_files.drop_empty_log(client(), str(tmp_path / "table"))
    assert log.exists() == commit


def test_a_client_makes_no_table_around_other_files(tmp_path: Path) -> None:
    session, columns = client(), StructType([StructField("run_id", StringType())])
    spark_files.make_delta(session, str(tmp_path / "table"), columns, {})
    assert session.tags == ["CREATE"]  # type: ignore[attr-defined]
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(PySparkException, match="NON_EMPTY_LOCATION"):
        spark_files.make_delta(session, str(tmp_path), columns, {})
