"""A disk that is full: an error that says so, and nothing lost."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from pipelines import (
    Undisturbed,
    assert_same_tables,
    finish,
    is_in,
    record,
    start,
    tables,
    wait_for,
)
from reweight.core.run_folder import RunFolder

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of 64 MB needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Writes until there is no room left."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as sink:
        while sink.write(b"\0" * 4096):
            pass


def raw_lines(spark: SparkSession, root: Path) -> list[str]:
    return sorted(spark.read.text(f"{root}/raw").toPandas()["value"])


def test_a_full_scratch_disk_is_told_and_the_run_can_be_started_again(
    spark: SparkSession, undisturbed: Undisturbed, small_disk: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    job = "simulate_logs"
    process = start(root, job=job, spark={"spark.local.dir": str(small_disk)})
    wait_for(lambda: is_in(root, job))
    fill(small_disk)
    said = finish(process, status=2)
    assert "No space left on device" in said
    assert "spark.local.dir" in said
    assert "Traceback" not in said
    assert record(root, job)["status"] == "failed"
    finish(start(root, job=job))
    assert_same_tables(tables(spark, root, ["truth"]), undisturbed.tables)
    assert raw_lines(spark, root) == raw_lines(spark, undisturbed.root)
    assert not RunFolder.of(str(root), "line").scratch.exists()
