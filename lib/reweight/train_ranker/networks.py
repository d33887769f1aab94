"""What the ranker `deep` does with torch: its networks are trained as importance methods are."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight, soft_label
from reweight.core.errors import ReweightError, TrainingError
from reweight.core.run_folder import ModelsFolder
from reweight.core.session_kind import master
from reweight.fit_importance.fit import train as launch_training
from reweight.fit_importance.fit import training_plan
from reweight.fit_importance.job import FitJob
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.batch import Batch
from reweight.importance.cross_network import DeepNetwork
from reweight.importance.deep_settings import DeepSettings, label_column, weight_column
from reweight.importance.training import TrainFacts
from reweight.score_weights.scoring import sent_models
from reweight.train_ranker.in_python import Predict, with_predictions
from reweight.train_ranker.rankers.base import RankerJob
from reweight.train_ranker.rows import WeightColumn
from reweight.training.plan import Fitting
from reweight.training.refused import read_refused

# No method can have this name.
_SNAPSHOT = "training-rows"

Trained = tuple[ModelArtifact, str]


def fit_networks(
    train: DataFrame, columns: Sequence[WeightColumn], settings: DeepSettings, job: RankerJob
) -> dict[str, Trained | ReweightError]:
    """Trains a network on each column of weights, by one launch of the ranks.

    Args:
        train: rows with ``sample_id``, ``features``, ``ids``, ``label`` and the columns.
        columns: the columns of weights.
        settings: of the networks.
        job: with the folder of their artifacts and of the checkpoints.

    Returns:
        By name of the column the artifact, and its epochs in words; or why it diverged.

    Raises:
        TrainingError: the networks are too large, or the ranks could not finish.
    """
    networks = tuple(DeepNetwork.of(c.name, settings, soft=c.soft) for c in columns)
    with _folder(train, job) as folder:
        fit_job = FitJob(
            spark=train.sparkSession,
            seed=job.seed,
            fitting=job.fitting or Fitting(),
            names=job.names,
            cardinalities=tuple(job.fields.values()),
            snapshots=folder.path.absolute() / _SNAPSHOT,
        )
        sums: Any = train.agg(F.count("*"), F.sum("label"), *[F.avg(c.name) for c in columns])
        rows, positives, *means = sums.first()
        facts = TrainFacts(
            dim=fit_job.dim,
            cardinalities=fit_job.cardinalities,
            rows=rows,
            positives=round(positives),
            seed=job.seed,
            names=job.names,
        )
        for network in networks:
            network.training.check_size(facts)
        # Without validation rows, training ends by the same rule on the rows that are there.
        held_out = train if job.validation is None else job.validation
        samples = _training_rows(train, columns, means).unionByName(
            validation_rows(held_out, columns)
        )
        plan = training_plan(fit_job, samples, facts, networks, folder)
        launch_training(fit_job, plan.model_copy(update={"strict": False}))
        shutil.rmtree(fit_job.snapshots, ignore_errors=True)
        return _trained(networks, folder)


def _trained(
    networks: Sequence[DeepNetwork], folder: ModelsFolder
) -> dict[str, Trained | ReweightError]:
    curves, trained = json.loads(folder.curves.read_text()), dict[str, Trained | ReweightError]()
    trained |= read_refused(folder)
    for name in (network.name for network in networks):
        if name not in trained:
            artifact = ModelArtifact.read(folder.model(name))
            trained[name] = artifact, f"epoch {artifact.epochs[0]} of {len(curves[name])}"
    return trained


def read_network(folder: Path) -> ModelArtifact:
    """Reads the artifact of a network."""
    return ModelArtifact.read(folder)


def with_log_odds(rows: DataFrame, models: Mapping[str, ModelArtifact]) -> DataFrame:
    """Adds a column of log odds per network."""
    # Small by nature: the parameters of the networks.
    sent = sent_models(rows.sparkSession, models)

    def load() -> Predict:
        # One thread per task: Spark runs a task on each core.
        torch.set_num_threads(1)
        scorer = Scorer(sent)

        def predict(
            features: pd.Series,  # type: ignore[type-arg]
            ids: pd.Series,  # type: ignore[type-arg]
        ) -> Sequence[NDArray[Any]]:
            unused = pa.array(np.zeros(len(features), dtype=np.int64))
            columns = {"features": pa.array(features), "ids": pa.array(ids)}
            batch = Batch.from_arrow({"sample_id": unused, "label": unused} | columns, {})
            return [values.numpy() for values in scorer(batch).values()]

        return predict

    return with_predictions(rows, [F.col("features"), F.col("ids")], list(models), load)


@contextmanager
def _folder(train: DataFrame, job: RankerJob) -> Iterator[ModelsFolder]:
    if job.folder is not None:
        yield ModelsFolder(job.folder)
        return
    if not master(train.sparkSession).startswith("local["):
        raise TrainingError(
            "the ranker 'deep' needs a folder that its ranks share",
            expected="the folder of a run, for its rows and checkpoints",
            got="none",
            fix="train it in a run, or use a ranker that needs no ranks",
        )
    with tempfile.TemporaryDirectory(prefix="reweight-deep-") as folder:
        yield ModelsFolder(Path(folder))


def _training_rows(
    train: DataFrame, columns: Sequence[WeightColumn], means: Sequence[float]
) -> DataFrame:
    weights = [
        (F.col(c.name) / mean).alias(weight_column(c.name))
        for c, mean in zip(columns, means, strict=True)
    ]
    labels = [
        F.col(soft_label(c.name)).cast("double").alias(label_column(c.name))
        for c in columns
        if c.soft
    ]
    return _rows(train, "train", [*weights, *labels])


def validation_rows(rows: DataFrame, columns: Sequence[WeightColumn]) -> DataFrame:
    """The rows by which networks stop: each weighs what it stands for, with mean 1.

    Args:
        rows: with ``sample_id``, ``features``, ``ids``, ``label`` and, where negatives were
            sampled, ``design_weight``.
        columns: the columns of weights, one for each network.
    """
    counted = design_weight(rows)
    mean: Any = rows.agg(F.avg(counted)).first()
    weights = [(counted / (mean[0] or 1.0)).alias(weight_column(c.name)) for c in columns]
    labels = [F.col("label").cast("double").alias(label_column(c.name)) for c in columns if c.soft]
    return _rows(rows, "validation", [*weights, *labels])


def _rows(rows: DataFrame, split: str, columns: Sequence[Any]) -> DataFrame:
    """The columns of ``samples`` that training reads, and those of weights and soft labels."""
    label = F.col("label").cast("double").alias("label")
    split_of_all, mature = F.lit(split).alias("split"), F.lit(True).alias("mature")
    return rows.select("sample_id", "features", "ids", label, split_of_all, mature, *columns)
