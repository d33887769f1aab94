"""Clusters of several executors on this machine."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from clusters import Cluster, StartCluster, daemon


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Starts a standalone master and two workers of one core; further variables are the workers'.

    A rank takes a core, so two ranks are on two executors of two workers.
    """
    work = tmp_path / "work"
    with ExitStack() as stack:

        def start(**environment: str) -> Cluster:
            master = stack.enter_context(
                daemon(
                    tmp_path / "master",
                    "Starting Spark master at ",
                    *("org.apache.spark.deploy.master.Master", "--host", "127.0.0.1"),
                    *("--port", "0", "--webui-port", "0"),
                )
            )
            for number in (1, 2):
                name = f"worker-{number}"
                worker = daemon(
                    tmp_path / name,
                    "Successfully registered with master ",
                    *("org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1"),
                    *("--cores", "1", "--memory", "1g", "--webui-port", "0"),
                    *("--work-dir", str(work / name), master),
                    **environment,
                )
                stack.enter_context(worker)
            return Cluster(master, work)

        yield start
    # An unpacked environment is gigabytes, and pytest keeps the folders of three runs.
    for folder in (work, *tmp_path.glob("worker-*"), *tmp_path.glob("*-spark")):
        shutil.rmtree(folder, ignore_errors=True)
