"""`gbt`: gradient-boosted trees of Spark ML, with the weight in every sum.

Friedman 2001, "Greedy Function Approximation". Each tree is fitted to the gradient of the weighted
log loss sum_i w_i log(1 + exp(-2 y_i F(x_i))) with y in {-1, 1}; the log odds are 2 F(x).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pyspark.ml.classification import GBTClassificationModel, GBTClassifier
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.train_ranker.rankers.base import RankerJob
from reweight.train_ranker.rankers.trees import FittedTrees, Trees, with_inputs


@dataclass(frozen=True)
class FittedGbt(FittedTrees):
    """Fitted boosted trees."""

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds twice the sum of the trees."""
        raw = f"_raw_{column}"
        model = self.model.copy().setRawPredictionCol(raw)
        model = model.setPredictionCol("").setProbabilityCol("")
        scored: DataFrame = model.transform(with_inputs(rows, model.getFeaturesCol()))
        return scored.select(*rows.columns, (2 * vector_to_array(F.col(raw))[1]).alias(column))


class Gbt(Trees):
    """Gradient-boosted trees: they find interactions, and are easier to hurt by wrong rows.

    Attributes:
        max_iter: number of trees.
        step_size: what each tree counts.
    """

    cost: ClassVar[str] = "a few passes over the rows per tree, one after the other"

    ranker: Literal["gbt"] = "gbt"
    max_iter: int = Field(default=20, ge=1)
    step_size: float = Field(default=0.1, gt=0, le=1)

    def fit(self, rows: DataFrame, job: RankerJob) -> FittedGbt:
        """Fits the trees one after the other."""
        classifier = GBTClassifier(
            **self.shared(job), maxIter=self.max_iter, stepSize=self.step_size
        )
        return FittedGbt(classifier.fit(self.inputs(rows)))

    def read(self, folder: Path) -> FittedGbt:
        """Reads the Spark ML model."""
        return FittedGbt(GBTClassificationModel.load(str(folder.absolute())))
