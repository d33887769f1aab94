"""Weights as a stage of a Spark ML pipeline.

    Pipeline(stages=[
        assembler,
        SampleWeighter(method="self_confidence"),
        LogisticRegression(weightCol="weight"),
    ])

`SampleWeighter` is an estimator: it trains an importance method on a frame with features and labels
of 0 and 1. Its model adds the columns ``importance`` and ``weight`` to any frame.
"""

from reweight.spark_ml.model import SampleWeighterModel
from reweight.spark_ml.weighter import SampleWeighter

__all__ = ["SampleWeighter", "SampleWeighterModel"]
