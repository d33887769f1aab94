"""LossVal: its parts against their definitions, and wrong labels that lose weight."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from reweight.importance.batch import Batch
from reweight.importance.methods.lossval import Lossval, distance_to, potentials
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import Valuation


def blobs(n: int, others: int, seed: int = 0) -> tuple[Valuation, NDArray[np.bool_]]:
    """Two blobs; one training label in ten is wrong."""
    draw = torch.Generator().manual_seed(seed)
    truth = (torch.arange(n + others) % 2).float()
    features = torch.randn((n + others, 4), generator=draw) + 2 * truth[:, None] - 1
    wrong = (torch.rand(n + others, generator=draw) < 0.1) & (torch.arange(n + others) < n)
    ids = torch.zeros((n + others, 0), dtype=torch.int64)
    rows = Batch(torch.arange(n + others), features, ids, torch.where(wrong, 1 - truth, truth))
    train, validation = rows.rows(torch.arange(n)), rows.rows(torch.arange(n, n + others))
    facts = TrainFacts(dim=4, rows=n, positives=int(train.label.sum()), seed=seed)
    return Valuation(train, validation, facts), wrong[:n].numpy()


@pytest.mark.parametrize("transport", [True, False])
def test_wrong_labels_lose_weight(transport: bool) -> None:
    rows, wrong = blobs(200, 60)
    values = Lossval(transport=transport, training={"hidden": (32, 32)}).values(rows).numpy()
    assert roc_auc_score(~wrong, values) > 0.8


def plain(method: Lossval, rows: Valuation) -> Tensor:
    """The formula on full batches, by torch's own functions."""
    network, everything = method.network(rows), torch.arange(len(rows.train))
    weight = torch.ones(len(everything), requires_grad=True)
    optimizer = torch.optim.Adam([*network.parameters(), weight], lr=method.training.learning_rate)
    distance = distance_to(rows)
    for _ in range(method.training.epochs):
        optimizer.zero_grad()
        z = network(rows.train)[:, 0]
        losses = functional.binary_cross_entropy_with_logits(z, rows.train.label, reduction="none")
        loss = (weight * losses).sum()
        if method.transport:
            loss = loss * distance(weight, everything).square()
        loss.backward()
        optimizer.step()
    return weight.detach()


def test_values_are_those_of_the_formula_and_without_transport_of_cross_entropy_alone() -> None:
    rows, _ = blobs(40, 10)
    method = Lossval(
        training={"epochs": 12, "hidden": (8,), "batch_size": 40, "learning_rate": 0.05}
    )
    found = {}
    for transport in (True, False):
        own = method.model_copy(update={"transport": transport})
        found[transport] = own.values(rows)
        torch.testing.assert_close(found[transport], plain(own, rows), rtol=0, atol=1e-3)
        assert (found[transport] - 1).abs().min() > 0.1
    assert (found[True] - found[False]).abs().max() > 0.02


def test_without_transport_validation_rows_do_not_matter() -> None:
    rows, _ = blobs(40, 10)
    moved = Valuation(rows.train, blobs(40, 10, seed=8)[0].validation, rows.facts)
    for transport, same in ((False, True), (True, False)):
        method = Lossval(transport=transport, training={"epochs": 2, "hidden": (8,)})
        assert torch.equal(method.values(rows), method.values(moved)) == same


def test_potentials_give_the_cost_of_the_best_transport() -> None:
    draw = np.random.default_rng(0)
    cost = ((draw.normal(size=(7, 1, 2)) - draw.normal(size=(1, 9, 2)) - 1) ** 2).sum(-1) / 2
    a, b = draw.dirichlet(np.ones(7)), draw.dirichlet(np.ones(9))
    sums = np.concatenate(
        [np.kron(np.eye(7), np.ones((1, 9))), np.kron(np.ones((1, 7)), np.eye(9))]
    )
    wanted = linprog(cost.ravel(), A_eq=sums, b_eq=np.concatenate([a, b])).fun
    masses = torch.tensor(a), torch.tensor(b)
    f, g = potentials(torch.tensor(cost), *masses)
    assert (masses[0] @ f + masses[1] @ g).item() == pytest.approx(wanted, rel=0.03)


def test_the_distance_grows_most_with_the_weights_of_rows_far_from_the_validation_rows() -> None:
    rows, _ = blobs(32, 60)
    far = torch.arange(32) % 4 == 0
    near = distance_to(rows)(torch.ones(32), torch.arange(32))
    rows.train.features[far, 3] += 6
    weight = torch.ones(32, requires_grad=True)
    distance = distance_to(rows)(weight, torch.arange(32))
    distance.backward()
    assert distance > near
    assert weight.grad is not None
    assert weight.grad[far].min() > weight.grad[~far].max()


def test_the_distance_of_rows_to_themselves_is_zero() -> None:
    rows, _ = blobs(32, 8)
    # Also of rows so near to one another that entropy outweighs their distances.
    for scale in (1.0, 0.01):
        rows.train.features[:] *= scale
        same = Valuation(rows.train, rows.train, rows.facts)
        assert abs(distance_to(same)(torch.ones(32), torch.arange(32)).item()) < 1e-3


def test_a_batch_of_one_row_and_weights_below_zero_stay_finite() -> None:
    rows, _ = blobs(9, 5)
    values = Lossval(
        training={"epochs": 12, "hidden": (8,), "batch_size": 2, "learning_rate": 0.3}
    ).values(rows)
    assert values.isfinite().all()
    assert values.min() < 0


def test_the_seed_decides_and_no_other_random_number() -> None:
    rows, _ = blobs(30, 10)
    method = Lossval(training={"epochs": 2, "hidden": (8,)})
    torch.manual_seed(0)
    one = method.values(rows)
    torch.manual_seed(1)
    assert torch.equal(method.values(rows), one)
    other = Valuation(rows.train, rows.validation, rows.facts.model_copy(update={"seed": 9}))
    assert not torch.equal(method.values(other), one)
