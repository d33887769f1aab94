"""`random_forest`: the mean of deep trees of Spark ML, each on a bootstrap of the rows.

Breiman 2001, "Random Forests". The bootstrap draws how often a row counts from a Poisson
distribution, and multiplies it by the weight: a weight of 2 is the row twice in expectation, and
exactly so with ``bootstrap: false``. The draws depend on how the rows are partitioned.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pyspark.ml.classification import RandomForestClassificationModel, RandomForestClassifier
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.train_ranker.rankers.base import RankerJob
from reweight.train_ranker.rankers.trees import FittedTrees, Trees, with_inputs

# A share of 0 or 1 in all leaves has no finite log odds.
_LEAST = 1e-6


@dataclass(frozen=True)
class FittedRandomForest(FittedTrees):
    """A fitted forest."""

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds the log odds of the mean share of positives in the leaves of the row."""
        share = f"_share_{column}"
        model = self.model.copy().setProbabilityCol(share)
        model = model.setPredictionCol("").setRawPredictionCol("")
        scored: DataFrame = model.transform(with_inputs(rows, model.getFeaturesCol()))
        p = F.least(F.greatest(vector_to_array(F.col(share))[1], F.lit(_LEAST)), F.lit(1 - _LEAST))
        return scored.select(*rows.columns, F.log(p / (1 - p)).alias(column))


class RandomForest(Trees):
    """A random forest: no step size to choose, and robust to single rows.

    Attributes:
        trees: number of trees.
        max_depth: of each tree.
        bootstrap: whether each tree is fitted on a draw of the rows; otherwise trees differ only in
            the features that their splits choose from.
    """

    cost: ClassVar[str] = "a few passes over the rows per level of depth, for all trees at once"

    ranker: Literal["random_forest"] = "random_forest"
    trees: int = Field(default=50, ge=1)
    max_depth: int = Field(default=8, ge=1, le=30)
    bootstrap: bool = True

    def fit(self, rows: DataFrame, job: RankerJob) -> FittedRandomForest:
        """Fits all trees side by side."""
        classifier = RandomForestClassifier(
            **self.shared(job), numTrees=self.trees, bootstrap=self.bootstrap
        )
        return FittedRandomForest(classifier.fit(self.inputs(rows)))

    def read(self, folder: Path) -> FittedRandomForest:
        """Reads the Spark ML model."""
        return FittedRandomForest(RandomForestClassificationModel.load(str(folder.absolute())))
