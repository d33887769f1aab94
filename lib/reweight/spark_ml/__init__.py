"""Sample weights as a stage of a Spark ML pipeline.

    Pipeline(stages=[
        assembler,
        SampleWeighter(method="self_confidence"),
        LogisticRegression(weightCol="weight"),
    ])

`SampleWeighter` is an estimator: it fits an importance method to a frame with features and labels 0
and 1. Its model adds the columns ``importance`` and ``weight`` to any frame.
"""

from reweight.spark_ml.model import SampleWeighterModel
from reweight.spark_ml.weighter import SampleWeighter

__all__ = ["SampleWeighter", "SampleWeighterModel"]
