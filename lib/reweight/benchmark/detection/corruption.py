"""Plants damage in labels, so that the truth is known.

Every kind of damage hits an exact number of rows: ``round(rate * n)`` of the n rows that it can
hit. Rows with unequal odds c_i are drawn without replacement by the Gumbel trick: the k largest
log c_i + G_i.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Damage = Literal["uniform", "by_class", "by_difficulty", "missing_positives", "spurious_positives"]

# A positive row is this many times as likely to be flipped as a negative one.
_POSITIVE_ODDS = 3.0
# ln of the odds of flipping a row on the decision boundary rather than one at median distance.
_NEARNESS = 2.0


def damaged(
    kind: Damage,
    label: NDArray[np.float32],
    margin: NDArray[np.float64],
    rate: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Damages labels.

    Args:
        kind: ``uniform``, all rows equally likely; ``by_class``, positives three times as likely;
            ``by_difficulty``, rows near the decision boundary of a linear model of the true labels;
            ``missing_positives``, a share ``rate`` of the positives is recorded as negative;
            ``spurious_positives``, a share ``rate`` of the negatives is recorded as positive.
        label: true labels, float32 [N].
        margin: log odds of the linear model, float64 [N].
        rate: share of the rows that are hit, among those that the damage can hit.
        generator: random generator of the draw.

    Returns:
        The recorded labels, float32 [N], and which of them are wrong, bool [N].
    """
    positive = label == 1
    eligible = {"missing_positives": positive, "spurious_positives": ~positive}.get(
        kind, np.ones(len(label), dtype=bool)
    )
    log_odds = np.zeros(len(label))
    if kind == "by_class":
        log_odds = np.where(positive, np.log(_POSITIVE_ODDS), 0.0)
    elif kind == "by_difficulty":
        distance = np.abs(margin)
        log_odds = -_NEARNESS * distance / max(float(np.median(distance)), 1e-12)
    keys = np.where(eligible, log_odds + generator.gumbel(size=len(label)), -np.inf)
    wrong = np.zeros(len(label), dtype=bool)
    wrong[np.argsort(-keys, kind="stable")[: round(rate * int(eligible.sum()))]] = True
    return np.where(wrong, 1 - label, label).astype(np.float32), wrong
