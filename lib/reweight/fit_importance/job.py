"""What fitting needs besides rows and methods."""

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

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

    @property
    def dim(self) -> int:
        """Length of ``features``, D."""
        return len(self.names)
