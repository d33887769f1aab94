"""What a run leaves beside its tables: no secret, no home, no row of the log, and no odd rights."""

import os
import stat
from pathlib import Path

import pytest
from lines import SECRET, UMASK, Undisturbed

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]


def texts(undisturbed: Undisturbed) -> dict[str, str]:
    """What it printed, and all that is in its folder but models, by name."""
    folder = undisturbed.root / "runs" / "line"
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".safetensors"]
    found = {str(p.relative_to(folder)): p.read_text(errors="replace") for p in files}
    assert {"config.json", "report.html", "records/evaluate.json"} <= found.keys()
    return found | {"what it printed": undisturbed.said}


def test_nothing_tells_a_secret_or_a_row_of_the_log(undisturbed: Undisturbed) -> None:
    samples, events = undisturbed.tables["samples"], undisturbed.tables["events"]
    rows = [*samples["sample_id"].head(200), *events["event_id"].head(200)]
    for name, text in texts(undisturbed).items():
        assert SECRET not in text, name
        assert not [row for row in rows if row in text], name


def test_only_sparks_own_log_tells_a_home(undisturbed: Undisturbed) -> None:
    home = f"{Path.home()}{os.sep}"
    told = {name for name, text in texts(undisturbed).items() if home in text}
    assert told <= {"spark.log"}


def test_files_have_the_rights_that_the_umask_leaves(undisturbed: Undisturbed) -> None:
    files = [path for path in undisturbed.root.rglob("*") if path.is_file()]
    assert len(files) > 50
    rights = {stat.S_IMODE(path.stat().st_mode) for path in files}
    assert rights == {0o666 & ~UMASK}
