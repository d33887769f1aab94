"""What a run leaves beside its tables: no secret, no home, no row of the log, and no odd rights."""

import os
import stat
from pathlib import Path

import pytest

from pipelines import SECRET, UMASK, Undisturbed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture
def texts(undisturbed: Undisturbed) -> dict[str, str]:
    """What it printed, and all that is in its folder but models, by name."""
    folder = undisturbed.root / "runs" / "line"
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".safetensors"]
    found = {str(p.relative_to(folder)): p.read_text(errors="replace") for p in files}
    assert {"config.json", "report.html", "spark.log", "records/evaluate.json"} <= found.keys()
    return found | {"what it printed": undisturbed.said}


def test_nothing_tells_a_secret(texts: dict[str, str]) -> None:
    assert not [name for name, text in texts.items() if SECRET in text]


def test_messages_and_records_tell_no_row_of_the_log(
    undisturbed: Undisturbed, texts: dict[str, str]
) -> None:
    tables = undisturbed.tables
    rows = [*tables["samples"]["sample_id"].head(200), *tables["events"]["event_id"].head(200)]
    told = {name for name, text in texts.items() if any(row in text for row in rows)}
    # The samples of the largest weights are shown to who judges the weights.
    assert told <= {"evaluation.json", "report.html", "report.json"}


def test_only_sparks_own_log_tells_a_home(undisturbed: Undisturbed, texts: dict[str, str]) -> None:
    home = f"{Path.home()}{os.sep}"
    own = str(undisturbed.root)
    assert {name for name, text in texts.items() if home in text.replace(own, "")} <= {"spark.log"}


def test_files_have_the_rights_that_the_umask_leaves(undisturbed: Undisturbed) -> None:
    folder = undisturbed.root / "runs" / "line"
    files = [p for p in folder.rglob("*") if p.is_file() and "rankers" not in p.parts]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~UMASK}
