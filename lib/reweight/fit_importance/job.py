"""What fitting needs besides rows and methods."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from reweight.build_samples.feature_stats import read_stats
from reweight.build_samples.shared_labels import LabelEvents, read_label_events
from reweight.core.run import JobRun
from reweight.core.sequences import SequenceShape
from reweight.training.plan import Fitting
from reweight.training.warm_start import StartFolder


class KnownPolicy(Protocol):
    """The weight policy, as far as fitting asks it."""

    def check_known(self, method: Any, known: NDArray[np.float64]) -> None:
        """Refuses weights that are known before training and leave too few effective samples."""


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
        weighting: the weight policy; None where the weights are not checked before training.
        labels: the label events of the samples; None where nothing is known of them.
        sequence: shape of the sequences; None if there are none.
        start: the fitted models that trainings start from; None for new ones.
    """

    spark: SparkSession
    seed: int
    fitting: Fitting
    names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    snapshots: Path
    weighting: KnownPolicy | None = None
    labels: LabelEvents | None = None
    sequence: SequenceShape | None = None
    start: StartFolder | None = None

    @classmethod
    def of(
        cls,
        run: JobRun[Any],
        weighting: KnownPolicy | None = None,
        start: StartFolder | None = None,
    ) -> Self:
        """The job of a run whose samples are built; its config has ``seed`` and ``fitting``."""
        stats = read_stats(run.folder.features)
        return cls(
            spark=run.spark,
            seed=run.config.seed,
            fitting=run.config.fitting,
            names=stats.names,
            cardinalities=stats.sizes,
            snapshots=run.folder.snapshot,
            weighting=weighting,
            labels=read_label_events(run.folder.labels),
            sequence=stats.sequence,
            start=start,
        )

    @property
    def dim(self) -> int:
        """Length of ``features``, D."""
        return len(self.names)
