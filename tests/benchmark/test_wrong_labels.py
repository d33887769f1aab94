"""Finding the wrong labels of a world: what low trust finds, as means over worlds."""

import numpy as np
import pandas as pd
import pytest

from reweight.benchmark.conditions import wrong_labels
from reweight.benchmark.conditions.wrong_labels import WRONG_LABELS, auroc
from reweight.importance.methods.el2n import El2n
from reweight.importance.methods.self_confidence import SelfConfidence

WRONG = np.array([True, False, False, False])


def test_rows_that_a_method_trusts_least_are_its_suspects() -> None:
    importance = np.array([0.2, 0.1, 0.5, 0.9])
    assert auroc(SelfConfidence(), importance, WRONG) == pytest.approx(2 / 3)
    # What is hard is suspected.
    assert auroc(El2n(), importance, WRONG) == pytest.approx(1 / 3)
    assert auroc(SelfConfidence(), np.ones(4), WRONG) == 0.5
    assert auroc(SelfConfidence(), importance, np.zeros(4, dtype=bool)) is None
    assert auroc(SelfConfidence(), importance, np.ones(4, dtype=bool)) is None


def test_worlds_of_a_condition_are_averaged() -> None:
    rows = pd.DataFrame(
        [
            {"name": name, "condition": c, "method": m, "seed": s, "value": v}
            for name, c, m, s, v in (
                (WRONG_LABELS, "flips", "gru", 0, 0.8),
                (WRONG_LABELS, "flips", "gru", 1, 0.9),
                (WRONG_LABELS, "flips", "uniform", 0, 0.5),
                (WRONG_LABELS, "flips", "mlp", 0, 0.6),
                ("auc", "flips", "gru", 0, 0.1),
            )
        ]
    )
    cells = wrong_labels.content(rows, ["clean", "flips"], ["uniform", "mlp", "gru"])
    assert set(cells) == {"flips"} and set(cells["flips"]) == {"mlp", "gru"}
    gru = cells["flips"]["gru"]
    assert gru["mean"] == pytest.approx(0.85)
    assert gru["low"] < 0.85 < gru["high"]
    (line,) = wrong_labels.lines(cells)
    assert line == "flips: AUROC of finding wrong labels: mlp 0.600, gru 0.850"
