"""Self-training: open rows take the label that members trained on settled rows expect."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.self_training import SelfTraining
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

ROWS, DIM = 12_000, 3
TRAINING = {"hidden": (), "bins": 0, "epochs": 15, "learning_rate": 0.02, "weight_decay": 0.0}


@cache
def rows() -> tuple[Batch, np.ndarray]:
    """A third of the rows is open, and none of their labels came yet; p of each row."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, DIM))
    p = 1 / (1 + np.exp(2 - x[:, 0] + 0.5 * x[:, 1]))
    mature = draw.random(ROWS) > 1 / 3
    label = (draw.random(ROWS) < p) & mature
    return Batch(
        sample_id=torch.from_numpy(draw.integers(-(2**63), 2**63 - 1, ROWS)),
        features=torch.from_numpy(x).float(),
        ids=torch.empty((ROWS, 0), dtype=torch.int64),
        label=torch.from_numpy(label).float(),
        extra={"mature": torch.from_numpy(mature).float()},
    ), p


@cache
def models() -> tuple[ImportanceModel, ImportanceModel]:
    """All open rows alike, and by certainty; of one training."""
    batch, _ = rows()
    methods = [
        SelfTraining.model_validate(
            {"name": f"power_{power}", "power": power, "training": TRAINING}
        )
        for power in (0, 2)
    ]
    facts = TrainFacts(dim=DIM, rows=ROWS, positives=int(batch.label.sum()))
    stored, curves = fit_in_memory(
        methods, facts, batch, batch.rows(torch.arange(200)), batch_size=512
    )
    assert len(curves) == 1
    plain, certain = (stored[method.name].model() for method in methods)
    return plain, certain


def labels(batch: Batch) -> np.ndarray:
    plain, _ = models()
    with torch.inference_mode():
        return plain.soft_label(EnsembleOutputs(batch)).numpy()


def test_open_rows_take_what_a_regression_on_settled_rows_expects() -> None:
    batch, p = rows()
    settled = batch.extra["mature"].numpy() == 1
    x = batch.features.numpy()
    model = LogisticRegression(C=1e6).fit(x[settled], batch.label.numpy()[settled])
    found = labels(batch)
    np.testing.assert_array_equal(found[settled], batch.label.numpy()[settled])
    expected = model.predict_proba(x[~settled])[:, 1]
    np.testing.assert_allclose(found[~settled], expected, atol=0.03)
    # As recorded they would say that nobody buys any more.
    assert found.mean() == pytest.approx(p.mean(), rel=0.03)


def test_a_positive_keeps_its_label_though_its_window_is_open() -> None:
    batch, _ = rows()
    came = replace(batch, label=torch.ones(ROWS))
    assert (labels(came) == 1).all()


def test_with_a_power_rows_count_by_certainty() -> None:
    batch, _ = rows()
    plain, certain = (model(batch).detach().numpy() for model in models())
    settled = batch.extra["mature"].numpy() == 1
    assert (plain == 1).all()
    assert (certain[settled] == 1).all()
    p = labels(batch)[~settled]
    bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    np.testing.assert_allclose(certain[~settled], (1 - bits) ** 2, atol=1e-4)


def test_what_an_open_row_shows_so_far_is_not_learnt() -> None:
    """Networks are the same whatever the labels of open rows are."""
    batch, _ = rows()
    small = batch.rows(torch.arange(1000))
    settled = small.extra["mature"] == 1
    other = replace(small, label=torch.where(settled, small.label, 1.0))
    method = SelfTraining.model_validate({"training": TRAINING | {"epochs": 2}})
    facts = TrainFacts(dim=DIM, rows=1000, positives=int(small.label.sum()))
    found = [
        fit_in_memory([method], facts, one, one.rows(torch.arange(10)), batch_size=256)[0]
        for one in (small, other)
    ]
    one, two = (stored[method.name].tensors for stored in found)
    assert one == two
