"""A disk that is full: an error that says so, and nothing lost."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lines import (
    Undisturbed,
    assert_nothing_left,
    assert_same_tables,
    finish,
    is_in,
    start,
    tables,
    wait_for,
)
from pyspark.sql import SparkSession

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


def test_a_full_scratch_disk_is_told_and_the_run_can_be_started_again(
    spark: SparkSession, undisturbed: Undisturbed, small_disk: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    process = start(root, spark={"spark.local.dir": str(small_disk)})
    wait_for(lambda: is_in(root, "simulate_logs"))
    fill(small_disk)
    said = finish(process, status=2)
    assert "No space left on device" in said
    assert "spark.local.dir" in said
    assert "Traceback" not in said
    finish(start(root))
    assert_same_tables(tables(spark, root), undisturbed.tables)
    assert_nothing_left(root)
