"""The supported experiment trackers, each a part of the section ``tracking``."""

import contextlib
import json
import shutil
import tempfile
import time
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from reweight.core.digest import digest
from reweight.core.files import write_whole
from reweight.core.section import Section
from reweight.core.tracking.event import StageEvent


class Tracker(Section):
    """An experiment tracker."""

    package: ClassVar[str]

    @abstractmethod
    def log(self, event: StageEvent) -> None:
        """Logs a stage that has ended; if it is logged again, the new event replaces the old."""


class MLflow(Tracker):
    """MLflow: one MLflow run for each run and config.

    Attributes:
        uri: address of the tracking server; by default MLflow's own (``MLFLOW_TRACKING_URI``, or
            the workspace on Databricks).
        experiment: its name; on Databricks a path in the workspace, such as ``/Shared/reweight``.
    """

    package: ClassVar[str] = "mlflow"

    uri: str | None = None
    experiment: str = "reweight"

    def log(self, event: StageEvent) -> None:
        """Logs params, tags, metrics, curves by epoch, and files."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag

        client = MlflowClient(tracking_uri=self.uri)
        run_id = self._run(client, event)
        # Values of one step are ordered by time: if a stage is run again, its last values count.
        now = int(time.time() * 1000)
        curves = [
            Metric(name, value, now, epoch)
            for name, values in event.curves.items()
            for epoch, value in enumerate(values, 1)
        ]
        client.log_batch(
            run_id,
            metrics=[*curves, *(Metric(k, v, now, 0) for k, v in event.metrics.items())],
            params=[Param(k, v) for k, v in event.params.items()],
            tags=[RunTag(k, v) for k, v in event.tags.items()],
        )
        for name, path in event.files.items():
            client.log_artifact(run_id, str(path), name.rpartition("/")[0] or None)
        client.set_terminated(run_id, "FINISHED" if event.status == "done" else "FAILED")

    def _run(self, client: Any, event: StageEvent) -> str:
        """The MLflow run to which earlier stages were logged, or a new one."""
        id_file = event.folder.path / "tracking" / "mlflow.json"
        # Hashed, since the address may contain a password.
        key = digest(event.key, str(self.uri), self.experiment)
        recorded = json.loads(id_file.read_text()) if id_file.exists() else {}
        if recorded.get("key") == key:
            return str(recorded["run"])
        experiment = client.get_experiment_by_name(self.experiment)
        if experiment:
            experiment_id = experiment.experiment_id
        else:
            experiment_id = client.create_experiment(self.experiment)
        run = str(client.create_run(experiment_id, run_name=event.run_id).info.run_id)
        write_whole(id_file, json.dumps({"key": key, "run": run}).encode())
        return run


class TensorBoard(Tracker):
    """TensorBoard: a folder of events for each run.

    Attributes:
        folder: the events go to ``<folder>/<run_id>``; by default to ``tensorboard`` in the run's
            folder.
    """

    package: ClassVar[str] = "tensorboard"

    folder: str | None = None

    def log(self, event: StageEvent) -> None:
        """Logs scalars, and the config and tags as text; TensorBoard stores no files."""
        from torch.utils.tensorboard import SummaryWriter

        events = (
            Path(self.folder) / event.run_id if self.folder else event.folder.path / "tensorboard"
        )
        suffix = f".{event.stage}"
        with (
            moved(events, f"*{suffix}") as scratch,
            SummaryWriter(str(scratch), filename_suffix=suffix) as writer,
        ):
            for name, value in event.metrics.items():
                writer.add_scalar(name, value, 0)
            for name, values in event.curves.items():
                for epoch, value in enumerate(values, 1):
                    writer.add_scalar(name, value, epoch)
            for name, texts in {"config": event.params, "tags": event.tags}.items():
                lines = "".join(f"    {k}: {v}\n" for k, v in texts.items())
                writer.add_text(f"{name}/{event.stage}", lines)


class Wandb(Tracker):
    """Weights & Biases: one W&B run for each run and config.

    Attributes:
        project: name of the W&B project.
        entity: user or team; by default that of the login.
        mode: ``offline`` keeps everything in the run's folder, for
            ``wandb sync wandb/*/offline-run-*``; ``online`` needs a login (``WANDB_API_KEY``).
    """

    package: ClassVar[str] = "wandb"

    project: str = "reweight"
    entity: str | None = None
    mode: Literal["offline", "online"] = "offline"

    def log(self, event: StageEvent) -> None:
        """Logs config, summary, curves by epoch, and the files as an artifact."""
        import wandb

        with moved(event.folder.path / "wandb" / event.stage, "*", "wandb") as scratch:
            run = wandb.init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,
                dir=str(scratch),
                id=event.key,
                name=event.run_id,
                resume="allow" if self.mode == "online" else None,
                config={**event.params, **{f"tags/{k}": v for k, v in event.tags.items()}},
                settings=wandb.Settings(console="off", silent=True, disable_git=True),
            )
            run.define_metric("loss/*", step_metric="epoch")
            for epoch in range(max(map(len, event.curves.values()), default=0)):
                values = {k: v[epoch] for k, v in event.curves.items() if epoch < len(v)}
                run.log({"epoch": epoch + 1, **values})
            run.summary.update(dict(event.metrics))
            artifact = wandb.Artifact(f"{event.run_id}-{event.stage}", type="stage")
            for name, path in event.files.items():
                artifact.add_file(str(path), name=name)
            run.log_artifact(artifact)
            run.finish(exit_code=0 if event.status == "done" else 1)


@contextlib.contextmanager
def moved(place: Path, replaced: str, part: str = ".") -> Iterator[Path]:
    """A local folder whose content is copied to a place that may accept only whole files.

    Args:
        place: the target folder, such as one in a volume.
        replaced: glob of what is removed from the target first.
        part: the subfolder to copy.
    """
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        for path in place.glob(replaced):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if (Path(scratch) / part).exists():
            # Links inside it point into the folder that is about to be removed.
            shutil.copytree(
                Path(scratch) / part,
                place,
                dirs_exist_ok=True,
                copy_function=shutil.copyfile,
                ignore=lambda folder, names: {n for n in names if Path(folder, n).is_symlink()},
            )
