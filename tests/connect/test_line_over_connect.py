"""The tiny line over Spark Connect leaves what it leaves in a classic session."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import Undisturbed, assert_same_tables, finish, start, tables

pytestmark = [
    pytest.mark.connect,
    pytest.mark.timeout(900),
    pytest.mark.skipif(find_spec("grpc") is None, reason="needs grpcio: make test-connect"),
]


def test_a_line_over_connect_has_the_tables_of_a_classic_session(
    spark: SparkSession, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    root = tmp_path / "line"
    assert "[8/8] report" in finish(start(root, spark={"spark.remote": "local[2]"}))
    assert_same_tables(tables(spark, root), undisturbed.tables)
