"""Logs a run's results to experiment trackers as well; nothing depends on a tracker.

Everything is read from the run's folder after each stage (its record, the loss curves, the report),
so that no stage knows about trackers, and stages that run as separate jobs are logged as one run.
"""

import importlib.util
import logging
from collections.abc import Mapping
from typing import Any

from reweight.core.errors import SetupError
from reweight.core.run_folder import RunFolder
from reweight.core.section import Section
from reweight.core.tracking.event import StageEvent
from reweight.core.tracking.trackers import MLflow, TensorBoard, Tracker, Wandb

_LOG = logging.getLogger(__name__)


class Tracking(Section):
    """The section ``tracking``: experiment trackers; none is enabled by default."""

    mlflow: MLflow | None = None
    tensorboard: TensorBoard | None = None
    wandb: Wandb | None = None

    def trackers(self) -> tuple[Tracker, ...]:
        """The trackers that are enabled."""
        every = (self.mlflow, self.tensorboard, self.wandb)
        return tuple(tracker for tracker in every if tracker is not None)

    def check(self) -> None:
        """Checks that the trackers' packages are installed, before any work is done.

        Raises:
            SetupError: a package is not installed.
        """
        packages = [tracker.package for tracker in self.trackers()]
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            raise SetupError(
                f"tracking needs {', '.join(missing)}",
                expected=f"the packages {packages}",
                got=f"not installed: {missing}",
                fix='run pip install "reweight[tracking]", or remove the tracker from `tracking`',
            )

    def log(self, folder: RunFolder, record: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Logs a stage that has ended to every tracker.

        A tracker that fails does not fail the run: everything it logs is in the run's folder.

        Args:
            folder: the run's folder.
            record: the stage's record.
            config: the part of the config that results depend on.
        """
        for tracker in self.trackers():
            try:
                tracker.log(StageEvent.of(folder, record, config))
            except Exception as error:
                lines = str(error).strip().splitlines() or [""]
                reason = f"{type(error).__name__}: {lines[0][:300]}"
                _LOG.warning("could not log to %s: %s", tracker.package, reason)
