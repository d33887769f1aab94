"""Locks, attempts and records of a run."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from reweight.clean_logs import cleaning
from reweight.config import Run, load_config
from reweight.core import run as runs
from reweight.core.errors import RunError, SampleError, SourceError
from reweight.core.revision import revision
from reweight.core.run import Summary
from reweight.core.run_folder import RunFolder, read_records
from reweight.core.tracking.section import Tracking
from reweight.runner.job import run_stages
from reweight.runner.lock import run_lock
from reweight.runner.records import finish, pending, run_stage

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


def names(stages: Sequence[object]) -> list[str]:
    return [stage.__name__ for stage in stages]  # type: ignore[attr-defined]


def test_a_run_that_is_held_cannot_be_held_again(tmp_path: Path) -> None:
    with run_lock(RunFolder.of(tmp_path, "r")):
        with pytest.raises(RunError, match="already in progress") as caught, _held(tmp_path):
            pass
        assert '"pid"' in str(caught.value)
        with run_lock(RunFolder.of(tmp_path, "another")):
            pass
    with run_lock(RunFolder.of(tmp_path, "r")):
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


def test_an_attempt_that_was_broken_off_is_taken_up_where_it_was(run: Run) -> None:
    stages = (first, second, third)
    assert names(pending(run, stages)) == ["first", "second", "third"]
    run_stage(run, first)
    with pytest.raises(SampleError):
        run_stage(run, second)
    assert names(pending(run, stages)) == ["second", "third"]


@runs.reads(lambda run: cleaning.versions(run.spark, run.config.cleaning))
def reads(run: Run) -> Summary:
    """Reads the raw logs."""
    return {}


def test_a_stage_whose_logs_have_changed_is_done_again(run: Run, tmp_path: Path) -> None:
    raw, stages = tmp_path / "raw" / "a.json", (first, reads, second)
    raw.parent.mkdir()
    raw.write_text("{}")
    pending(run, stages)
    for stage in (first, reads):
        run_stage(run, stage)
    assert names(pending(run, stages)) == ["second"]
    (raw.parent / "b.json").write_text("{}")
    assert names(pending(run, stages)) == ["reads", "second"]
    run_stage(run, reads)
    assert names(pending(run, stages)) == ["second"]
    # What is there no more cannot be read again.
    shutil.rmtree(raw.parent)
    with pytest.raises(SourceError, match=r"cleaning\.sources\.log"):
        pending(run, stages)


def test_a_stage_that_read_what_has_no_version_is_done_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    spark.range(1).createOrReplaceTempView("raw_view")
    table = "cleaning.sources.log={path: null, format: null, schema: null, table: raw_view}"
    run = opened(spark, tmp_path, table)
    pending(run, (reads, second))
    run_stage(run, reads)
    assert names(pending(run, (reads, second))) == ["reads", "second"]


def test_an_attempt_that_is_taken_up_says_how_to_start_anew(
    run: Run, logged: Callable[[], str]
) -> None:
    for _ in range(2):
        with pytest.raises(SampleError):
            run_stages(run, (first, second))
    (said,) = re.findall("delete (.*)", logged())
    Path(said).unlink()
    assert names(pending(run, (first, second))) == ["first", "second"]


def test_a_finished_attempt_is_done_again_from_the_start(run: Run) -> None:
    assert names(pending(run, (first,))) == ["first"]
    run_stage(run, first)
    finish(run)
    assert names(pending(run, (first,))) == ["first"]


def test_records_from_before_the_attempt_do_not_count(run: Run) -> None:
    run_stage(run, first)
    path = run.folder.record("first")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": "2020-01-01T00:00:00"}))
    pending(run, (first,))
    assert names(pending(run, (first,))) == ["first"]


def test_another_config_takes_nothing_up(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    pending(run, (first, second))
    run_stage(run, first)
    assert names(pending(run, (first, second))) == ["second"]
    changed = opened(spark, tmp_path, "seed=5")
    assert names(pending(changed, (first, second))) == ["first", "second"]


def test_another_catalog_takes_nothing_up(spark: SparkSession, run: Run, tmp_path: Path) -> None:
    pending(run, (first, second))
    run_stage(run, first)
    elsewhere = opened(spark, tmp_path, "catalog=default")
    assert names(pending(elsewhere, (first, second))) == ["first", "second"]


def test_a_run_that_is_trained_otherwise_is_the_same_run(
    spark: SparkSession, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending(run, (first, second))
    run_stage(run, first)
    one_rank = opened(spark, tmp_path, "fitting.ranks=1", "fitting.retries=0")
    assert names(pending(one_rank, (first, second))) == ["second"]
    logged: list[Any] = []
    monkeypatch.setattr(Tracking, "log", lambda self, folder, record, config: logged.append(config))
    for one in (run, one_rank):
        run_stage(one, first)
    # A tracker refuses another value of a parameter that was logged before.
    assert logged[0] == logged[1]


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
