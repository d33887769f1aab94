"""The files that a run leaves beside its tables: the only place where their names are written."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelsFolder:
    """Where a training leaves the models of its methods; driver and executors share it.

    Attributes:
        path: of the folder.
    """

    path: Path

    @property
    def curves(self) -> Path:
        """Losses by epoch."""
        return self.path / "curves.json"

    @property
    def checkpoint(self) -> Path:
        """Of a training that is not finished."""
        return self.path / "checkpoint.pt"

    @property
    def fitted(self) -> Path:
        """Says of which rows, settings and code the models are."""
        return self.path / "fitted.json"

    @property
    def errors(self) -> Path:
        """Folder of the tracebacks of ranks that failed."""
        return self.path / "errors"

    @property
    def heartbeats(self) -> Path:
        """Folder of the ranks' signs of life."""
        return self.path / "ranks"

    def model(self, method: str) -> Path:
        """Folder of a fitted model, which stands alone."""
        return self.path / method

    def features(self, method: str) -> Path:
        """The feature statistics of the samples that a model was fitted on."""
        return self.model(method) / "features.json"

    def policy(self, method: str) -> Path:
        """What the weight policy learnt for a method."""
        return self.model(method) / "policy.json"


@dataclass(frozen=True)
class RunFolder:
    """What a run leaves beside the tables.

    Attributes:
        path: ``<root>/runs/<run_id>``: on a cluster a path that driver and executors share.
    """

    path: Path

    @classmethod
    def of(cls, root: str | Path, run_id: str) -> "RunFolder":
        """The folder of a run."""
        return cls(Path(root) / "runs" / run_id)

    @property
    def config(self) -> Path:
        """The run's config, with all defaults."""
        return self.path / "config.json"

    @property
    def features(self) -> Path:
        """Feature statistics of the training split."""
        return self.path / "features.json"

    @property
    def models(self) -> ModelsFolder:
        """The fitted importance models."""
        return ModelsFolder(self.path / "models")

    @property
    def snapshot(self) -> Path:
        """Folder of the rows as training reads them, while it does."""
        return (self.path / "snapshot").absolute()

    def ranker(self, method: str) -> Path:
        """Folder of the ranker that was trained on a method's weights."""
        return self.path / "rankers" / method

    @property
    def evaluation(self) -> Path:
        """Curves, and what the weights are like."""
        return self.path / "evaluation.json"

    @property
    def tuning(self) -> Path:
        """What came of each candidate of a search."""
        return self.path / "tuning.json"

    def candidates(self, name: str) -> ModelsFolder:
        """The models of candidates that are fitted together."""
        return ModelsFolder(self.path / "tuning" / name)

    def page(self, name: str) -> Path:
        """A page that stands alone, as ``report``."""
        return self.path / f"{name}.html"

    def content(self, name: str) -> Path:
        """What the page of the same name shows, as JSON."""
        return self.path / f"{name}.json"

    @property
    def records(self) -> Path:
        """Folder of the stages' records."""
        return self.path / "records"

    def record(self, stage: str) -> Path:
        """The record of a stage."""
        return self.records / f"{stage}.json"

    @property
    def attempt(self) -> Path:
        """Says whether the last attempt was interrupted: without it none is resumed."""
        return self.path / "attempt.json"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the run."""
        return self.path / "run.lock"

    @property
    def owner(self) -> Path:
        """Who holds the lock."""
        return self.path / "owner.json"

    @property
    def spark_log(self) -> Path:
        """What Spark and its JVM print."""
        return self.path / "spark.log"

    @property
    def scratch(self) -> Path:
        """What a session that we start ourselves spills to.

        Its name is the run's, so that the next attempt of a killed run can clear it.
        """
        name = hashlib.sha256(str(self.path.absolute()).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"reweight-{os.getuid()}-{name}"
