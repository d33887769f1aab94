"""Attributions: what a row's importance is made of."""

import pytest
import torch
from tests.importance.union import facts_of, planted, small
from torch import Tensor

from reweight.importance.artifact import Scorer
from reweight.importance.attribution import BESIDE, attributions
from reweight.importance.batch import Batch
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.small_loss import SmallLoss
from reweight.importance.methods.uniform import Uniform
from reweight.training.in_memory import fit_in_memory

BATCH, _ = planted(200, seed=5)
SLOPES = torch.tensor([1.0, -2.0, 0.5, 0.0])


def parts(scores: dict[str, Tensor]) -> Tensor:
    return scores["m"][:, : BATCH.features.shape[1]]


def test_a_linear_formula_is_taken_apart_exactly_in_one_step() -> None:
    def linear(batch: Batch) -> dict[str, Tensor]:
        return {"m": batch.features @ SLOPES + 3 + 0.1 * batch.ids[:, 0]}

    found = attributions(linear, BATCH, steps=1)
    torch.testing.assert_close(parts(found), BATCH.features * SLOPES)
    categories, remainder, base = found["m"][:, -len(BESIDE) :].T
    torch.testing.assert_close(categories, 0.1 * BATCH.ids[:, 0].float())
    torch.testing.assert_close(remainder, torch.zeros(200), atol=1e-5, rtol=0)
    torch.testing.assert_close(base, torch.full((200,), 3.0))


def test_of_a_product_of_two_features_each_has_half() -> None:
    found = attributions(
        lambda batch: {"m": batch.features[:, 0] * batch.features[:, 1]}, BATCH, steps=1
    )
    half = BATCH.features[:, 0] * BATCH.features[:, 1] / 2
    torch.testing.assert_close(parts(found)[:, :2], torch.stack([half, half], 1))
    assert (parts(found)[:, 2:] == 0).all()


def test_a_formula_of_steps_is_all_remainder() -> None:
    found = attributions(lambda batch: {"m": (batch.features[:, 0] > 0).float()}, BATCH, steps=4)
    assert (parts(found) == 0).all()
    torch.testing.assert_close(found["m"][:, -2], (BATCH.features[:, 0] > 0).float())


def test_the_parts_sum_to_the_importance_and_little_of_a_network_is_left_over() -> None:
    methods = [small(member) for member in (SelfConfidence, SmallLoss, Uniform)]
    train, _ = planted()
    stored, _ = fit_in_memory(methods, facts_of(train), train, BATCH, batch_size=64)
    scorer = Scorer(stored)
    found = attributions(scorer.scores, BATCH, steps=64)
    assert set(found) == {"self_confidence", "small_loss", "uniform"}
    for name, whole in scorer(BATCH).items():
        torch.testing.assert_close(found[name].sum(1), whole, atol=1e-5, rtol=1e-5)
        assert found[name].isfinite().all()
    own = found["self_confidence"]
    moved = (scorer(BATCH)["self_confidence"] - own[:, -1] - own[:, -3]).abs()
    assert own[:, -2].abs().mean() < 0.02 * moved.mean()
    # The label is told by the first two features.
    each = own[:, :4].abs().mean(0)
    assert each[:2].min() > 3 * each[2:].max()
    assert (found["uniform"][:, :-1] == 0).all()


def test_a_row_has_the_same_parts_alone() -> None:
    train, _ = planted()
    stored, _ = fit_in_memory([small(SelfConfidence)], facts_of(train), train, BATCH, batch_size=64)
    scorer = Scorer(stored)
    together = attributions(scorer.scores, BATCH, steps=4)["self_confidence"]
    one = BATCH.rows(torch.tensor([17]))
    alone = attributions(scorer.scores, one, steps=4)["self_confidence"]
    assert alone[0].tolist() == pytest.approx(together[17].tolist(), abs=1e-5)
