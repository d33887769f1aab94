"""The jobs as a user starts them: in processes of their own."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipelines import DELTA_PACKAGE, ROOT, TINY
from reweight.core.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("starts_processes")

JOBS = sorted(path.name for path in (ROOT / "jobs").glob("*.py"))


def _ran(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_short_and_explains_itself(job: str) -> None:
    source = (ROOT / "jobs" / job).read_text()
    assert len(source.splitlines()) <= 40
    assert source.startswith('"""')
    compile(source, job, "exec")


def test_help_names_the_stages_and_the_arguments() -> None:
    done = _ran(sys.executable, "-X", "importtime", "jobs/pipeline.py", "--help")
    assert done.returncode == 0
    for word in ("clean_logs", "train_ranker", "config", "overrides"):
        assert word in done.stdout
    # Every job and every rank would wait seconds for these.
    for package in ("scipy.stats", "sklearn", "matplotlib"):
        assert f" {package}\n" not in done.stderr


def test_wrong_values_are_named_together_before_spark_starts() -> None:
    done = _ran(
        sys.executable,
        "jobs/clean_logs.py",
        "tests/shop.yaml",
        "fitting.ranks=0",
        "clening=1",
    )
    assert done.returncode == 2
    assert "fitting.ranks" in done.stderr
    assert "clening" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "openjdk-17-jre-headless"),
        # It names no jars, as the attempt before did.
        ({"JAVA_HOME": "/nowhere"}, "Spark did not start"),
        # A client of a server needs no Java.
        ({"SPARK_REMOTE": "sc://nowhere:1"}, "pip install 'reweight[connect]'"),
    ],
    ids=["no Java", "a wrong folder", "a client"],
)
def test_without_java_the_message_says_what_to_install(
    more: dict[str, str], said: str, tmp_path: Path
) -> None:
    if "SPARK_REMOTE" in more and find_spec("grpc"):
        pytest.skip("the packages of a client are here")
    folder, log = tmp_path / "bin", RunFolder.of(tmp_path / "run", "demo").spark_log
    folder.mkdir()
    log.parent.mkdir(parents=True)
    log.write_text("unresolved dependency\n")
    environment = {k: v for k, v in os.environ.items() if k != "JAVA_HOME"} | {"PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "jobs/clean_logs.py", "tests/shop.yaml", f"root={tmp_path}/run"],
        cwd=ROOT,
        env=environment | more,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize("given", [False, True], ids=["none", "given"])
def test_without_a_network_the_jars_have_to_be_given(given: bool, tmp_path: Path) -> None:
    nowhere = "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9 -Dhttps.proxyHost=127.0.0.1"
    spark = {
        "spark.jars.ivy": str(tmp_path / "ivy"),
        "spark.driver.extraJavaOptions": f"{nowhere} -Dhttps.proxyPort=9 -Duser.home={tmp_path}",
    }
    version = DELTA_PACKAGE.rpartition(":")[2]
    jars = [str(jar) for jar in Path.home().glob(f".ivy2*/**/delta-s*-{version}.jar")]
    if given and len(jars) < 2:
        pytest.skip("no jars of Delta Lake in the cache of Ivy")
    done = _ran(
        sys.executable,
        "jobs/clean_logs.py",
        "tests/shop.yaml",
        f"root={tmp_path}/run",
        f"spark={json.dumps(spark | ({'spark.jars': ','.join(jars)} if given else {}))}",
    )
    assert done.returncode == 2
    # With them the job gets as far as to the log that is not there.
    said = f"json files at {tmp_path}/run/raw" if given else "'spark={spark.jars: "
    assert said in done.stderr


def test_a_missing_log_stops_the_first_job_with_its_path(tmp_path: Path) -> None:
    done = _ran(
        sys.executable,
        "jobs/clean_logs.py",
        "tests/shop.yaml",
        f"root={tmp_path}/run",
    )
    assert done.returncode == 2
    assert f"{tmp_path}/run/raw" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "tables" / "events").exists()


def test_spark_submit_runs_a_job(tmp_path: Path) -> None:
    submit = Path(sys.executable).with_name("spark-submit")
    done = _ran(
        str(submit),
        "--master",
        "local[2]",
        "--properties-file",
        "conf/spark/local.conf",
        "--packages",
        DELTA_PACKAGE,
        "jobs/simulate_logs.py",
        "tests/shop.yaml",
        f"root={tmp_path}/run",
        *TINY,
        PYSPARK_PYTHON=sys.executable,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "impression 4,000" in done.stdout
    assert list((tmp_path / "run" / "tables" / "truth" / "_delta_log").glob("*.json"))
