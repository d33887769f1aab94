"""`logistic_regression`: Spark ML's logistic regression on weighted samples.

scikit-learn minimises C sum_i w_i l_i + |b|^2 / 2; Spark sum_i w_i l_i / sum_i w_i + r |b|^2 / 2.
So r = 1 / (C sum_i w_i), with ``standardization=False``. At the same r, w and c w give the same
fit: a constant factor in the weights matters only through the sum in r.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pyspark.ml import classification
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.train_ranker.rankers.base import FittedRanker, Ranker, RankerJob
from reweight.train_ranker.rotation import Rotation


@dataclass(frozen=True)
class FittedLogisticRegression(FittedRanker):
    """A fitted logistic regression.

    Attributes:
        model: the Spark ML model.
        iterations: of L-BFGS; None of a model that was read.
        limit: the largest number of iterations.
    """

    model: LogisticRegressionModel
    iterations: int | None = None
    limit: int | None = None

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds the log odds before the shift."""
        raw = f"_raw_{column}"
        model = self.model.copy().setRawPredictionCol(raw)
        # An empty name makes Spark leave the column out.
        model = model.setPredictionCol("").setProbabilityCol("")
        return model.transform(rows).withColumn(column, vector_to_array(F.col(raw))[1]).drop(raw)

    def write(self, folder: Path) -> None:
        """Writes the Spark ML model."""
        self.model.write().overwrite().save(str(folder.absolute()))

    @property
    def outcome(self) -> str:
        """The number of iterations, marked if it is the limit."""
        text = f"{self.iterations} iterations"
        return f"{text}, the limit (max_iter)" if self.iterations == self.limit else text


class LogisticRegression(Ranker):
    """A linear model of the log odds, the default.

    Attributes:
        C: inverse strength of regularisation, as in scikit-learn.
        max_iter: largest number of L-BFGS iterations.
        tol: relative change of the loss at which L-BFGS stops before ``max_iter``.
        aggregation_depth: depth of the tree that sums gradients; increase it for wide data.
    """

    cost: ClassVar[str] = "a pass over the rows per iteration, tens of them"
    idle_cores: ClassVar[bool] = True

    ranker: Literal["logistic_regression"] = "logistic_regression"
    C: float = Field(default=1.0, gt=0)
    max_iter: int = Field(default=100, ge=1)
    tol: float = Field(default=1e-6, gt=0)
    aggregation_depth: int = Field(default=2, ge=2)

    def training_columns(self, *, rotated: bool) -> tuple[str, ...]:
        """Principal components where there are some; recalibration reads ``vector``, too."""
        if not rotated:
            return self.columns()
        return ("rotated", *(self.columns() if self.recalibrate else ()))

    def fit(self, rows: DataFrame, job: RankerJob) -> FittedLogisticRegression:
        """Fits the regression on the column ``weight``."""
        return self.fitted(rows, "weight", job.weight_sum, job.rotation)

    def fitted(
        self, train: DataFrame, weight: str, weight_sum: float, rotation: Rotation | None = None
    ) -> FittedLogisticRegression:
        """Fits the regression on one column of weights.

        Args:
            train: rows with ``vector``, ``label`` and the weights; should be cached.
            weight: name of the column of weights.
            weight_sum: the sum of weights in r = 1 / (C sum w).
            rotation: where the rows have ``rotated`` in place of ``vector``; the model is one of
                ``vector`` all the same.
        """
        regression = classification.LogisticRegression(
            featuresCol="vector" if rotation is None else "rotated",
            labelCol="label",
            weightCol=weight,
            regParam=1 / (self.C * weight_sum),
            elasticNetParam=0.0,
            standardization=False,
            maxIter=self.max_iter,
            tol=self.tol,
            aggregationDepth=self.aggregation_depth,
        )
        model = regression.fit(train)
        iterations = model.summary.totalIterations
        model = model if rotation is None else rotation.back(model)
        return FittedLogisticRegression(model, iterations, self.max_iter)

    def read(self, folder: Path) -> FittedLogisticRegression:
        """Reads the Spark ML model."""
        return FittedLogisticRegression(LogisticRegressionModel.load(str(folder.absolute())))
