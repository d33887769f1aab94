"""Class-balanced importance: both classes weigh the same in all."""

import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight

from reweight.importance.batch import Batch
from reweight.importance.methods.class_balanced import ClassBalanced
from reweight.importance.training import TrainFacts


def scores(label: torch.Tensor, positives: int, rows: int) -> torch.Tensor:
    n = len(label)
    batch = Batch(torch.arange(n), torch.zeros(n, 1), torch.zeros(n, 0).long(), label)
    facts = TrainFacts(dim=1, rows=rows, positives=positives)
    found: torch.Tensor = ClassBalanced().build(facts)(batch)
    return found


@pytest.mark.parametrize("positives", [1, 17, 50, 99])
def test_importance_equals_scikit_learns_balanced_weights(positives: int) -> None:
    label = (torch.arange(100) < positives).float()
    wanted = compute_sample_weight("balanced", label.numpy())
    torch.testing.assert_close(
        scores(label, positives, 100), torch.from_numpy(wanted).float(), rtol=1e-6, atol=0
    )


def test_both_classes_weigh_half_of_the_rows_in_all() -> None:
    label = (torch.arange(1000) % 8 == 0).float()
    found = scores(label, 125, 1000)
    assert found[label == 1].sum().item() == pytest.approx(500, rel=1e-5)
    assert found[label == 0].sum().item() == pytest.approx(500, rel=1e-5)


def test_counts_are_those_of_training_and_not_of_the_scored_rows() -> None:
    found = scores(torch.tensor([1.0, 1.0, 1.0, 0.0]), positives=10, rows=100)
    torch.testing.assert_close(found, torch.tensor([5.0, 5.0, 5.0, 100 / 180]))
