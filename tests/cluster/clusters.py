"""Jobs that are submitted to clusters on this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from pipelines import DELTA_PACKAGE, ROOT, TINY

BIN = Path(sys.executable).parent

# What any machine bears; the files of conf/spark are meant for larger ones.
SMALL = {
    "spark.driver.memory": "1g",
    "spark.executor.memory": "1g",
    "spark.executor.cores": "1",
    "spark.sql.shuffle.partitions": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
    "spark.ui.enabled": "false",
    "spark.pyspark.driver.python": sys.executable,
}
OUR_PYTHON = {"spark.archives": "", "spark.pyspark.python": sys.executable}


@dataclass(frozen=True)
class Cluster:
    """A master's address and the folder in which its workers keep what executors leave."""

    master: str
    work: Path

    def executors(self) -> list[Path]:
        """Folders of the executors, of all applications so far."""
        return sorted(self.work.glob("worker-*/app-*/*/stderr"))


StartCluster = Callable[..., Cluster]


def submit(
    folder: Path,
    conf: Path,
    master: str,
    *command: str,
    settings: dict[str, str] | None = None,
    home: Path | None = None,
    timeout: int = 600,
) -> str:
    """Submits a job to a master as a user does; returns what it printed."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = SMALL | OUR_PYTHON | (settings or {})
    done = subprocess.run(
        [
            str(BIN / "spark-submit"),
            *("--properties-file", str(conf), "--master", master, "--packages", DELTA_PACKAGE),
            *(word for key, value in pairs.items() for word in ("--conf", f"{key}={value}")),
            *command,
        ],
        cwd=ROOT,
        env=_environment(folder) | ({"SPARK_HOME": str(home)} if home else {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def run_line(
    root: Path, conf: str, master: str, settings: dict[str, str] | None = None, **options: Path
) -> Path:
    """The whole line of the demo, made tiny, on a cluster; returns its root."""
    said = submit(
        root.with_name(f"{root.name}-spark"),
        ROOT / "conf" / "spark" / conf,
        master,
        *("jobs/pipeline.py", "tests/shop.yaml", f"root={root}", *TINY),
        settings=settings,
        **options,  # type: ignore[arg-type]
    )
    assert "[8/8] report" in said
    return root


def _environment(folder: Path) -> dict[str, str]:
    """Everything on the loopback address, nothing outside of the folder, no defaults of Spark's."""
    for name in ("local", "conf"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    return own | {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder / "local"),
        "SPARK_CONF_DIR": str(folder / "conf"),
    }


@contextmanager
def daemon(folder: Path, until: str, *command: str, **environment: str) -> Generator[str]:
    """A daemon of Spark's, ready when its log says so; it and its children are killed at the end.

    Yields:
        The rest of the line that says so.
    """
    folder.mkdir(parents=True)
    log = folder / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(BIN / "spark-class"), *command],
            env=_environment(folder) | {"SPARK_DAEMON_MEMORY": "256m"} | environment,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            lines = [line for line in log.read_text().splitlines() if until in line]
            if lines or process.poll() is not None:
                break
            time.sleep(0.2)
        assert lines, f"{command[0]} did not start:\n{log.read_text()[-3000:]}"
        yield lines[0].split(until)[1].strip()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
