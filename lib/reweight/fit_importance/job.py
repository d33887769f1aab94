"""What fitting needs beside rows and methods."""

from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from reweight.training.plan import Fitting


@dataclass(frozen=True)
class FitJob:
    """What fitting needs beside rows and methods: of a run, or of an estimator.

    Attributes:
        spark: the session.
        seed: of everything that is random.
        fitting: the section.
        dim: length of ``features``.
        cardinalities: size of the id space of each field of ``ids``.
        snapshots: folder that driver and executors share, for the rows as training reads them.
    """

    spark: SparkSession
    seed: int
    fitting: Fitting
    dim: int
    cardinalities: tuple[int, ...]
    snapshots: Path
