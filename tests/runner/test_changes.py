"""Only what changed is done again: which stages of a run are kept, and why others are not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from reweight.clean_logs import cleaning
from reweight.config import Run, load_config
from reweight.core import run as runs
from reweight.core.errors import RunError, SampleError, SourceError
from reweight.core.run import Summary
from reweight.core.tables import TRUTH
from reweight.core.tracking.section import Tracking
from reweight.runner import pipeline
from reweight.runner.changes import why_again
from reweight.runner.job import run_stages
from reweight.runner.records import read_record, run_stage

DEMO = str(Path(__file__).parents[1] / "shop.yaml")
BEGUN: list[str] = []


def first(run: Run) -> Summary:
    """Reads the seed, and writes a table."""
    BEGUN.append("first")
    rows = run.spark.range(run.config.seed % 3 + 1)
    null = ["relevance double", "seen boolean", "bot boolean", "wanted boolean"]
    null += ["would_buy boolean", "delay_hours double", "recorded boolean"]
    null += ["refund_hours double"]
    columns = [f"cast(null AS {c.split()[1]}) AS {c.split()[0]}" for c in null]
    run.store.write(TRUTH, rows.selectExpr("string(id) AS impression_id", *columns))
    return {"rows": 3}


@runs.reads(lambda run: cleaning.versions(run.spark, run.config.cleaning))
def logs(run: Run) -> Summary:
    """Reads the raw logs."""
    BEGUN.append("logs")
    return {"size": len(run.config.cleaning.sources)}


@runs.leaves(lambda run: {"file": str((run.folder.path / "left").exists())})
def leaving(run: Run) -> Summary:
    """Leaves a file, and fails if the policy asks for it."""
    BEGUN.append("leaving")
    if run.config.weighting.temper == 0:
        raise SampleError("no rows", expected="some", got="none", fix="add some")
    (run.folder.path / "left").touch()
    return {}


def last(run: Run) -> Summary:
    """Reads the whole config."""
    BEGUN.append("last")
    return {"config": run.config.hash()}


def beside(run: Run) -> Summary:
    """Is no part of the pipeline."""
    BEGUN.append("beside")
    return {}


ORDER = (first, logs, leaving, last)
NAMES = [stage.__name__ for stage in ORDER]
Begun = Callable[..., list[str]]


@pytest.fixture
def opened(spark: SparkSession, tmp_path: Path) -> Callable[..., Run]:
    """Opens the run with overrides; its log is one file."""
    raw = tmp_path / "raw" / "a.json"
    raw.parent.mkdir()
    raw.write_text("{}")
    return lambda *more: Run.open(spark, load_config(DEMO, (f"root={tmp_path}", *more)))


@pytest.fixture
def begun(opened: Callable[..., Run]) -> Begun:
    """Runs the stages with overrides; gives those that were begun."""

    def ran(*overrides: str, stages: Any = ORDER, again: str | None = None) -> list[str]:
        BEGUN.clear()
        run_stages(opened(*overrides), stages, again=again, order=ORDER)
        return list(BEGUN)

    return ran


def test_a_stage_is_run_again_if_a_setting_that_it_read_has_changed(
    begun: Begun, opened: Callable[..., Run], logged: Callable[[], str]
) -> None:
    assert begun() == NAMES
    logged()
    assert begun() == []
    assert "kept: first, logs, leaving, last, since nothing" in logged()
    assert begun("weighting.temper=0.5") == ["leaving", "last"]
    said = logged()
    assert "kept: first, logs, since nothing" in said
    assert "[3/4] leaving: `weighting` changed" in said
    assert "[4/4] last\n" in said
    assert begun("weighting.temper=0.5", "tuning.values=[0.1]") == ["last"]
    assert "kept" in (read_record(opened().folder, first) or {})
    # Back to what it was is a change, too.
    assert begun() == ["leaving", "last"]
    assert begun("seed=5") == NAMES
    # Where and how it runs is none.
    assert begun("seed=5", "fitting.ranks=1", "fitting.retries=0", "spark={a.b: c}") == []
    assert begun("seed=5", "catalog=default") == NAMES


def test_stages_can_be_run_again_though_nothing_has_changed(begun: Begun) -> None:
    begun()
    assert begun(again="leaving") == ["leaving", "last"]
    assert begun(again="first") == NAMES
    # What has changed before it comes first.
    assert begun("seed=5", again="last") == NAMES
    with pytest.raises(RunError, match="no stage 'lost'"):
        begun(again="lost")


def test_a_stage_that_failed_is_mended_where_it_failed(
    begun: Begun, opened: Callable[..., Run], logged: Callable[[], str]
) -> None:
    for _ in range(2):
        with pytest.raises(SampleError):
            begun("weighting.temper=0")
    assert BEGUN == ["leaving"]
    assert "[3/4] leaving: the last attempt failed" in logged()
    assert begun("weighting.temper=0.5") == ["leaving", "last"]
    path = opened("weighting.temper=0.5").folder.record("leaving")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "running"}))
    assert begun("weighting.temper=0.5") == ["leaving", "last"]
    assert "the last attempt was interrupted" in logged()
    record = read_record(opened().folder, leaving) or {}
    assert [attempt["status"] for attempt in record["earlier"]] == ["failed", "failed", "killed"]


def test_a_stage_whose_logs_have_changed_is_run_again(
    spark: SparkSession, begun: Begun, logged: Callable[[], str], tmp_path: Path
) -> None:
    begun()
    (tmp_path / "raw" / "b.json").write_text("{}")
    assert begun() == NAMES[1:]
    assert "logs: what it reads may have changed (sources.log)" in logged()
    assert begun() == []
    # What is there no more cannot be read again.
    shutil.rmtree(tmp_path / "raw")
    with pytest.raises(SourceError, match=r"cleaning\.sources\.log"):
        begun()
    spark.range(1).createOrReplaceTempView("raw_view")
    view = "cleaning.sources.log={path: null, format: null, schema: null, table: raw_view}"
    # Of a view no version is known.
    assert begun(view) == begun(view) == NAMES[1:]


def test_a_stage_is_run_again_if_what_it_left_is_not_there(
    spark: SparkSession, begun: Begun, opened: Callable[..., Run], logged: Callable[[], str]
) -> None:
    begun()
    run = opened()
    (run.folder.path / "left").unlink()
    assert begun() == ["leaving", "last"]
    assert "leaving: what it left has changed (file)" in logged()
    other = opened("run_id=other")
    run_stage(other, first, ORDER)
    assert begun() == []
    spark.sql(f"DELETE FROM {run.store.name(TRUTH)} WHERE impression_id = '0'")
    assert begun() == NAMES
    assert "its rows in the table 'truth' may have changed" in logged()


def test_stages_that_were_jobs_of_their_own_count(
    begun: Begun,
    opened: Callable[..., Run],
    logged: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stage in ORDER:
        assert begun(stages=(stage,)) == [stage.__name__]
    assert begun() == begun(stages=(logs,)) == []
    # What is no part of the pipeline is run whenever it is asked for.
    assert begun(stages=(beside,)) == begun(stages=(beside,)) == ["beside"]
    logged()
    # Nor does it say anything of stages that it does not read from.
    monkeypatch.setattr("reweight.runner.changes.AFTER", {beside: logs})
    assert begun("weighting.temper=0.5", stages=(beside,)) == ["beside"]
    assert "changed since" not in logged()
    assert begun("seed=5", stages=(beside,)) == ["beside"]
    assert "`seed` changed since first was run" in logged()
    # A job of older samples says so, and the pipeline does not go on with what it made.
    assert begun("seed=5", stages=(leaving,)) == []
    assert "`seed` changed since first was run" in logged()
    assert begun("weighting.temper=0.5", stages=(leaving,)) == ["leaving"]
    assert begun(again="first", stages=(first,)) == ["first"]
    assert begun("weighting.temper=0.5") == NAMES[1:]


def test_every_stage_beside_the_pipeline_says_after_which_one_it_comes() -> None:
    stages = {getattr(pipeline, name) for name in pipeline.__all__ if name.islower()}
    assert stages - set(pipeline.PIPELINE) == {*pipeline.AFTER, pipeline.daily}
    assert set(pipeline.AFTER.values()) <= set(pipeline.PIPELINE)


def test_a_stage_that_had_nothing_to_do_needs_not_have_been_run(
    opened: Callable[..., Run], logged: Callable[[], str]
) -> None:
    def idle(run: Run) -> Summary:
        return {"skipped": "there is nothing"}

    order = (idle, first)
    run_stages(opened(), (first,), order=order)
    run_stages(opened(), order, order=order)
    said = logged()
    assert "[1/2] idle: it has not been run yet" in said
    assert "kept: first" in said


def test_other_code_or_an_older_record_is_no_reason_to_keep_anything(
    begun: Begun, opened: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun()
    run = opened()
    assert why_again(run, logs, ORDER) is None
    path = run.folder.record("logs")
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in whole.items() if k != "key"}))
    assert "earlier version" in str(why_again(run, logs, ORDER))
    monkeypatch.setattr("reweight.runner.changes.code_of", lambda module: "other")
    assert why_again(run, first, ORDER) == "its code has changed"


def test_trackers_get_what_was_kept_with_the_config_that_goes_on_with_it(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, str, Any]] = []

    def log(self: Tracking, folder: Any, record: Any, config: Any) -> None:
        told.append((record["stage"], record["config_hash"], config))

    monkeypatch.setattr(Tracking, "log", log)
    begun()
    begun("tuning.values=[0.1]")
    hashes = {told[0][1], told[-1][1]}
    assert [(stage, digest) for stage, digest, _ in told] == [
        *[(name, told[0][1]) for name in NAMES],
        *[(name, told[-1][1]) for name in NAMES],
    ]
    assert len(hashes) == 2
    # Nothing is new to a tracker where only the execution differs, nor are its parameters.
    told.clear()
    begun("tuning.values=[0.1]", "fitting.ranks=1")
    assert told == []
