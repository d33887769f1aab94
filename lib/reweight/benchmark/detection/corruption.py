"""Damage to labels, planted so that the truth is known.

Every kind hits an exact number of rows: ``round(rate * n)`` of the n rows that it can hit. Those of
unequal chances are drawn without replacement by the Gumbel trick: the k largest log c_i + G_i.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Damage = Literal["uniform", "by_class", "by_difficulty", "missing_positives", "spurious_positives"]

# A positive row is so many times likelier to be flipped than a negative one.
_POSITIVE_ODDS = 3.0
# ln of how much likelier a row on the line is to be flipped than one of the median distance.
_NEARNESS = 2.0


def damaged(
    kind: Damage,
    label: NDArray[np.float32],
    margin: NDArray[np.float64],
    rate: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Labels as they are recorded, and which of them are wrong.

    Args:
        kind: ``uniform``, any row alike; ``by_class``, positives three times as likely;
            ``by_difficulty``, rows near the line of a linear model of the true labels;
            ``missing_positives``, a share ``rate`` of the positives is recorded as negative;
            ``spurious_positives``, a share ``rate`` of the negatives as positive.
        label: true labels, float32 [N].
        margin: log odds of the linear model, float64 [N].
        rate: share of the rows that the damage can hit.
        generator: of the draw.
    """
    positive = label == 1
    open_to = {"missing_positives": positive, "spurious_positives": ~positive}.get(
        kind, np.ones(len(label), dtype=bool)
    )
    chance = np.zeros(len(label))
    if kind == "by_class":
        chance = np.where(positive, np.log(_POSITIVE_ODDS), 0.0)
    elif kind == "by_difficulty":
        far = np.abs(margin)
        chance = -_NEARNESS * far / max(float(np.median(far)), 1e-12)
    keys = np.where(open_to, chance + generator.gumbel(size=len(label)), -np.inf)
    wrong = np.zeros(len(label), dtype=bool)
    wrong[np.argsort(-keys, kind="stable")[: round(rate * int(open_to.sum()))]] = True
    return np.where(wrong, 1 - label, label).astype(np.float32), wrong
