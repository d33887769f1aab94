"""Dense features as their principal components, on which L-BFGS needs half the passes or fewer.

For an orthonormal Q, x' = Q^T x and b' = Q^T b give the same log odds b'x' = b x and the same
penalty |b'| = |b|, so the minimum is the same. While it iterates, Spark divides every column by its
standard deviation: principal components then are of one scale and uncorrelated, whereas features
that say almost the same leave a long, flat valley.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.feature import PCA, PCAModel, VectorSlicer
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.session_kind import can_build_models, linear_model

# Beyond, a product with the matrix costs a row more than the passes that it saves.
_WIDEST = 256
# Of fewer rows, the penalty is felt in directions in which features hardly differ, and as many
# passes are needed as without.
_FEWEST = 5_000
# Variances below this share of the largest are what rounding leaves of features that say the same.
_NONE = 1e-10


@dataclass(frozen=True)
class Rotation:
    """The principal components of the dense features of some rows.

    Attributes:
        components: Q, without those that do not vary, float64 [D, k].
        model: all of them, as Spark ML's model.
    """

    components: NDArray[np.float64]
    model: PCAModel

    @classmethod
    def of(cls, train: DataFrame, dim: int) -> Self | None:
        """The components of training rows; None where they are not worth it, or cannot be had.

        Args:
            train: rows of the table ``samples``.
            dim: D, length of ``features``.
        """
        if not can_build_models(train.sparkSession) or not 1 < dim <= _WIDEST:
            return None
        if train.limit(_FEWEST).count() < _FEWEST:
            return None
        dense = train.select(array_to_vector(F.col("features")).alias("_dense"))
        model = PCA(k=dim, inputCol="_dense", outputCol="_components").fit(dense)
        shares = model.explainedVariance.toArray()
        varying = int((shares > _NONE * shares[0]).sum())
        return cls(model.pc.toArray()[:, :varying], model) if varying else None

    def turned(self, rows: DataFrame, dense: str) -> DataFrame:
        """Replaces a column of dense vectors, [D], by those of the components, [k]."""
        turned = self.model.copy().setInputCol(dense).transform(rows)
        kept = list(range(self.components.shape[1]))
        slicer = VectorSlicer(inputCol="_components", outputCol=dense, indices=kept)
        return slicer.transform(turned.drop(dense)).drop("_components")

    def back(self, fitted: LogisticRegressionModel) -> LogisticRegressionModel:
        """A model that was fitted on ``rotated`` as one of ``vector``."""
        turned = fitted.coefficients.toArray()
        count = self.components.shape[1]
        coefficients = np.concatenate([self.components @ turned[:count], turned[count:]])
        return linear_model(fitted, coefficients).setFeaturesCol("vector")
