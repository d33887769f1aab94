"""Arms: what is measured is a ranker that was trained on the weights of a method.

The passes over the predictions need not know this: to them, an arm is a method with a longer name.
Their small results are then taken apart by ranker, since a difference to ``uniform`` is one within
the same ranker.
"""

from collections.abc import Sequence
from dataclasses import replace

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.evaluate.reduction import Reduced

# No name of a ranker or a method has it.
_BETWEEN = "/"


def as_arms(predictions: DataFrame, first: str) -> DataFrame:
    """Rows of the table ``predictions`` with the arm in place of the method.

    Args:
        predictions: rows of the table; those of earlier versions do not name their ranker.
        first: name of the first ranker.
    """
    if "ranker" not in predictions.columns:
        predictions = predictions.withColumn("ranker", F.lit(first))
    arm = F.concat_ws(_BETWEEN, F.coalesce("ranker", F.lit(first)), "method")
    return predictions.withColumn("method", arm).drop("ranker")


def by_ranker(reduced: Reduced, rankers: Sequence[str]) -> dict[str, Reduced]:
    """What was reduced by arm, as that of each ranker by method.

    Args:
        reduced: predictions of ``as_arms``.
        rankers: names of the rankers, in the order of the config; those without predictions are
            left out.
    """
    parts = {ranker: _of(reduced, ranker + _BETWEEN) for ranker in rankers}
    return {ranker: part for ranker, part in parts.items() if not part.values.empty}


def _of(reduced: Reduced, lead: str) -> Reduced:
    frames = {}
    for name in ("bins", "values"):
        frame = getattr(reduced, name)
        own = frame[frame["method"].str.startswith(lead)]
        frames[name] = own.assign(method=own["method"].str.removeprefix(lead))
    thresholds = {
        (judge, arm.removeprefix(lead)): bin_
        for (judge, arm), bin_ in reduced.thresholds.items()
        if arm.startswith(lead)
    }
    return replace(reduced, thresholds=thresholds, **frames)
