"""Two processes that start Spark for the first time at the same moment."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.faults, pytest.mark.usefixtures("starts_processes")]

FIRST = """
import sys
from pathlib import Path
from reweight.core.session import spark_session

settings = {"spark.master": "local[1]", "spark.jars.ivy": sys.argv[1]}
spark = spark_session(Path(sys.argv[2]), settings)
spark.range(3).write.format("delta").save(sys.argv[3])
"""


def test_they_do_not_spoil_each_others_download_of_delta(tmp_path: Path) -> None:
    started = []
    for name in ("a", "b"):
        places = [tmp_path / "ivy", tmp_path / f"{name}.log", tmp_path / name]
        command = [sys.executable, "-c", FIRST, *map(str, places)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]
