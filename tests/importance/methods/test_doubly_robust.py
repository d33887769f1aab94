"""Doubly robust labels: on clicks made from a known relevance and a known chance of a look."""

from functools import cache

import numpy as np
import pytest
import torch
from tests.importance.clicks import TRAINING, clicks, fit

from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.doubly_robust import DoublyRobust
from reweight.importance.position_bias import PositionModel

CLIP = 4


@cache
def model() -> PositionModel:
    (found,) = fit(
        DoublyRobust.model_validate({"training": TRAINING, "clip": CLIP}), batch=clicks()[0]
    )
    return found


def estimate(batch: Batch) -> torch.Tensor:
    outputs, fitted = EnsembleOutputs(batch), model()
    with torch.inference_mode():
        label, importance = fitted.soft_label(outputs), fitted(batch, outputs)
    assert ((label >= 0) & (label <= 1)).all()
    assert ((importance == 1) | (label == 1)).all()
    return label * importance


def test_where_propensities_are_not_clipped_it_is_the_inverse_propensity() -> None:
    batch, _ = clicks()
    theta = model().propensity(batch)
    whole = theta >= 1 / CLIP
    assert 0.2 < whole.float().mean() < 0.7
    torch.testing.assert_close(estimate(batch)[whole], (batch.label / theta)[whole])


def test_what_clipping_takes_is_given_back_by_the_network() -> None:
    batch, gamma = clicks()
    below = (batch.extra["position"] > CLIP + 1).numpy()
    found, clipped = estimate(batch).numpy()[below], batch.label.numpy()[below] * CLIP
    assert found.mean() == pytest.approx(gamma[below].mean(), rel=0.06)
    assert clipped.mean() < 0.75 * gamma[below].mean()


def test_known_answer() -> None:
    """theta = .1, clip 4, gamma = .5: r = .5 (1 - .4) = .3, and 4.3 with a click."""
    method = DoublyRobust.model_validate(
        {"clip": CLIP, "training": TRAINING | {"propensity": "column"}}
    )
    batch = Batch(
        sample_id=torch.tensor([1, 2]),
        features=torch.zeros((2, 1)),
        ids=torch.empty((2, 0), dtype=torch.int64),
        label=torch.tensor([0.0, 1.0]),
        extra={"propensity": torch.full((2,), 0.1)},
    )

    class Even(PositionModel):
        """A network that says one half of every row."""

        def over_members(self, outputs, formula):  # type: ignore[no-untyped-def]
            return formula(torch.zeros(2))

    outputs, even = EnsembleOutputs(batch), Even(method)
    np.testing.assert_allclose(even.soft_label(outputs), [0.3, 1.0], rtol=1e-6)
    np.testing.assert_allclose(even(batch, outputs), [1.0, 4.3], rtol=1e-6)
