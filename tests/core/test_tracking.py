"""Trackers: what is told of a run, and that it arrives; each is tested where it is installed."""

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
from reweight.core.tracking.event import Told
from reweight.core.tracking.section import Tracking
from reweight.core.tracking.trackers import Tracker

DEMO = str(Path(__file__).parents[2] / "conf" / "demo.yaml")
CONFIG = {"seed": 3, "fitting": {"ranks": 2}, "importance": [{"method": "random"}]}
CURVES = {"mlp": [{"train": 0.5, "validation": 0.6}, {"train": 0.25, "validation": 0.3}]}
COMPARISON = {"test": {"random": {"auc": {"value": 0.75, "difference": -0.01, "outcome": "worse"}}}}

TellAll = Callable[[Tracking], list[str]]


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
def tell_all(folder: Path) -> TellAll:
    """Tells of every stage; returns what was said of trackers that failed."""

    def tell(tracking: Tracking) -> list[str]:
        said: list[str] = []
        for stage in ("clean_logs", "fit_importance", "report"):
            one = json.loads((folder / "records" / f"{stage}.json").read_text())
            tracking.tell(folder, one, CONFIG, said.append)
        return said

    return tell


def told(folder: Path, stage: str, **own: Any) -> Told:
    known = json.loads((folder / "records" / f"{stage}.json").read_text())
    return Told.of(folder, known | own, CONFIG)


def installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed: pip install "reweight[tracking]"')


def test_numbers_of_a_stage_are_told_under_names_that_trackers_take(folder: Path) -> None:
    found = told(folder, "clean_logs")
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
    fitted, reported = told(folder, "fit_importance"), told(folder, "report")
    assert fitted.curves == {"loss/mlp/train": [0.5, 0.25], "loss/mlp/validation": [0.6, 0.3]}
    assert reported.curves == {}
    assert reported.metrics["test/random/auc/value"] == 0.75
    assert reported.metrics["test/random/auc/difference"] == -0.01
    assert list(reported.files) == ["records/report.json", "report.html", "report.json"]
    assert fitted.key == reported.key
    assert told(folder, "report", config_hash="another").key != reported.key


def test_a_stage_that_failed_is_told_of_without_what_it_did_not_make(folder: Path) -> None:
    found = told(folder, "fit_importance", status="failed")
    assert found.curves == {}
    assert found.tags["reweight.status.fit_importance"] == "failed"


def test_nobody_is_told_unless_asked_for(folder: Path, tell_all: TellAll) -> None:
    before = sorted(folder.rglob("*"))
    assert Tracking().trackers() == ()
    assert tell_all(Tracking()) == []
    assert sorted(folder.rglob("*")) == before


def test_no_tracker_is_imported_by_a_job_that_asks_for_none() -> None:
    script = "import sys, reweight.job; print({'mlflow', 'tensorboard', 'wandb'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "set()\n", done.stderr[-2000:]


def test_a_tracker_that_is_not_installed_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(DEMO, ["tracking={mlflow: {}, wandb: {project: shop}}"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="tracking asks for mlflow, wandb") as caught:
        config.tracking.check()
    assert 'pip install "reweight[tracking]"' in str(caught.value)
    Tracking().check()


class Broken(Tracker):
    """A server that is down."""

    package = "broken"

    def tell(self, told: Told) -> None:
        raise ConnectionError("no route to host\nand more")


def test_a_tracker_that_fails_costs_the_run_a_line(
    tell_all: TellAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracking, "trackers", lambda self: (Broken(),))
    assert tell_all(Tracking()) == ["broken was not told: ConnectionError: no route to host"] * 3


def test_mlflow_has_one_run_with_everything(
    folder: Path, tell_all: TellAll, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert tell_all(tracking) == []
    assert tell_all(tracking) == []
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
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("mlflow")
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    uri = (tmp_path / "mlruns").as_uri()
    tracking = Tracking.model_validate({"mlflow": {"uri": uri}})
    for number, status in (("one", "done"), ("two", "failed")):
        said: list[str] = []
        one = record("clean_logs", config_hash=number, status=status)
        # More values than a server takes at once.
        many = {"seed": number, "many": list(range(150))}
        tracking.tell(folder, one | {"summary": {"n": list(range(1100))}}, many, said.append)
        assert said == []
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


def test_tensorboard_reads_scalars_and_curves_once(folder: Path, tell_all: TellAll) -> None:
    installed("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking = Tracking.model_validate({"tensorboard": {}})
    tracking.check()
    assert tell_all(tracking) == []
    assert tell_all(tracking) == []
    files = list((folder / "tensorboard").iterdir())
    assert len(files) == 3
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    curve = [(e.step, e.value) for e in events.Scalars("loss/mlp/train")]
    assert curve == [(1, 0.5), (2, 0.25)]
    assert [e.value for e in events.Scalars("test/random/auc/value")] == [0.75]
    (text,) = events.Tensors("config/report/text_summary")
    assert b"fitting.ranks: 2" in text.tensor_proto.string_val[0]


def test_weights_and_biases_keeps_an_offline_run(
    folder: Path, tell_all: TellAll, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed("wandb")
    monkeypatch.chdir(tmp_path)
    # No settings of the one who runs the tests.
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    tracking = Tracking.model_validate({"wandb": {"project": "shop"}})
    tracking.check()
    assert tell_all(tracking) == []
    assert tell_all(tracking) == []
    runs = sorted((folder / "wandb").glob("*/offline-run-*"))
    assert len(runs) == 3
    key = told(folder, "report").key
    # One id: `wandb sync` makes one run of them.
    kept = [path for run in runs for path in run.glob("*.wandb")]
    assert {path.name for path in kept} == {f"run-{key}.wandb"}
    everything = b"".join(path.read_bytes() for path in kept)
    for word in (b"loss/mlp/train", b"test/random/auc/value", b"fitting.ranks", b"shop"):
        assert word in everything
    assert not (tmp_path / "wandb").exists()
