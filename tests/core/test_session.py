"""Which Spark session a job gets, and what it is like."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from reweight.core.session import DELTA, FEW, LOCAL, SEMANTICS, planned_for, spark_session

pytestmark = pytest.mark.usefixtures("starts_processes")

NO_DELTA = """
from pathlib import Path
from pyspark.sql import SparkSession
from reweight.core.errors import SetupError
from reweight.core.session import spark_session

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
try:
    spark_session(Path("spark.log"))
except SetupError as error:
    print(error)
spark.stop()
"""

STARTED = """
from pathlib import Path
from reweight.core.session import spark_session

settings = {"spark.master": "local[1]", "spark.sql.shuffle.partitions": "3"}
spark = spark_session(Path("logs") / "spark.log", settings)
spark.range(3).write.format("delta").save("table")
print(spark.conf.get("spark.sql.shuffle.partitions"), spark.sparkContext.master)
print(spark.read.format("delta").load("table").count(), "rows")
spark.stop()
"""


def run_alone(script: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own, away from the defaults of this environment's Spark."""
    settings = folder / "settings"
    settings.mkdir()
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
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
        "spark.sql.sources.partitionColumnTypeInference.enabled": "true",
        "spark.sql.legacy.javaCharsets": "false",
        "spark.sql.legacy.codingErrorAction": "false",
        "spark.databricks.delta.history.metricsEnabled": "false",
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


@pytest.mark.parametrize("name", ["local", "standalone", "yarn", "kubernetes"])
def test_what_a_job_is_submitted_with_is_what_it_starts_with_by_itself(name: str) -> None:
    folder = Path(__file__).parents[2] / "conf" / "spark"
    lines = (folder / f"{name}.conf").read_text().splitlines()
    said = dict(line.split(maxsplit=1) for line in lines if line.strip() and line[0] != "#")
    assert (SEMANTICS | DELTA).items() <= said.items()
    warnings = "spark.executorEnv.PYTHONWARNINGS"
    assert said[warnings] == LOCAL[warnings]
    assert said["spark.jars.packages"].startswith("io.delta:delta-spark_")
    if name != "local":
        # Ranks start together, on a Python that workers find.
        assert said["spark.dynamicAllocation.enabled"] == "false"
        assert "environment/bin/python" in said["spark.pyspark.python"]
        assert not {"spark.submit.pyFiles", "spark.files"} & said.keys()


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


# As a notebook or a job on Databricks finds it: a session with Delta is there and has settings of
# its own, of which `spark.sql.warehouse.dir` cannot be changed while it runs.
GIVEN = """
import json, os, sys
from delta import configure_spark_with_delta_pip
from pyspark.sql import SparkSession

own = json.loads(sys.argv[1])
builder = SparkSession.builder.appName("of the notebook")
for key, value in own.items():
    builder = builder.config(key, value)
spark = configure_spark_with_delta_pip(builder).getOrCreate()
if sys.argv[2]:
    os.environ["DATABRICKS_RUNTIME_VERSION"] = sys.argv[2]

seen = {}

def stage(run):
    \"\"\"Looks at the session.\"\"\"
    seen.update(same=run.spark is spark, ansi=run.spark.conf.get("spark.sql.ansi.enabled"))
    return {}

from reweight.runner.job import run_job

before = dict(spark.sparkContext.getConf().getAll())
status = run_job(stage, argv=sys.argv[3:])
kept = {key: spark.conf.get(key) for key in own}
print(json.dumps({
    "status": status, "seen": seen, "kept": kept,
    "unchanged": dict(spark.sparkContext.getConf().getAll()) == before,
    "alive": spark.range(3).count(),
    "log": os.path.exists("out/runs/given/spark.log"),
    "left": sorted(name for name in os.listdir() if name in ("metastore_db", "derby.log")),
}))
spark.stop()
"""


@pytest.mark.parametrize("runtime", ["", "15.4"], ids=["a notebook", "Databricks"])
def test_a_job_leaves_a_session_that_is_given_as_it_was(tmp_path: Path, runtime: str) -> None:
    # Databricks has Delta in its runtime, and none of these two settings.
    own = {} if runtime else DELTA
    own = own | {
        "spark.master": "local[1]",
        "spark.ui.enabled": "false",
        "spark.sql.warehouse.dir": f"file:{tmp_path}/warehouse",
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "Asia/Tokyo",
        "spark.sql.shuffle.partitions": "3",
    }
    demo = str(Path(__file__).parents[1] / "shop.yaml")
    wanted = "spark={spark.master: 'local[2]', spark.sql.shuffle.partitions: '77'}"
    config = (demo, "run_id=given", "root=out", wanted)
    done = run_alone(GIVEN, tmp_path, json.dumps(own), runtime, *config)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "status": 0,
        "seen": {"same": True, "ansi": "false"},
        "kept": own,
        "unchanged": True,
        "alive": 3,
        "log": False,
        "left": [],
    }


def test_settings_for_few_rows_are_those_of_the_block_alone(spark: SparkSession) -> None:
    key, own = "spark.sql.adaptive.enabled", "spark.sql.codegen.wholeStage"
    before = spark.conf.get(own)
    spark.conf.set(key, "true")
    spark.conf.unset(own)
    try:
        with planned_for(spark, FEW + 1):
            assert spark.conf.get(key) == "true"
        with planned_for(spark, FEW):
            assert spark.conf.get(key) == spark.conf.get(own) == "false"
        assert spark.conf.get(key) == spark.conf.get(own) == "true"
    finally:
        spark.conf.set(key, "false")
        spark.conf.set(own, before)
