"""What the rankers of trees share: their settings, and the vectors that they split.

Weights enter as sums: of gradients and squares in a node, and in the quantiles that give candidate
splits. ``minInstancesPerNode`` would count rows whatever they weigh, so it stays 1, and leaves are
limited by their share of the sum of weights. Rows of weight 0 are left out, since they would still
be drawn for candidate splits.

What Spark ML does not do irrespective of partitions: above max(10,000, max_bins^2) rows, candidate
splits are quantiles of rows that are drawn by partition.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.train_ranker.rankers.base import FittedRanker, Ranker, RankerJob

_DENSE = "_dense"


class Trees(Ranker):
    """Settings of all rankers of trees.

    Attributes:
        max_depth: of each tree.
        max_bins: candidate splits of a feature, plus 1.
        min_weight: share of the sum of weights that a leaf needs.
        ids: whether one-hot ids are among the features. While trees are fitted, each feature takes
            4 bytes per row, zeros included, so ids with thousands of values are better left to
            other rankers.
    """

    idle_cores: ClassVar[bool] = True

    max_depth: int = Field(default=5, ge=1, le=30)
    max_bins: int = Field(default=32, ge=2)
    min_weight: float = Field(default=0.0, ge=0, lt=0.5)
    ids: bool = True

    def columns(self) -> tuple[str, ...]:
        """The vectors with one-hot ids, or the dense features alone."""
        return ("vector",) if self.ids else ("features",)

    def inputs(self, rows: DataFrame) -> DataFrame:
        """The rows that weigh something, with the vectors that are split."""
        return with_inputs(rows.where("weight > 0"), "vector" if self.ids else _DENSE)

    def shared(self, job: RankerJob) -> dict[str, Any]:
        """The arguments that all classifiers of trees have."""
        return {
            "featuresCol": "vector" if self.ids else _DENSE,
            "labelCol": "label",
            "weightCol": "weight",
            "maxDepth": self.max_depth,
            "maxBins": self.max_bins,
            "minInstancesPerNode": 1,
            "minWeightFractionPerNode": self.min_weight,
            "seed": job.seed,
        }


@dataclass(frozen=True)
class FittedTrees(FittedRanker):
    """Fitted trees.

    Attributes:
        model: the Spark ML model.
    """

    model: Any

    def write(self, folder: Path) -> None:
        """Writes the Spark ML model."""
        self.model.write().overwrite().save(str(folder.absolute()))

    @property
    def outcome(self) -> str:
        """The number of trees and of their nodes."""
        return f"{self.model.getNumTrees} trees of {self.model.totalNumNodes} nodes"


def with_inputs(rows: DataFrame, column: str) -> DataFrame:
    """The rows with the vectors that trees split.

    Args:
        rows: with ``vector`` or ``features``.
        column: the column that a classifier or a model reads.
    """
    # Not under the name `vector`, which stands there with one-hot ids if another ranker reads it.
    if column != _DENSE:
        return rows
    return rows.withColumn(_DENSE, array_to_vector(F.col("features")))
