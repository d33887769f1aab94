"""What a run leaves, logged to experiment trackers too; none is needed for anything.

All of it is read from the run's folder after each stage (its record, the curves of the training,
the report), so that no stage knows of trackers, and stages that run as jobs of their own are
logged as one run.
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
        """Those that are enabled."""
        every = (self.mlflow, self.tensorboard, self.wandb)
        return tuple(tracker for tracker in every if tracker is not None)

    def check(self) -> None:
        """Looks for the trackers' packages, before work is done that is to be logged to them.

        Raises:
            SetupError: one is not installed.
        """
        asked = [tracker.package for tracker in self.trackers()]
        missing = [name for name in asked if importlib.util.find_spec(name) is None]
        if missing:
            raise SetupError(
                f"tracking asks for {', '.join(missing)}",
                expected=f"the packages {asked}",
                got=f"not installed: {missing}",
                fix='pip install "reweight[tracking]", or take the part out of `tracking`',
            )

    def log(self, folder: RunFolder, record: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        """Logs a stage that is over to every tracker.

        A tracker that fails costs the run nothing: what it was to log is in the run's folder.

        Args:
            folder: of the run.
            record: of the stage.
            config: what the results depend on.
        """
        for tracker in self.trackers():
            try:
                tracker.log(StageEvent.of(folder, record, config))
            except Exception as error:
                why = str(error).strip().splitlines() or [""]
                reason = f"{type(error).__name__}: {why[0][:300]}"
                _LOG.warning("nothing was logged to %s: %s", tracker.package, reason)
