"""Trackers: what is logged of a run, and that it arrives; each is tested where it is installed."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reweight.config import load_config
from reweight.core.errors import SetupError
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder
from reweight.core.tracking.event import StageEvent
from reweight.core.tracking.section import Tracking
from reweight.core.tracking.trackers import Tracker

DEMO = str(Path(__file__).parents[1] / "shop.yaml")
CONFIG = {"seed": 3, "fitting": {"ranks": 2}, "importance": [{"method": "random"}]}
CURVES = {"mlp": [{"train": 0.5, "validation": 0.6}, {"train": 0.25, "validation": 0.3}]}
COMPARISON = {"test": {"random": {"auc": {"value": 0.75, "difference": -0.01, "outcome": "worse"}}}}

LogAll = Callable[[Tracking], list[str]]


def record(stage: str, **own: Any) -> dict[str, Any]:
    common = {"run_id": "day", "config_hash": "c0ffee", "revision": "abc", "seconds": 2.5}
    ended = {"inputs": {}, "outputs": {}, "summary": {}, "status": "done"}
    return {"stage": stage, **common, **ended, **own}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What three stages leave in the folder of a run."""
    place = tmp_path / "runs" / "day"
    write_json(place / "report.json", {"comparison": COMPARISON})
    (place / "report.html").write_text("<p>page</p>")
    write_json(place / "models" / "curves.json", CURVES)
    counts = {"raw": 10, "reasons": {"missing:user_id": 4}, "share": "40%", "good": True}
    records = [
        record("clean_logs", outputs={"events": 7}, summary=counts),
        record("fit_importance", inputs={"samples": 5}, seconds=9.0),
        record("report", inputs={"metrics": 2}, summary={"report": str(place / "report.html")}),
    ]
    for one in records:
        write_json(place / "records" / f"{one['stage']}.json", one)
    return place


@pytest.fixture
def log_all(folder: Path, caplog: pytest.LogCaptureFixture) -> LogAll:
    """Logs every stage; returns the warnings about trackers that failed."""

    def log(tracking: Tracking) -> list[str]:
        for stage in ("clean_logs", "fit_importance", "report"):
            ended = json.loads((folder / "records" / f"{stage}.json").read_text())
            tracking.log(RunFolder(folder), ended, CONFIG)
        return [entry.getMessage() for entry in caplog.records]

    return log


def event(folder: Path, stage: str, **changes: Any) -> StageEvent:
    ended = json.loads((folder / "records" / f"{stage}.json").read_text())
    return StageEvent.of(RunFolder(folder), ended | changes, CONFIG)


def installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed: pip install "reweight[tracking]"')


def test_numbers_of_a_stage_are_logged_under_names_that_trackers_take(folder: Path) -> None:
    found = event(folder, "clean_logs")
    assert dict(found.metrics) == {
        "clean_logs/seconds": 2.5,
        "clean_logs/raw": 10.0,
        "clean_logs/reasons/missing_user_id": 4.0,
    }
    assert found.params == {"seed": "3", "fitting.ranks": "2", "importance.0.method": "random"}
    assert found.tags["reweight.table.events"] == "7"
    assert found.tags["reweight.status.clean_logs"] == "done"
    assert found.curves == {}
    assert list(found.files) == ["records/clean_logs.json"]


def test_curves_come_with_the_training_and_metrics_with_the_report(folder: Path) -> None:
    fitted, reported = event(folder, "fit_importance"), event(folder, "report")
    assert fitted.curves == {"loss/mlp/train": [0.5, 0.25], "loss/mlp/validation": [0.6, 0.3]}
    assert reported.curves == {}
    assert reported.metrics["test/random/auc/value"] == 0.75
    assert reported.metrics["test/random/auc/difference"] == -0.01
    assert list(reported.files) == ["records/report.json", "report.html", "report.json"]
    assert fitted.key == reported.key
    assert event(folder, "report", config_hash="another").key != reported.key


def test_a_stage_that_failed_is_logged_without_what_it_did_not_make(folder: Path) -> None:
    found = event(folder, "fit_importance", status="failed")
    assert found.curves == {}
    assert found.tags["reweight.status.fit_importance"] == "failed"


def test_nothing_is_logged_by_default(folder: Path, log_all: LogAll) -> None:
    before = sorted(folder.rglob("*"))
    assert Tracking().trackers() == ()
    assert log_all(Tracking()) == []
    assert sorted(folder.rglob("*")) == before


@pytest.mark.usefixtures("starts_processes")
def test_no_tracker_is_imported_by_a_job_that_asks_for_none() -> None:
    trackers = "{'mlflow', 'tensorboard', 'wandb'}"
    script = f"import sys, reweight.runner.job; print({trackers} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "set()\n", done.stderr[-2000:]


def test_a_tracker_that_is_not_installed_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(DEMO, ["tracking={mlflow: {}, wandb: {project: shop}}"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="tracking needs mlflow, wandb") as caught:
        config.tracking.check()
    assert 'pip install "reweight[tracking]"' in str(caught.value)
    Tracking().check()


class Broken(Tracker):
    """A server that is down."""

    package = "broken"

    def log(self, event: StageEvent) -> None:
        raise ConnectionError("no route to host\nand more")


def test_a_tracker_that_fails_costs_the_run_a_line(
    log_all: LogAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracking, "trackers", lambda self: (Broken(),))
    assert log_all(Tracking()) == ["could not log to broken: ConnectionError: no route to host"] * 3


def test_mlflow_has_one_run_with_everything(
    folder: Path, log_all: LogAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("mlflow")
    from mlflow import MlflowClient

    # Its newest versions want to be told that files will do.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "mlruns").as_uri()
    tracking = Tracking.model_validate({"mlflow": {"uri": uri, "experiment": "shop"}})
    tracking.check()
    # A stage that is done again is told again, of the same run.
    assert log_all(tracking) == []
    assert log_all(tracking) == []
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shop")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "day"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "3", "fitting.ranks": "2", "importance.0.method": "random"}
    assert run.data.metrics["clean_logs/raw"] == 10
    assert run.data.metrics["test/random/auc/value"] == 0.75
    assert run.data.tags["reweight.table.samples"] == "5"
    history = client.get_metric_history(run.info.run_id, "loss/mlp/train")
    assert {(m.step, m.value) for m in history} == {(1, 0.5), (2, 0.25)}
    kept = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert kept == {"records", "report.html", "report.json"}
    assert len(client.list_artifacts(run.info.run_id, "records")) == 3


def test_mlflow_starts_another_run_for_another_config(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    installed("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "mlruns").as_uri()
    tracking = Tracking.model_validate({"mlflow": {"uri": uri}})
    for number, status in (("one", "done"), ("two", "failed")):
        ended = record("clean_logs", config_hash=number, status=status)
        # More values than a server takes at once.
        many = {"seed": number, "many": list(range(150))}
        summary = {"n": list(range(1100))}
        tracking.log(RunFolder(folder), ended | {"summary": summary}, many)
        assert not caplog.records
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("reweight")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {len(r.data.params) for r in runs} == {151}
    assert {len(r.data.metrics) for r in runs} == {1101}
    assert {(r.data.params["seed"], r.info.status) for r in runs} == {
        ("one", "FINISHED"),
        ("two", "FAILED"),
    }


def test_tensorboard_reads_scalars_and_curves_once(folder: Path, log_all: LogAll) -> None:
    installed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking = Tracking.model_validate({"tensorboard": {}})
    tracking.check()
    assert log_all(tracking) == []
    assert log_all(tracking) == []
    files = list((folder / "tensorboard").iterdir())
    assert len(files) == 3
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    curve = [(e.step, e.value) for e in events.Scalars("loss/mlp/train")]
    assert curve == [(1, 0.5), (2, 0.25)]
    assert [e.value for e in events.Scalars("test/random/auc/value")] == [0.75]
    (text,) = events.Tensors("config/report/text_summary")
    assert b"fitting.ranks: 2" in text.tensor_proto.string_val[0]


def test_weights_and_biases_keeps_an_offline_run(
    folder: Path, log_all: LogAll, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed("wandb")
    monkeypatch.chdir(tmp_path)
    # No settings of the one who runs the tests.
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    tracking = Tracking.model_validate({"wandb": {"project": "shop"}})
    tracking.check()
    assert log_all(tracking) == []
    assert log_all(tracking) == []
    runs = sorted((folder / "wandb").glob("*/offline-run-*"))
    assert len(runs) == 3
    key = event(folder, "report").key
    # One id: `wandb sync` makes one run of them.
    kept = [path for run in runs for path in run.glob("*.wandb")]
    assert {path.name for path in kept} == {f"run-{key}.wandb"}
    everything = b"".join(path.read_bytes() for path in kept)
    for word in (b"loss/mlp/train", b"test/random/auc/value", b"fitting.ranks", b"shop"):
        assert word in everything
    assert not (tmp_path / "wandb").exists()
