"""The jobs as a user starts them: in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import DELTA_PACKAGE, ROOT, TINY

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


def test_without_java_the_message_says_how_to_install_it(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "JAVA_HOME"} | {"PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "jobs/clean_logs.py", "tests/shop.yaml", f"root={tmp_path}/run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "openjdk-17-jre-headless" in done.stderr


def test_without_a_network_the_message_names_the_jars(tmp_path: Path) -> None:
    nowhere = "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=9 -Dhttps.proxyHost=127.0.0.1"
    spark = {
        "spark.jars.ivy": str(tmp_path / "ivy"),
        "spark.driver.extraJavaOptions": f"{nowhere} -Dhttps.proxyPort=9 -Duser.home={tmp_path}",
    }
    done = _ran(
        sys.executable,
        "jobs/clean_logs.py",
        "tests/shop.yaml",
        f"root={tmp_path}/run",
        f"spark={json.dumps(spark)}",
    )
    assert done.returncode == 2
    assert "jars of Delta Lake could not be fetched" in done.stderr


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
