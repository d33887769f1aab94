"""Days one by one are one run over all of them, whatever happens to them in between."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.stage import build_samples
from reweight.clean_logs.stage import clean_logs
from reweight.config import Run
from reweight.core.errors import RunError, SampleError, SourceError
from reweight.core.tables import EVENTS, SAMPLES, WEIGHTS, Table
from reweight.daily.days import read_days
from reweight.daily.stage import daily
from reweight.fit_importance.stage import fit_importance
from reweight.runner.records import run_stage
from reweight.score_weights.stage import score_weights
from reweight.simulate_logs.stage import simulate_logs

pytestmark = [pytest.mark.timeout(900), pytest.mark.usefixtures("runs_stages", "ranks_here")]

OpenRun = Callable[..., Run]
FIRST = "2026-01-05"
FEATURES = {
    "numeric": "{log_price: log(price)}",
    "history.user.windows": "[2 days, all]",
    "history.category.windows": "[1 day]",
    "history.category.grain": "1 day",
}


@pytest.fixture(scope="module")
def opened(open_run: OpenRun, tmp_path_factory: pytest.TempPathFactory) -> OpenRun:
    """Opens a run of a log of seven days, whose lines are in a folder for each day."""
    raw = tmp_path_factory.mktemp("days") / "raw"
    shop = (
        f"simulation.path={raw}",
        "simulation={by_day: true, days: 7, sessions: 240, users: 60, items: 40}",
        f"cleaning.sources.log.path={raw}",
        "importance=[{method: random}, {method: class_balanced}]",
        "sampling.label.window=6 hours",
        'splits={by: time, shares: null, cuts: ["2026-01-03", "2026-01-04"], open_windows: gap}',
        "ranking.recalibrate=[]",
        "weighting.ess_refuse=0",
        *(f"features.{key}={value}" for key, value in FEATURES.items()),
    )

    def of_shop(run_id: str, *more: str) -> Run:
        run = open_run(run_id, *shop, *more)
        # Two histories of the four: bounded and unbounded windows, grains of an hour and of a day.
        history = {name: run.config.features.history[name] for name in ("user", "category")}
        features = run.config.features.model_copy(update={"history": history})
        return replace(run, config=run.config.model_copy(update={"features": features}))

    return of_shop


@pytest.fixture(scope="module")
def whole(opened: OpenRun) -> Run:
    """One run over all days, with the models of a run over the first four."""
    reference = opened("reference", "cleaning.sources.log.where=ts < '2026-01-05'")
    run_stage(reference, simulate_logs)
    come_late(Path(reference.config.cleaning.sources["log"].path or ""))
    for stage in (clean_logs, build_samples, fit_importance, score_weights):
        run_stage(reference, stage)
    run = opened("whole", "model_run_id=reference")
    for stage in (clean_logs, build_samples, score_weights):
        run_stage(run, stage)
    return run


@pytest.fixture(scope="module")
def of_days(opened: OpenRun, whole: Run) -> Callable[..., dict[str, Any]]:
    """Takes one day, or several."""
    path = f"{whole.config.cleaning.sources['log'].path}/day={{day}}"
    section = f"first: '{FIRST}', paths: {{log: '{path}'}}"

    def taken(first: str, last: str | None = None, *more: str, run: str = "days") -> dict[str, Any]:
        days = f"begin: '{first}', end: '{last or first}'"
        overrides = (f"daily={{{section}, {days}}}", "model_run_id=reference")
        return dict(run_stage(opened(run, *overrides, *more), daily))

    return taken


def rows(run: Run, table: Table) -> pd.DataFrame:
    """The rows of the days, sorted."""
    samples = run.store.read(SAMPLES, run_id=run.config.run_id)
    found: DataFrame = run.store.read(table).drop("run_id", "_delivered")
    if table is WEIGHTS:
        times = samples.select("sample_id", F.col("event_time").alias("at"))
        found = (
            found.drop("event_time")
            .join(times, on="sample_id")
            .withColumnRenamed("at", "event_time")
        )
    frame = found.where(f"event_time >= '{FIRST}'").toPandas()
    keys = [c for c in ("event_id", "method", "sample_id") if c in frame]
    frame = frame[sorted(frame)].sort_values(keys).reset_index(drop=True)
    lists = [
        c
        for c in frame
        if frame[c].map(lambda v: hasattr(v, "tolist") or isinstance(v, list)).any()
    ]
    return frame.assign(
        **{c: frame[c].map(lambda v: None if v is None else tuple(v)) for c in lists}
    )


def come_late(raw: Path) -> None:
    """Moves every third line of the last day to the day after it, and sends others twice."""
    late: list[bytes] = []
    for path in sorted((raw / "day=2026-01-07").glob("*.gz")):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        late += lines[::3] + lines[1::9]
        kept = [line for number, line in enumerate(lines) if number % 3]
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
        path.write_bytes(gzip.compress(b"".join(kept)))
    folder = raw / "day=2026-01-08"
    folder.mkdir(exist_ok=True)
    (folder / "late.json.gz").write_bytes(gzip.compress(b"".join(late)))


def delivered_again(folder: Path) -> None:
    """Writes the raw files of a day anew, with the same lines."""
    for path in folder.glob("*.gz"):
        lines = gzip.decompress(path.read_bytes())
        path.with_name(f".{path.name}.crc").unlink(missing_ok=True)
        path.write_bytes(gzip.compress(lines, 1))


def test_days_one_by_one_are_one_run_over_all(
    opened: OpenRun,
    whole: Run,
    of_days: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = Path(whole.config.cleaning.sources["log"].path or "")
    of_days(FIRST)
    # Killed between its tables, then started again.
    with monkeypatch.context() as patch:
        patch.setattr("reweight.daily.stage.SAMPLES", None)
        with pytest.raises(AttributeError):
            of_days("2026-01-06")
    with pytest.raises(RunError, match="2026-01-06 was begun and not finished"):
        of_days("2026-01-08")
    of_days("2026-01-06")
    # What the last day delivers happened on the day before, which comes after it, and twice.
    last = of_days("2026-01-08")["2026-01-08"]
    assert set(last["late"]) == {"2026-01-07"}
    late = of_days("2026-01-07")["2026-01-07"]
    assert "2026-01-08" in late["opened again"]
    # The lines that both days deliver are events of the first one.
    assert late["read again"] == "2026-01-08"
    assert "nothing has changed" in of_days("2026-01-07")["2026-01-07"]["skipped"]
    delivered_again(raw / "day=2026-01-07")
    assert of_days("2026-01-07")["2026-01-07"]["samples"] == late["samples"]

    run = opened("days", "model_run_id=reference")
    for table in (EVENTS, SAMPLES, WEIGHTS):
        pd.testing.assert_frame_equal(rows(run, table), rows(whole, table), obj=table.name)
    days = read_days(run.folder)
    assert {day.status for day in days.values()} == {"done"}
    assert len(days) == 4


def test_a_day_that_cannot_be_right_is_refused_and_nothing_is_written(
    opened: OpenRun, whole: Run, of_days: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(RunError, match="is before the days of this run"):
        of_days("2026-01-04", run="refused")
    with pytest.raises(SourceError, match="there are no raw files of 2026-02-01"):
        of_days("2026-02-01", run="refused")
    with pytest.raises(SampleError, match="belong to other features"):
        of_days(FIRST, None, "features.cyclic=[hour_of_day]", run="refused")
    # Samples are made before events are written; until then, settings may be corrected.
    for key in ("user_id", "item_id"):
        with pytest.raises(SampleError, match="sample_id is not unique"):
            of_days(FIRST, None, f"sampling.key=[{key}]", run="refused")
    run = opened("refused", "model_run_id=reference")
    assert not read_days(run.folder)
    assert run.store.read(EVENTS, may_be_empty=True).isEmpty()
