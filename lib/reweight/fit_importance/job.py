"""What fitting needs besides rows and methods."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pyspark.sql import SparkSession

from reweight.build_samples.feature_stats import read_stats
from reweight.core.run import JobRun
from reweight.training.plan import Fitting


@dataclass(frozen=True)
class FitJob:
    """What a run or an estimator needs for fitting, besides rows and methods.

    Attributes:
        spark: the session.
        seed: seed of everything random.
        fitting: the section ``fitting``.
        names: of the dense features, [D].
        cardinalities: size of the id space of each field of ``ids``.
        snapshots: folder for the rows that training reads, shared by the driver and the executors.
    """

    spark: SparkSession
    seed: int
    fitting: Fitting
    names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    snapshots: Path

    @classmethod
    def of(cls, run: JobRun[Any]) -> Self:
        """The job of a run whose samples are built; its config has ``seed`` and ``fitting``."""
        stats = read_stats(run.folder.features)
        return cls(
            spark=run.spark,
            seed=run.config.seed,
            fitting=run.config.fitting,
            names=stats.names,
            cardinalities=stats.sizes,
            snapshots=run.folder.snapshot,
        )

    @property
    def dim(self) -> int:
        """Length of ``features``, D."""
        return len(self.names)
