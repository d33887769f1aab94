"""Members that train together: the same as separate networks, and a hash decides who sees what."""

import math

import pytest
import torch
from torch import Tensor, nn

from reweight.batch import Batch
from reweight.importance import TrainFacts
from reweight.importance.ensemble import Ensemble, bits

FACTS = TrainFacts(dim=3, cardinalities=(4, 6), rows=100, positives=20, seed=1)
MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The output function of SplitMix64 in Python's own integers."""
    z = state & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def batch_of(rows: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch(
        sample_id=torch.randint(-(2**62), 2**62, (rows,), generator=generator),
        features=torch.randn((rows, 3), generator=generator),
        ids=torch.stack([torch.randint(0, n, (rows,), generator=generator) for n in (4, 6)], dim=1),
        label=torch.ones(rows),
    )


def sequential(ensemble: Ensemble, member: int) -> nn.Sequential:
    """One member as torch's own layers."""
    layers: list[nn.Module] = []
    for weight, bias in zip(ensemble.weights, ensemble.biases, strict=True):
        linear = nn.Linear(weight.shape[1], weight.shape[2])
        linear.weight.data, linear.bias.data = weight[member].data.T, bias[member, 0].data
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    ("seed", "output"),
    [(0, 0xE220A8397B1DCDAF), (1, 0x6E789E6AA1B965F4), (2, 0x06C45D188009454F)],
)
def test_bits_of_id_0_are_the_published_outputs_of_splitmix64(seed: int, output: int) -> None:
    assert bits(torch.tensor([0]), seed).tolist() == [output >> 1]


@pytest.mark.parametrize("seed", [0, 7, -1, 12345, 2**40])
def test_bits_equal_splitmix64_in_python_integers(seed: int) -> None:
    ids = [0, 1, -1, 2**63 - 1, -(2**63), 123456789, *batch_of(50).sample_id.tolist()]
    wanted = [splitmix64(i + 0x9E3779B97F4A7C15 * (seed + 1)) >> 1 for i in ids]
    assert bits(torch.tensor(ids), seed).tolist() == wanted


def test_bits_of_consecutive_ids_are_fair_coins() -> None:
    rows = 20_000
    found = bits(torch.arange(rows), 0)
    ones = torch.stack([(found >> place) & 1 for place in range(63)]).double().mean(1)
    assert ((ones - 0.5).abs() < 5 * 0.5 / math.sqrt(rows)).all()


def test_every_row_has_one_member_that_did_not_see_it() -> None:
    ensemble, ids = Ensemble(FACTS, (4,), 2, folds=5), batch_of(300).sample_id
    unseen, multiplicity = ensemble.unseen(ids), ensemble.multiplicity(ids)
    assert torch.equal(unseen.sum(1), torch.ones(300))
    assert set(unseen.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(multiplicity, 1 - unseen)
    assert not (multiplicity * unseen).any()


def test_without_folds_one_member_sees_and_scores_every_row() -> None:
    ensemble, ids = Ensemble(FACTS, (4,), 2, folds=0), batch_of(20).sample_id
    assert torch.equal(ensemble.multiplicity(ids), torch.ones(20, 1))
    assert torch.equal(ensemble.unseen(ids), torch.ones(20, 1))
    assert ensemble.mean_multiplicity == 1.0


@pytest.mark.parametrize("folds", [2, 5, 8])
def test_folds_are_of_about_equal_size(folds: int) -> None:
    rows = 20_000
    ensemble = Ensemble(FACTS, (2,), 2, folds)
    sizes = ensemble.unseen(torch.arange(rows)).sum(0)
    spread = math.sqrt(rows / folds * (1 - 1 / folds))
    assert ((sizes - rows / folds).abs() < 5 * spread).all()
    seen = ensemble.multiplicity(torch.arange(rows)).mean().item()
    assert seen == pytest.approx(ensemble.mean_multiplicity, abs=1e-6)


def test_folds_depend_on_the_seed() -> None:
    other = FACTS.model_copy(update={"seed": 2})
    ids = torch.arange(1000)
    one, two = (Ensemble(f, (2,), 2, 5).unseen(ids).argmax(1) for f in (FACTS, other))
    agree = (one == two).double().mean().item()
    assert abs(agree - 1 / 5) < 5 * math.sqrt(0.16 / 1000)


def test_logits_equal_those_of_separate_networks_with_embeddings() -> None:
    ensemble, batch = Ensemble(FACTS, (7, 5), 2, folds=3), batch_of(40)
    logits = ensemble(batch)
    assert logits.shape == (40, 3)
    for member in range(3):
        tables = [nn.Embedding.from_pretrained(table[member].data) for table in ensemble.tables]
        embedded = [table(batch.ids[:, field]) for field, table in enumerate(tables)]
        wanted = sequential(ensemble, member)(torch.cat([batch.features, *embedded], dim=1))
        torch.testing.assert_close(logits[:, member], wanted[:, 0], rtol=1e-5, atol=1e-6)


def test_without_hidden_layers_a_member_is_linear() -> None:
    facts = FACTS.model_copy(update={"cardinalities": ()})
    ensemble, batch = Ensemble(facts, (), 2, folds=0), batch_of(10)
    wanted = batch.features @ ensemble.weights[0][0] + ensemble.biases[0][0]
    torch.testing.assert_close(ensemble(batch), wanted)


def test_an_id_changes_the_logits_of_its_row_alone() -> None:
    ensemble, batch = Ensemble(FACTS, (8,), 3, folds=2), batch_of(12)
    ids = batch.ids.clone()
    ids[4, 1] = (ids[4, 1] + 1) % 6
    before: Tensor = ensemble(batch)
    after: Tensor = ensemble(Batch(batch.sample_id, batch.features, ids, batch.label))
    moved = (before != after).any(1)
    assert moved.nonzero().flatten().tolist() == [4]


def test_members_begin_different_and_the_seed_decides_where() -> None:
    torch.manual_seed(0)
    one = Ensemble(FACTS, (8,), 2, folds=3)
    torch.manual_seed(1)
    same = Ensemble(FACTS, (8,), 2, folds=3)
    other = Ensemble(FACTS.model_copy(update={"seed": 2}), (8,), 2, folds=3)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.weights[0], other.weights[0])
    for parameter in one.parameters():
        assert not torch.equal(parameter[0], parameter[1])


def test_parameters_begin_in_the_range_of_torchs_own_linear_layer() -> None:
    ensemble = Ensemble(FACTS, (64, 16), 2, folds=2)
    for weight, bias in zip(ensemble.weights, ensemble.biases, strict=True):
        bound = 1 / math.sqrt(weight.shape[1])
        for values in (weight, bias):
            assert values.abs().max() <= bound
        # The sd of a uniform distribution on (-b, b) is b / sqrt(3).
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.3)
