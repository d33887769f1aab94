"""The files that a run leaves beside its tables: the only place that defines their names."""

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ModelsFolder:
    """Where training leaves the models of its methods; driver and executors share it.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def curves(self) -> Path:
        """Loss curves by epoch."""
        return self.path / "curves.json"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of an unfinished training."""
        return self.path / "checkpoint.pt"

    @property
    def fitted(self) -> Path:
        """Records the rows, settings and code that the models were fitted with."""
        return self.path / "fitted.json"

    @property
    def refused(self) -> Path:
        """The methods that the ranks left out, each with the error."""
        return self.path / "refused.json"

    @property
    def known(self) -> Path:
        """The importance of methods that follows from counts, by method."""
        return self.path / "known.json"

    @property
    def ids(self) -> Path:
        """Which ids of each field the models have been trained on."""
        return self.path / "ids.safetensors"

    @property
    def updated(self) -> Path:
        """How many parameters a warm start trains, by training."""
        return self.path / "updated.json"

    @property
    def errors(self) -> Path:
        """Folder of the tracebacks of failed ranks."""
        return self.path / "errors"

    @property
    def heartbeats(self) -> Path:
        """Folder of the ranks' heartbeats."""
        return self.path / "ranks"

    def model(self, method: str) -> Path:
        """Folder of a fitted model, which is self-contained."""
        return self.path / method

    def features(self, method: str) -> Path:
        """The feature statistics of the samples that a model was fitted on."""
        return self.model(method) / "features.json"

    def propensities(self, method: str) -> Path:
        """What a position model estimated, by position."""
        return self.model(method) / "propensities.json"

    def policy(self, method: str) -> Path:
        """The statistics of the weight policy for a method."""
        return self.model(method) / "policy.json"


@dataclass(frozen=True)
class RunFolder:
    """The files that a run leaves beside its tables.

    Attributes:
        path: ``<root>/runs/<run_id>``; on a cluster a path that driver and executors share.
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
    def kept(self) -> Path:
        """Types of the columns that the samples keep for judges."""
        return self.path / "kept.json"

    @property
    def decision(self) -> Path:
        """Which weights to ship, by which judge."""
        return self.path / "decision.json"

    @property
    def labels(self) -> Path:
        """How many label events there are, and how many of them several samples share."""
        return self.path / "labels.json"

    @property
    def models(self) -> ModelsFolder:
        """The fitted importance models."""
        return ModelsFolder(self.path / "models")

    @property
    def left_out(self) -> Path:
        """The methods that the run goes on without, by the stage that refused them."""
        return self.path / "left_out.json"

    @property
    def snapshot(self) -> Path:
        """Folder of the rows that training reads; it exists only while training runs."""
        return (self.path / "snapshot").absolute()

    @property
    def worlds(self) -> Path:
        """Folder of the rows of simulated worlds; it exists only while they are judged."""
        return (self.path / "worlds").absolute()

    def ranker(self, ranker: str, method: str) -> Path:
        """Folder of a ranker trained on a method's weights."""
        return self.rankers(ranker) / method

    def rankers(self, ranker: str) -> Path:
        """Folder of a ranker's fits on the weights of all methods."""
        return self.path / "rankers" / ranker

    @property
    def exports(self) -> Path:
        """Folder of what is exported of all methods."""
        return self.path / "export"

    def export(self, method: str) -> Path:
        """Folder of what is exported of a method: its scorer, and rows for other trainers."""
        return self.exports / method

    @property
    def evaluation(self) -> Path:
        """Curves, and a summary of the weights."""
        return self.path / "evaluation.json"

    @property
    def tuning(self) -> Path:
        """The result of each candidate of a search."""
        return self.path / "tuning.json"

    def candidates(self, name: str) -> ModelsFolder:
        """The models of candidates that are fitted together."""
        return ModelsFolder(self.path / "tuning" / name)

    @property
    def search(self) -> "RunFolder":
        """What the rankers of candidates leave."""
        return RunFolder(self.path / "tuning")

    @property
    def days(self) -> Path:
        """Folder of what is known of each day that was delivered."""
        return self.path / "days"

    def day(self, day: str) -> Path:
        """What is known of a day, such as ``2026-01-31``."""
        return self.days / f"{day}.json"

    @property
    def series(self) -> Path:
        """What all days of the run have in common."""
        return self.path / "series.json"

    def page(self, name: str) -> Path:
        """A self-contained page, such as ``report``."""
        return self.path / f"{name}.html"

    def content(self, name: str) -> Path:
        """The content of the page of the same name, as JSON."""
        return self.path / f"{name}.json"

    @property
    def records(self) -> Path:
        """Folder of the stages' records."""
        return self.path / "records"

    def record(self, stage: str) -> Path:
        """The record of a stage."""
        return self.records / f"{stage}.json"

    @property
    def lock(self) -> Path:
        """Held by the process that works on the run."""
        return self.path / "run.lock"

    @property
    def owner(self) -> Path:
        """Which process holds the lock."""
        return self.path / "owner.json"

    @property
    def spark_log(self) -> Path:
        """The output of Spark and its JVM."""
        return self.path / "spark.log"

    @property
    def staged(self) -> Path:
        """Rows that are computed once, where Spark does not keep them itself."""
        return (self.path / "staged").absolute()

    @property
    def scratch(self) -> Path:
        """The folder to which a session that the job starts itself spills.

        Its name depends only on the run, so that the next attempt of a killed run can clear it.
        """
        name = hashlib.sha256(str(self.path.absolute()).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"reweight-{os.getuid()}-{name}"


def read_records(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """The records of a run's stages, by stage name, oldest first."""
    records = {p.stem: json.loads(p.read_text()) for p in folder.records.glob("*.json")}
    return dict(sorted(records.items(), key=lambda item: str(item[1]["started"])))
