"""The control: numbers between 0 and 1, neither of them reached."""

import pytest
import torch

from reweight.importance.batch import Batch
from reweight.importance.methods import random
from reweight.importance.methods.random import Random
from reweight.importance.training import TrainFacts

ROWS = Batch(
    torch.arange(1000), torch.zeros(1000, 0), torch.zeros(1000, 0).long(), torch.ones(1000)
)
FACTS = TrainFacts(dim=0, rows=1000, positives=1000)


def test_importance_is_uniform() -> None:
    found = Random().build(FACTS)(ROWS)
    assert found.mean() == pytest.approx(0.5, abs=0.03)
    assert found.std() == pytest.approx(12**-0.5, abs=0.02)


@pytest.mark.parametrize("hashed", [0, (1 << 63) - 1])
def test_neither_end_is_reached(monkeypatch: pytest.MonkeyPatch, hashed: int) -> None:
    monkeypatch.setattr(random, "bits", lambda ids, seed: torch.full_like(ids, hashed))
    found = Random().build(FACTS)(ROWS)
    assert ((found > 0) & (found < 1)).all()
