"""A line that nobody disturbed, to compare with."""

import time

import pytest
from lines import Undisturbed, finish, start, tables
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def undisturbed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    begin = time.monotonic()
    said = finish(start(root))
    return Undisturbed(root, time.monotonic() - begin, said, tables(spark, root))
