"""A simulated log takes the place of a simulated log, and of nothing else."""

from pathlib import Path
from typing import Any

import pytest

from reweight.core.errors import SourceError
from reweight.core.local_paths import listed_here
from reweight.simulate_logs import raw_files

NONE: Any = None
ID = "c28a65e9-c5a4-4a84-98ea-b9a34ffd61dc"
# As Spark names them, also those of a job that was killed.
SIMULATED = (
    *("_SUCCESS", f".part-00000-{ID}-c000.txt.gz.crc", f"part-00000-{ID}-c000.txt.gz"),
    *(f"part-00001-{ID}-c000.snappy.parquet", f"day=2026-01-01/part-00000-{ID}.c000.txt.gz"),
    *("_committed_42", f"part-00003-tid-42-{ID}-7-1-c000.txt.gz"),
    f"_temporary/0/_temporary/attempt_1/part-00002-{ID}-c000.txt.gz",
)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a simulated log."""
    monkeypatch.setattr(raw_files, "listed", lambda _, path: listed_here(path))
    for name in SIMULATED:
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).touch()
    return tmp_path / "raw"


def test_a_simulated_log_is_replaced(raw: Path) -> None:
    raw_files.check_replaced(NONE, str(raw))
    raw_files.check_replaced(NONE, str(raw.parent / "none"))


@pytest.mark.parametrize(
    "name", ["log.csv", "day=1/clicks.json.gz", f"part-00000-{ID}-c000.json.gz", "part-1.txt.gz"]
)
def test_a_log_of_somebody_is_not(name: str, raw: Path) -> None:
    (raw / name).parent.mkdir(exist_ok=True)
    (raw / name).touch()
    # The file itself, too.
    for path in (raw, raw / name):
        with pytest.raises(SourceError, match="no simulated log") as caught:
            raw_files.check_replaced(NONE, str(path))
        assert caught.value.got.startswith("1 other file(s)")
        assert name in caught.value.got
