"""Which Spark session a job gets, and what it is like."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.session import SEMANTICS, spark_session

NO_DELTA = """
from pathlib import Path
from pyspark.sql import SparkSession
from reweight.errors import SetupError
from reweight.session import spark_session

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
try:
    spark_session(Path("spark.log"))
except SetupError as error:
    print(error)
spark.stop()
"""

STARTED = """
from pathlib import Path
from reweight.session import spark_session

settings = {"spark.master": "local[1]", "spark.sql.shuffle.partitions": "3"}
spark = spark_session(Path("logs") / "spark.log", settings)
spark.range(3).write.format("delta").save("table")
print(spark.conf.get("spark.sql.shuffle.partitions"), spark.sparkContext.master)
print(spark.read.format("delta").load("table").count(), "rows")
spark.stop()
"""


def run_alone(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, away from the defaults of this environment's Spark."""
    settings = folder / "settings"
    settings.mkdir()
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | {"SPARK_CONF_DIR": str(settings), "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def other_settings(spark: SparkSession) -> Iterator[dict[str, str]]:
    other = {
        "spark.sql.ansi.enabled": "true",
        "spark.sql.legacy.timeParserPolicy": "EXCEPTION",
        "spark.sql.session.timeZone": "Asia/Tokyo",
    }
    for key, value in other.items():
        spark.conf.set(key, value)
    yield other
    for key, value in SEMANTICS.items():
        spark.conf.set(key, value)


def test_a_session_that_is_there_is_used_and_speaks_our_semantics(
    spark: SparkSession, other_settings: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "spark.log"
    found = spark_session(log, {"spark.sql.shuffle.partitions": "77"})
    assert found is spark
    assert found.conf.get("spark.sql.shuffle.partitions") != "77"
    assert not log.exists()
    assert set(other_settings) == set(SEMANTICS)
    row = found.sql(
        "SELECT cast('x' AS int) AS number, to_date('2026-13-45') AS day, "
        "unix_seconds(cast('2026-01-01 00:00:00' AS timestamp)) AS midnight"
    ).first()
    assert row is not None
    assert row.asDict() == {"number": None, "day": None, "midnight": 1_767_225_600}


def test_a_session_without_delta_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = run_alone(NO_DELTA, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "started without Delta Lake" in done.stdout
    assert "--properties-file conf/spark/local.conf" in done.stdout


def test_a_session_that_is_started_here_has_delta_and_keeps_the_console_clean(
    tmp_path: Path,
) -> None:
    done = run_alone(STARTED, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines() == ["3 local[1]", "3 rows"]
    assert done.stderr == ""
    assert "WARN" in (tmp_path / "logs" / "spark.log").read_text()
