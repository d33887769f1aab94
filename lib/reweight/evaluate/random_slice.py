"""Whether rows that are said to be shown at random differ from the others by their features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.evaluate.judges import Judge
from reweight.evaluate.judges.random_traffic import RandomTraffic

# Rows of each side that the classifier sees.
ROWS = 5000
# Above this area under the ROC curve, the slice is not a random part of the log, unless so few rows
# have it by chance in one case of twenty (one-sided, normal).
_MATERIAL, _Z = 0.55, 1.645


def separated(samples: DataFrame, judges: Mapping[str, Judge], seed: int) -> dict[str, str]:
    """The area under the ROC curve of a classifier of slice against rest, as a note by judge.

    Half of the groups train it and the other half are scored (Lopez-Paz and Oquab 2017, "Revisiting
    Classifier Two-Sample Tests").

    Args:
        samples: held-out samples with all columns that judges may use.
        judges: name -> judge.
        seed: seed of the rows and of the halves.
    """
    notes = {}
    for name, judge in judges.items():
        if isinstance(judge, RandomTraffic):
            notes[name] = note(*_area(samples, judge.expressions()["where"], seed))
    return notes


def _area(samples: DataFrame, where: str, seed: int) -> tuple[float | None, float]:
    """The area and its standard error if the slice is a random part of the log."""
    inside = F.coalesce(F.expr(where).cast("boolean"), F.lit(False))
    drawn = uniform(seed, "slice", "sample_id")
    rows = samples.select(
        inside.alias("inside"), half(seed).alias("fitted"), "features", drawn.alias("drawn")
    )
    # Small by nature: at most 10,000 rows.
    frame = pd.concat(
        rows.where(side).orderBy("drawn").limit(ROWS).toPandas()
        for side in ("inside", "NOT inside")
    )
    if frame.empty:
        return None, 0.0
    fitted, inside_ = frame["fitted"].to_numpy(bool), frame["inside"].to_numpy(bool)
    area = separation(np.stack(frame["features"].tolist()), inside_, fitted)
    return area, chance(int((inside_ & ~fitted).sum()), int((~inside_ & ~fitted).sum()))


def chance(one: int, other: int) -> float:
    """The standard error of an area under the ROC curve of 0.5 (Mann and Whitney 1947).

    Args:
        one: number of rows of one side.
        other: number of rows of the other side.
    """
    return float(np.sqrt((one + other + 1) / (12 * max(1, one) * max(1, other))))


def half(seed: int) -> Column:
    """Whether the domain classifier is fitted on a row: that is so for half of the groups."""
    return uniform(seed, "half", "group_id") < 0.5


def separation(
    features: NDArray[Any], inside: NDArray[np.bool_], fitted: NDArray[np.bool_]
) -> float | None:
    """The area under the ROC curve of a domain classifier, on rows that it was not fitted on.

    Args:
        features: of each row, [N, D].
        inside: which of the two sides each row is on, [N].
        fitted: whether the classifier is fitted on it, [N].

    Returns:
        The area; None if a part has one side only.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if min(len(set(inside[fitted])), len(set(inside[~fitted]))) < 2:
        return None
    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    model.fit(features[fitted], inside[fitted])
    return float(roc_auc_score(inside[~fitted], model.decision_function(features[~fitted])))


def note(area: float | None, error: float) -> str:
    """What to say of a slice.

    Args:
        area: of the classifier; None if there is none.
        error: the output of ``chance``.
    """
    if area is None:
        return "too few rows, or no others, to tell whether it is a random part of the log"
    text = f"a classifier separates its rows from the others with an AUC of {area:.2f}"
    if area > max(_MATERIAL, 0.5 + _Z * error):
        return (
            text + ": they are not a random part of the log, and their verdict may not carry over"
        )
    return text
