"""How well methods find the wrong labels of a world: the training labels that the truth denies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reweight.benchmark.detection.statistics import detection, interval
from reweight.benchmark.suspects import trust
from reweight.core.baselines import BASELINE
from reweight.importance.base import ImportanceMethod

Values = dict[str, Any]

# The AUROC of finding them, in the table `conditions`.
WRONG_LABELS = "wrong_labels_auroc"


def auroc(
    method: ImportanceMethod, importance: NDArray[np.float64], wrong: NDArray[np.bool_]
) -> float | None:
    """The AUROC of a method's suspicions; None where all labels are right, or all are wrong.

    Args:
        method: the method.
        importance: of the training rows, float64 [N].
        wrong: whether their labels are wrong, bool [N].
    """
    if wrong.all() or not wrong.any():
        return None
    value = trust(method, importance)
    return detection(value, value, wrong)["auroc"]


def content(
    rows: pd.DataFrame, conditions: Sequence[str], methods: Sequence[str]
) -> dict[str, Values]:
    """Condition -> method -> mean over the worlds with its interval.

    Args:
        rows: rows of the table ``conditions``.
        conditions: those to show, in order.
        methods: likewise.
    """
    rows = rows[(rows["name"] == WRONG_LABELS) & (rows["method"] != BASELINE)]
    cells: dict[str, Values] = {}
    for condition in conditions:
        for method in methods:
            method_rows = rows[(rows["condition"] == condition) & (rows["method"] == method)]
            values = method_rows.sort_values("seed")["value"].to_numpy(np.float64)
            if len(values):
                low, high = interval(values) or (None, None)
                cell = {"mean": float(values.mean()), "low": low, "high": high}
                cells.setdefault(condition, {})[method] = cell
    return cells


def lines(cells: Mapping[str, Values]) -> list[str]:
    """The means as text, for the console."""
    return [
        f"{condition}: AUROC of finding wrong labels: "
        + ", ".join(f"{method} {cell['mean']:.3f}" for method, cell in by_method.items())
        for condition, by_method in cells.items()
    ]
