"""What a run leaves, told to a tracker of experiments too; none is needed for anything.

All of it is read from the run's folder after each stage (its record, the curves of the training,
the report), so that no stage knows of trackers, and stages that run as jobs of their own are told
of as one run.
"""

import contextlib
import hashlib
import importlib.util
import json
import re
import shutil
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from reweight.errors import SetupError
from reweight.files import write_whole
from reweight.section import Section

_CURVES = Path("models") / "curves.json"
_LONGEST = 500  # characters of a parameter: what the strictest server takes


@dataclass(frozen=True)
class Told:
    """What there is to tell after a stage.

    Attributes:
        run_id: of the run.
        stage: that is over.
        status: ``done`` or ``failed``.
        key: the same for all stages of one run with one config.
        folder: of the run.
        params: the config, flat; nothing in it says where the run is.
        tags: revision, hash of the config, how stages ended, versions of tables.
        metrics: numbers of the stage's summary; after the report, those of the report.
        curves: name -> a value per epoch.
        files: the record and the report, by the names to keep them under.
    """

    run_id: str
    stage: str
    status: str
    key: str
    folder: Path
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    curves: Mapping[str, list[float]]
    files: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path, record: Mapping[str, Any], config: Mapping[str, Any]) -> "Told":
        """Reads it from a run's folder.

        Args:
            folder: of the run.
            record: of the stage.
            config: what the results depend on.
        """
        stage, summary = record["stage"], record["summary"]
        done = record["status"] == "done"
        report = Path(summary["report"]) if done and "report" in summary else None
        files = {f"records/{stage}.json": folder / "records" / f"{stage}.json"}
        if report:
            files |= {path.name: path for path in (report, report.with_suffix(".json"))}
        curves = done and stage == "fit_importance" and (folder / _CURVES).exists()
        return cls(
            run_id=record["run_id"],
            stage=stage,
            status=record["status"],
            key=_key(str(folder.absolute()), record["config_hash"]),
            folder=folder,
            params={k: str(v)[:_LONGEST] for k, v in _flat(config, ".").items()},
            tags=_tags(record),
            metrics={
                f"{stage}/seconds": float(record["seconds"]),
                **_numbers(summary, stage),
                **(_compared(report.with_suffix(".json")) if report else {}),
            },
            curves=_losses(folder / _CURVES) if curves else {},
            files={name: path for name, path in files.items() if path.exists()},
        )


class Tracker(Section):
    """A program that keeps what runs leave."""

    package: ClassVar[str]

    @abstractmethod
    def tell(self, told: Told) -> None:
        """Writes what there is to tell after a stage; told again, it replaces it."""


class MLflow(Tracker):
    """MLflow: one of its runs for each run and config.

    Attributes:
        uri: of the tracking server; by default MLflow's own (``MLFLOW_TRACKING_URI``, and on
            Databricks the workspace).
        experiment: its name; on Databricks a path of the workspace, as ``/Shared/reweight``.
    """

    package: ClassVar[str] = "mlflow"

    uri: str | None = None
    experiment: str = "reweight"

    def tell(self, told: Told) -> None:
        """Params, tags, metrics, curves by epoch, files."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        client = MlflowClient(tracking_uri=self.uri)
        run_id = self._run(client, told)
        # The time orders values of one step: of a stage that was done again the last one counts.
        now = int(time.time() * 1000)
        curves = [
            Metric(name, value, now, epoch)
            for name, values in told.curves.items()
            for epoch, value in enumerate(values, 1)
        ]
        client.log_batch(
            run_id,
            metrics=[*curves, *(Metric(k, v, now, 0) for k, v in told.metrics.items())],
            params=[Param(k, v) for k, v in told.params.items()],
            tags=[RunTag(k, v) for k, v in told.tags.items()],
        )
        for name, path in told.files.items():
            client.log_artifact(run_id, str(path), name.rpartition("/")[0] or None)
        client.set_terminated(run_id, "FINISHED" if told.status == "done" else "FAILED")

    def _run(self, client: Any, told: Told) -> str:
        """The run that earlier stages were told of, or a new one."""
        mark = told.folder / "tracking" / "mlflow.json"
        # The address itself may hold a password.
        key = _key(told.key, str(self.uri), self.experiment)
        known = json.loads(mark.read_text()) if mark.exists() else {}
        if known.get("key") == key:
            return str(known["run"])
        there = client.get_experiment_by_name(self.experiment)
        number = there.experiment_id if there else client.create_experiment(self.experiment)
        run = str(client.create_run(number, run_name=told.run_id).info.run_id)
        write_whole(mark, json.dumps({"key": key, "run": run}).encode())
        return run


class TensorBoard(Tracker):
    """TensorBoard: a folder of events for each run.

    Attributes:
        folder: ``<folder>/<run_id>`` gets the events; by default ``tensorboard`` in the run's.
    """

    package: ClassVar[str] = "tensorboard"

    folder: str | None = None

    def tell(self, told: Told) -> None:
        """Scalars, and the config and tags as text; TensorBoard keeps no files."""
        from torch.utils.tensorboard import SummaryWriter

        place = Path(self.folder) / told.run_id if self.folder else told.folder / "tensorboard"
        suffix = f".{told.stage}"
        with (
            _moved(place, f"*{suffix}") as scratch,
            SummaryWriter(str(scratch), filename_suffix=suffix) as writer,
        ):
            for name, value in told.metrics.items():
                writer.add_scalar(name, value, 0)
            for name, values in told.curves.items():
                for epoch, value in enumerate(values, 1):
                    writer.add_scalar(name, value, epoch)
            for name, texts in {"config": told.params, "tags": told.tags}.items():
                lines = "".join(f"    {k}: {v}\n" for k, v in texts.items())
                writer.add_text(f"{name}/{told.stage}", lines)


class Wandb(Tracker):
    """Weights & Biases: one of its runs for each run and config.

    Attributes:
        project: its project.
        entity: user or team; by default that of the login.
        mode: ``offline`` keeps all in the run's folder, for ``wandb sync wandb/*/offline-run-*``;
            ``online`` needs a login (``WANDB_API_KEY``).
    """

    package: ClassVar[str] = "wandb"

    project: str = "reweight"
    entity: str | None = None
    mode: Literal["offline", "online"] = "offline"

    def tell(self, told: Told) -> None:
        """Config, summary, curves by epoch, and the files as an artifact."""
        import wandb

        with _moved(told.folder / "wandb" / told.stage, "*", "wandb") as scratch:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,
                dir=str(scratch),
                id=told.key,
                name=told.run_id,
                resume="allow" if self.mode == "online" else None,
                config={**told.params, **{f"tags/{k}": v for k, v in told.tags.items()}},
                settings=wandb.Settings(console="off", silent=True, disable_git=True),
            )
            run.define_metric("loss/*", step_metric="epoch")
            for epoch in range(max(map(len, told.curves.values()), default=0)):
                values = {k: v[epoch] for k, v in told.curves.items() if epoch < len(v)}
                run.log({"epoch": epoch + 1, **values})
            run.summary.update(dict(told.metrics))
            artifact = wandb.Artifact(f"{told.run_id}-{told.stage}", type="stage")
            for name, path in told.files.items():
                artifact.add_file(str(path), name=name)
            run.log_artifact(artifact)
            run.finish(exit_code=0 if told.status == "done" else 1)


class Tracking(Section):
    """The section ``tracking``: who is told of a run; nobody by default."""

    mlflow: MLflow | None = None
    tensorboard: TensorBoard | None = None
    wandb: Wandb | None = None

    def trackers(self) -> tuple[Tracker, ...]:
        """Those that are asked for."""
        every = (self.mlflow, self.tensorboard, self.wandb)
        return tuple(tracker for tracker in every if tracker is not None)

    def check(self) -> None:
        """Looks for the trackers' packages, before work is done that they are to be told of.

        Raises:
            SetupError: one is not installed.
        """
        asked = [tracker.package for tracker in self.trackers()]
        missing = [name for name in asked if importlib.util.find_spec(name) is None]
        if missing:
            raise SetupError(
                f"tracking asks for {', '.join(missing)}",
                expected=f"the packages {asked}",
                came=f"not installed: {missing}",
                do='pip install "reweight[tracking]", or take the part out of `tracking`',
            )

    def tell(
        self,
        folder: Path,
        record: Mapping[str, Any],
        config: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        """Tells every tracker of a stage that is over.

        A tracker that fails costs the run nothing: what it was to be told is in the run's folder.

        Args:
            folder: of the run.
            record: of the stage.
            config: what the results depend on.
            say: prints a line.
        """
        for tracker in self.trackers():
            try:
                tracker.tell(Told.of(folder, record, config))
            except Exception as error:
                why = str(error).strip().splitlines() or [""]
                say(f"{tracker.package} was not told: {type(error).__name__}: {why[0][:300]}")


@contextlib.contextmanager
def _moved(place: Path, replaced: str, part: str = ".") -> Iterator[Path]:
    """A folder on this machine, whose content is copied to a place that may take whole files only.

    Args:
        place: a folder, as of a volume.
        replaced: what of it is removed before.
        part: of the folder that is copied.
    """
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        for path in place.glob(replaced):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if (Path(scratch) / part).exists():
            # Links within it name the folder that is about to go.
            shutil.copytree(
                Path(scratch) / part,
                place,
                dirs_exist_ok=True,
                copy_function=shutil.copyfile,
                ignore=lambda folder, names: {n for n in names if Path(folder, n).is_symlink()},
            )


def _key(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    versions = record.get("inputs", {}) | record.get("outputs", {})
    return {
        "reweight.run_id": record["run_id"],
        "reweight.config_hash": record["config_hash"],
        "reweight.revision": record["revision"],
        f"reweight.status.{record['stage']}": record["status"],
        **{f"reweight.table.{name}": str(version) for name, version in versions.items()},
    }


def _flat(values: Any, between: str, name: str = "") -> dict[str, Any]:
    """Leaves of nested values, by their path."""
    if isinstance(values, Mapping):
        items: Any = values.items()
    elif isinstance(values, list | tuple):
        items = enumerate(values)
    else:
        return {name: values}
    return {
        path: leaf
        for key, value in items
        for path, leaf in _flat(
            value, between, f"{name}{between}{key}" if name else str(key)
        ).items()
    }


def _numbers(values: Any, name: str) -> dict[str, float]:
    """The leaves that are numbers, under names that every tracker takes."""
    return {
        re.sub(r"[^\w./ -]", "_", path): float(leaf)
        for path, leaf in _flat(values, "/", name).items()
        if isinstance(leaf, int | float) and not isinstance(leaf, bool)
    }


def _losses(path: Path) -> dict[str, list[float]]:
    curves = json.loads(path.read_text())
    return {
        f"loss/{_plain(name)}/{part}": [entry[part] for entry in epochs]
        for name, epochs in curves.items()
        for part in ("train", "validation")
    }


def _compared(path: Path) -> dict[str, float]:
    """Metrics of the report by split and method, with what they are less the baseline's."""
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    return _numbers(content.get("comparison", {}), "")


def _plain(name: str) -> str:
    return re.sub(r"[^\w. -]", "_", name)
