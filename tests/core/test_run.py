"""Locks and records of a run, and the revision of its code."""

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from reweight.config import Run, load_config
from reweight.core.errors import RunError, SampleError, SetupError
from reweight.core.revision import _hash, _imported, code_of, revision
from reweight.core.run import Summary
from reweight.core.run_folder import RunFolder, read_records
from reweight.runner.lock import run_lock
from reweight.runner.records import run_stage

DEMO = str(Path(__file__).parents[1] / "shop.yaml")


def first(run: Run) -> Summary:
    """Does its work."""
    return {"rows": 3}


def second(run: Run) -> Summary:
    """Breaks off with an error of ours."""
    raise SampleError("no rows", expected="some", got="none", fix="add some")


def third(run: Run) -> Summary:
    """Breaks off with an error that quotes a row."""
    raise ValueError("customer 17 bought a kettle")


@pytest.fixture
def run(spark: SparkSession, tmp_path: Path) -> Run:
    return opened(spark, tmp_path)


def opened(spark: SparkSession, root: Path, *overrides: str) -> Run:
    return Run.open(spark, load_config(DEMO, (f"root={root}", *overrides)))


def test_a_run_that_is_held_cannot_be_held_again(tmp_path: Path) -> None:
    with run_lock(RunFolder.of(tmp_path, "r")):
        with pytest.raises(RunError, match="already in progress") as caught, _held(tmp_path):
            pass
        assert '"pid"' in str(caught.value)
        # The process that holds it has not yet said who it is, or no longer does.
        owner = RunFolder.of(tmp_path, "r").owner
        for hide in (lambda: owner.write_text(""), owner.unlink):
            hide()
            with pytest.raises(RunError) as caught, _held(tmp_path):
                pass
            assert caught.value.got == "another process holds its lock"
        with run_lock(RunFolder.of(tmp_path, "another")):
            pass
    with run_lock(RunFolder.of(tmp_path, "r")):
        pass


@pytest.fixture
def flock_fails(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes locks of files fail as they do on some file systems."""

    def fails(number: int) -> None:
        def flock(file: int, operation: int) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr("fcntl.flock", flock)

    return fails


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_lock_that_no_system_releases_can_be_removed_by_hand(
    tmp_path: Path, flock_fails: Any
) -> None:
    folder = RunFolder.of(tmp_path, "r")
    folder.path.mkdir(parents=True)
    flock_fails(errno.ENOSYS)
    # As a process that was killed on another host leaves it.
    folder.lock.write_text("12345\nanother-host\n")
    with pytest.raises(RunError, match="already in progress") as caught, _held(tmp_path):
        pass
    assert caught.value.fix.endswith(f"if no process works on the run any more: rm {folder.lock}")
    folder.lock.unlink()
    with _held(tmp_path):
        pass


def test_a_folder_that_cannot_hold_a_run_is_named(tmp_path: Path, flock_fails: Any) -> None:
    file = tmp_path / "file"
    file.touch()
    for root in (file, Path("/proc/none")):
        with pytest.raises(SetupError, match="'r' cannot be used") as caught, _held(root):
            pass
        assert str(root / "runs" / "r") in caught.value.expected
        assert "root=" in caught.value.fix
    flock_fails(errno.EOPNOTSUPP)
    with pytest.raises(SetupError, match="cannot be used") as caught, _held(tmp_path):
        pass
    assert "not supported" in caught.value.got
    # A full disk has a message of its own.
    flock_fails(errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"), _held(tmp_path):
        pass


def _held(root: Path):  # type: ignore[no-untyped-def]
    return run_lock(RunFolder.of(root, "r"))


def test_taking_a_run_clears_what_a_killed_process_left_half_written(tmp_path: Path) -> None:
    folder = RunFolder.of(tmp_path, "r")
    models, scratch = folder.models.path, folder.scratch
    models.mkdir(parents=True)
    (models / ".curves.json.part").touch()
    (models / "curves.json").touch()
    (scratch / "blockmgr").mkdir(parents=True)
    with run_lock(RunFolder.of(tmp_path, "r")):
        assert not scratch.exists()
        scratch.mkdir()
    assert not scratch.exists()
    assert [p.name for p in models.iterdir()] == ["curves.json"]


def test_records_say_what_became_of_every_attempt(run: Run) -> None:
    run_stage(run, first)
    for _ in range(2):
        with pytest.raises(SampleError):
            run_stage(run, second)
    with pytest.raises(ValueError, match="kettle"):
        run_stage(run, third)
    records = read_records(run.folder)
    assert {k: r["status"] for k, r in records.items()} == {
        "first": "done",
        "second": "failed",
        "third": "failed",
    }
    assert records["first"]["summary"] == {"rows": 3}
    assert [e["status"] for e in records["second"]["earlier"]] == ["failed"]
    assert records["second"]["error"].startswith("no rows")
    # Errors of others may quote rows of the log.
    assert records["third"]["error"] == "ValueError"


def test_what_is_kept_of_the_config_holds_no_secret_and_is_a_config(
    spark: SparkSession, tmp_path: Path
) -> None:
    run = opened(spark, tmp_path, "spark={spark.hadoop.fs.s3a.secret.key: hush}")
    kept = run.folder.config
    assert "hush" not in kept.read_text()
    # JSON is YAML: the file can be run again.
    assert load_config(str(kept)).hash() == run.config.hash()


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a package that lies in the repository of another project."""
    path = tmp_path / "theirs" / "venv" / "__init__.py"
    path.parent.mkdir(parents=True)
    path.write_text("one = 1\n")
    monkeypatch.setattr("reweight.core.revision._PACKAGE", path.parent)
    git(tmp_path / "theirs", "init", "--quiet")
    commit(tmp_path / "theirs", "--allow-empty")
    return path


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(folder: Path, *arguments: str) -> str:
    git(folder, "commit", "--quiet", "--message=work", *arguments)
    return git(folder, "rev-parse", "--short=12", "HEAD")


def test_the_revision_is_not_that_of_a_repository_around_the_package(packed: Path) -> None:
    before = revision.__wrapped__()
    commit(packed.parent, "--allow-empty")
    assert revision.__wrapped__() == before
    packed.write_text("one = 2\n")
    assert revision.__wrapped__() != before
    assert before.startswith("packed-")


def test_the_revision_is_that_of_the_package_s_own_repository(packed: Path) -> None:
    git(packed.parent, "add", ".")
    own = commit(packed.parent)
    assert revision.__wrapped__() == own
    packed.write_text("one = 2\n")
    assert revision.__wrapped__().startswith(f"{own}-dirty-")


def test_code_has_a_revision_where_git_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision.__wrapped__().startswith("packed-")


def test_the_code_of_a_stage_is_that_of_its_folder_and_of_what_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "reweight"
    files = {
        "early/stage.py": "from reweight.core.run import (\n    Run,\n)\n",
        "late/stage.py": "from reweight.config import Run\nfrom reweight.early import rows\n",
        "late/page.html": "",
        "early/rows.py": "def rows():\n    from reweight.core.deep.base import base\n",
        "core/run.py": "",
        "core/deep/__init__.py": "",
        "core/deep/base.py": "",
        "config.py": "from reweight.other.section import Section",
        "other/section.py": "",
    }
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("reweight.core.revision._PACKAGE", package)
    affected = {
        "early/stage.py": {"early"},
        "late/page.html": {"late"},
        "early/rows.py": {"early", "late"},
        "core/run.py": {"early"},
        "core/deep/__init__.py": {"early", "late"},
        "core/deep/base.py": {"early", "late"},
        "config.py": set(),
        "other/section.py": set(),
    }
    for name, stages in affected.items():
        before = codes()
        with (package / name).open("a") as file:
            file.write("\n# changed\n")
        after = codes()
        assert {stage for stage in before if before[stage] != after[stage]} == stages, name


def codes() -> dict[str, str]:
    for cached in (code_of, _hash, _imported):
        cached.cache_clear()
    return {stage: code_of(f"reweight.{stage}.stage") for stage in ("early", "late")}


def test_events_do_not_depend_on_the_code_of_methods() -> None:
    codes = [code_of(f"reweight.{stage}.stage") for stage in ("clean_logs", "fit_importance")]
    assert codes[0] != codes[1]
    assert code_of("elsewhere.stage") == revision()
