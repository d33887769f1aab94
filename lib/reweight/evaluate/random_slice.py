"""Whether rows that are said to be shown at random differ from the others by their features."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.hashing import uniform
from reweight.evaluate.judges import Judge
from reweight.evaluate.judges.random_traffic import RandomTraffic

# Rows of each side that the classifier sees.
_ROWS = 5000
# Above this area under the ROC curve, the slice is not a random part of the log.
_MATERIAL = 0.55


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
            notes[name] = _note(_area(samples, judge.expressions()["where"], seed))
    return notes


def _area(samples: DataFrame, where: str, seed: int) -> float | None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inside = F.coalesce(F.expr(where).cast("boolean"), F.lit(False))
    drawn = uniform(seed, "slice", "sample_id")
    rows = samples.select(
        inside.alias("inside"),
        (uniform(seed, "half", "group_id") < 0.5).alias("fitted"),
        "features",
        drawn.alias("drawn"),
    )
    # Small by nature: at most 10,000 rows.
    frame = pd.concat(
        rows.where(side).orderBy("drawn").limit(_ROWS).toPandas()
        for side in ("inside", "NOT inside")
    )
    fitted, y = frame["fitted"].to_numpy(bool), frame["inside"].to_numpy(bool)
    if min(len(set(y[fitted])), len(set(y[~fitted]))) < 2:
        return None
    x = np.stack(frame["features"].tolist())
    model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    model.fit(x[fitted], y[fitted])
    return float(roc_auc_score(y[~fitted], model.decision_function(x[~fitted])))


def _note(area: float | None) -> str:
    if area is None:
        return "too few rows, or no others, to tell whether it is a random part of the log"
    text = f"a classifier separates its rows from the others with an AUC of {area:.2f}"
    if area > _MATERIAL:
        return (
            text + ": they are not a random part of the log, and their verdict may not carry over"
        )
    return text
