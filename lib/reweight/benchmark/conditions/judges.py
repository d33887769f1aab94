"""The judges of a world in memory: how much each held-out row counts, by judge.

The masses are those of the same judges in ``evaluate.judges``, which are expressions of SQL.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.evaluate import judging
from reweight.evaluate.judges import RECORDED, Judge
from reweight.evaluate.judges.position import Position
from reweight.evaluate.judges.recorded import Recorded
from reweight.evaluate.judges.truth import Truth

Array = NDArray[np.float64]

TRUTH, POSITION = "truth", "position"


def judges_of(rows: pd.DataFrame, theta: Sequence[float] | None) -> dict[str, Judge]:
    """The judges of a world, in the order in which they are believed.

    ``position`` is left out where its clip takes too much, as in the pipeline.

    Args:
        rows: held-out rows with ``split``, ``label`` and ``position``.
        theta: the propensities that a position model of the world estimated on training rows, for
            rows without a position, then for positions 1, 2, ...; None without such a model.
    """
    judges: dict[str, Judge] = {TRUTH: Truth()}
    if theta is not None:
        label, factor = rows["label"].to_numpy(float), _factors(rows, theta)
        judge = Position().fitted(label[rows["split"] == "validation"].sum())
        kept = float(label @ np.minimum(judge.largest, factor))
        if judging.share_clipped(kept, float(label @ factor)) <= judging.MOST_CLIPPED:
            judges[POSITION] = judge
    return judges | {RECORDED: Recorded()}


def masses(
    rows: pd.DataFrame, judges: Mapping[str, Judge], theta: Sequence[float] | None
) -> dict[str, Array]:
    """Judge -> positive mass of each row, NaN where it does not count; both masses sum to 1.

    Args:
        rows: held-out rows with ``label``, ``truth``, ``bot`` and ``position``.
        judges: the output of ``judges_of``.
        theta: the propensities, as for ``judges_of``.
    """
    label = rows["label"].to_numpy(float)
    mass = {RECORDED: label, TRUTH: np.where(rows["bot"], np.nan, rows["truth"].to_numpy(float))}
    judge = judges.get(POSITION)
    if theta is not None and isinstance(judge, Position):
        mass[POSITION] = label * np.minimum(judge.largest, _factors(rows, theta))
    return {name: mass[name] for name in judges}


def _factors(rows: pd.DataFrame, theta: Sequence[float]) -> Array:
    """1 / theta by position, float64 [N]; element 0 is for rows without one."""
    position = rows["position"].astype(float).to_numpy()
    place = np.where(np.isnan(position), 0, np.clip(position, 1, len(theta) - 1)).astype(int)
    return np.asarray(1 / np.asarray(theta, dtype=np.float64)[place])
