"""A line that nobody disturbed, to compare with."""

import time
from collections.abc import Iterator
from pathlib import Path

import pyspark
import pytest
from lines import Undisturbed, finish, start, tables
from pyspark.sql import SparkSession


@pytest.fixture(scope="session")
def undisturbed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = tmp_path_factory.mktemp("undisturbed") / "root"
    begin = time.monotonic()
    finish(start(root))
    return Undisturbed(root, time.monotonic() - begin, tables(spark, root))


@pytest.fixture
def spark_home(tmp_path: Path) -> Iterator[Path]:
    """The Spark under test in a folder of its own: local-cluster writes into its `work`."""
    home = tmp_path / "spark-home"
    home.mkdir()
    for entry in Path(pyspark.__file__).parent.iterdir():
        if entry.name not in ("work", "conf"):
            (home / entry.name).symlink_to(entry)
    yield home
