"""A disk that is full: an error that says so, and nothing lost."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lines import Undisturbed, assert_nothing_left, assert_same_tables, finish, start, tables
from pyspark.sql import SparkSession

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk of 1 MB needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_scratch_disk_is_told_and_the_run_can_be_started_again(
    spark: SparkSession, undisturbed: Undisturbed, small_disk: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    said = finish(start(root, spark={"spark.local.dir": str(small_disk)}), status=2)
    assert "No space left on device" in said
    assert "spark.local.dir" in said
    assert "Traceback" not in said
    finish(start(root))
    assert_same_tables(tables(spark, root), undisturbed.tables)
    assert_nothing_left(root)
