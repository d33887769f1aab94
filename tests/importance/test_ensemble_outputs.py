"""EnsembleOutputs: what members say of a batch, computed once for all who ask."""

import math

import pytest
import torch
from torch import Tensor, nn

from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.training import Learner

LOGITS = torch.tensor([[0.0, 2.0, -1.0], [3.0, -3.0, 0.5]])
BATCH = Batch(
    sample_id=torch.tensor([5, 6]),
    features=torch.zeros(2, 1),
    ids=torch.zeros((2, 0), dtype=torch.int64),
    label=torch.tensor([1.0, 0.0]),
)


class Fixed(Learner):
    """Says the same of every batch, and counts how often it is asked."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift, self.asked = nn.Parameter(torch.tensor(shift)), 0

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("outputs does not train")

    def logits(self, batch: Batch) -> Tensor:
        self.asked += 1
        return LOGITS + self.shift

    def multiplicity(self, sample_id: Tensor) -> Tensor:
        raise AssertionError("outputs asks for what is unseen")

    def unseen(self, sample_id: Tensor) -> Tensor:
        assert torch.equal(sample_id, BATCH.sample_id)
        self.asked += 1
        return torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_probabilities_are_of_label_1_and_of_the_given_label() -> None:
    outputs, learner = EnsembleOutputs(BATCH), Fixed()
    p = [[sigmoid(z) for z in row] for row in LOGITS.tolist()]
    torch.testing.assert_close(outputs.probability(learner), torch.tensor(p))
    given = [p[0], [1 - value for value in p[1]]]
    torch.testing.assert_close(outputs.given(learner), torch.tensor(given))


def test_the_given_label_keeps_its_digits_where_a_network_is_sure() -> None:
    # 1 - p would be 0 in float32.
    given = EnsembleOutputs(BATCH).given(Fixed(40.0))[1]
    assert given.tolist() == pytest.approx(
        [math.exp(-43), math.exp(-37), math.exp(-40.5)], rel=1e-4
    )


def test_a_learner_is_asked_once_however_many_methods_ask() -> None:
    outputs, learner = EnsembleOutputs(BATCH), Fixed()
    for _ in range(3):
        outputs.logits(learner)
        outputs.probability(learner)
        outputs.given(learner)
    assert learner.asked == 1
    over_unseen(outputs, learner, outputs.given(learner))
    over_unseen(outputs, learner, outputs.probability(learner))
    assert learner.asked == 2


def test_learners_and_batches_are_kept_apart() -> None:
    outputs, one, other = EnsembleOutputs(BATCH), Fixed(), Fixed(1.0)
    torch.testing.assert_close(outputs.logits(other) - outputs.logits(one), torch.ones(2, 3))
    EnsembleOutputs(BATCH).logits(one)
    assert one.asked == 2


def test_what_a_method_computes_itself_is_kept_by_its_name() -> None:
    outputs, learner = EnsembleOutputs(BATCH), Fixed()
    made = [outputs.once(learner, name, lambda: torch.rand(2)) for name in ("a", "a", "b")]
    assert made[0] is made[1]
    assert made[0] is not made[2]


def test_the_mean_is_over_members_that_did_not_see_the_row() -> None:
    outputs, learner = EnsembleOutputs(BATCH), Fixed()
    found = over_unseen(outputs, learner, outputs.logits(learner))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.5]))
