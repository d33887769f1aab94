"""A run in progress: what every stage receives."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from pyspark.sql import SparkSession

from reweight.core.files import write_json
from reweight.core.job_config import JobConfig
from reweight.core.run_folder import RunFolder
from reweight.core.store import Store
from reweight.core.store_places import open_store

_LOG = logging.getLogger(__name__)

Summary = Mapping[str, Any]
Stage = Callable[[Any], Summary]
Config = TypeVar("Config", bound=JobConfig)
StageFunction = TypeVar("StageFunction", bound=Callable[..., Any])
Versions = Mapping[str, str | None]


def reads(versions: Callable[[Any], Versions]) -> Callable[[StageFunction], StageFunction]:
    """States what a stage reads that is not in the tables; its record holds the versions.

    Args:
        versions: takes the run; gives the version of each input by name, None for an unknown one.
    """

    def marked(stage: StageFunction) -> StageFunction:
        stage.input_versions = versions  # type: ignore[attr-defined]
        return stage

    return marked


def leaves(
    versions: Callable[[Any], Versions], instead_of: Sequence[str] = ()
) -> Callable[[StageFunction], StageFunction]:
    """States what a stage leaves that is not in the tables; its record holds the versions.

    Args:
        versions: takes the run; gives the version of each output by name.
        instead_of: settings of which the stage's results depend only on what these versions say.
    """

    def marked(stage: StageFunction) -> StageFunction:
        stage.left_versions = versions  # type: ignore[attr-defined]
        stage.instead_of = tuple(instead_of)  # type: ignore[attr-defined]
        return stage

    return marked


def read_by(stage: Stage, run: Any) -> dict[str, str | None]:
    """Versions of what the stage reads that is not in the tables; see ``reads``."""
    versions = getattr(stage, "input_versions", None)
    return dict(versions(run)) if versions else {}


def left_by(stage: Stage, run: Any) -> dict[str, str | None]:
    """Versions of what the stage has left that is not in the tables; see ``leaves``."""
    versions = getattr(stage, "left_versions", None)
    return dict(versions(run)) if versions else {}


@dataclass
class JobRun(Generic[Config]):
    """The config, the session and the tables of a run in progress.

    Attributes:
        spark: the session.
        config: the whole config; a stage reads its own section.
        store: the run's slices of the tables.
    """

    spark: SparkSession
    config: Config
    store: Store

    @classmethod
    def open(cls, spark: SparkSession, config: Config) -> Self:
        """Starts a run, or resumes one.

        Raises:
            TableError: the schema for the tables does not exist.
            SetupError: a tracker is not installed.
        """
        config.tracking.check()
        root = str(Path(config.root).absolute())  # Delta's SQL needs an absolute path
        run = cls(spark, config, open_store(spark, root, config.run_id, config.catalog))
        run.store.check()
        run.folder.path.mkdir(parents=True, exist_ok=True)
        write_json(run.folder.config, config.kept())
        return run

    @property
    def folder(self) -> RunFolder:
        """The run's files beside the tables: models, statistics, records, the report."""
        return RunFolder.of(self.config.root, self.config.run_id)

    def say(self, text: str) -> None:
        """Logs a line of progress."""
        _LOG.info(text)
