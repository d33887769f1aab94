"""Members that train together: the same as separate networks, and a hash decides who sees what."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from reweight.core.errors import TrainingError
from reweight.importance.batch import Batch
from reweight.importance.encoding import Encoding
from reweight.importance.ensemble import Ensemble, EnsembleLearner, EnsembleTraining
from reweight.importance.membership import Membership, bits
from reweight.importance.training import TrainFacts

FACTS = TrainFacts(dim=3, cardinalities=(4, 6), rows=100, positives=20, seed=1)
MASK = 2**64 - 1
ROWS = 20_000


def ensemble_of(
    membership: Membership, members: int, facts: TrainFacts = FACTS, **settings: Any
) -> Ensemble:
    values: dict[str, Any] = {"hidden": (4,), "embedding": 2} | settings
    return Ensemble(facts, members=members, membership=membership, **values)


def learner_of(facts: TrainFacts = FACTS, **settings: Any) -> EnsembleLearner:
    values = {"hidden": (4,), "embedding": 2, "bins": 0} | settings
    return EnsembleLearner(EnsembleTraining.model_validate(values), facts)


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
        label=(torch.rand(rows, generator=generator) < 0.3).float(),
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
    found = bits(torch.arange(ROWS), 0)
    ones = torch.stack([(found >> place) & 1 for place in range(63)]).double().mean(1)
    assert ((ones - 0.5).abs() < 5 * 0.5 / math.sqrt(ROWS)).all()


# Membership


def test_with_folds_every_row_has_one_member_that_did_not_see_it() -> None:
    learner, ids = learner_of(membership="folds", members=5), batch_of(300).sample_id
    unseen, multiplicity = learner.unseen(ids), learner.multiplicity(ids)
    assert torch.equal(unseen.sum(1), torch.ones(300))
    assert set(unseen.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(multiplicity, 1 - unseen)


@pytest.mark.parametrize("members", [1, 3])
def test_with_all_every_member_sees_and_scores_every_row(members: int) -> None:
    learner, ids = learner_of(membership="all", members=members), batch_of(20).sample_id
    assert torch.equal(learner.multiplicity(ids), torch.ones(20, members))
    torch.testing.assert_close(learner.unseen(ids), torch.full((20, members), 1 / members))


@pytest.mark.parametrize("members", [2, 5, 8])
def test_folds_are_of_about_equal_size(members: int) -> None:
    sizes = learner_of(membership="folds", members=members).unseen(torch.arange(ROWS)).sum(0)
    spread = math.sqrt(ROWS / members * (1 - 1 / members))
    assert ((sizes - ROWS / members).abs() < 5 * spread).all()


# More members than one hash has room for: 48 with half samples, 3 with the bootstrap.
@pytest.mark.parametrize(("membership", "members"), [("half", 100), ("poisson", 10)])
def test_multiplicities_have_the_moments_of_their_distribution(
    membership: Membership, members: int
) -> None:
    seen = ensemble_of(membership, members).multiplicity(torch.arange(ROWS)).double()
    mean, variance = (0.5, 0.25) if membership == "half" else (1.0, 1.0)
    assert ((seen.mean(0) - mean).abs() < 5 * math.sqrt(variance / ROWS)).all()
    assert ((seen.var(0) - variance).abs() < 0.07 * variance).all()


@pytest.mark.parametrize(("membership", "members"), [("half", 100), ("poisson", 10)])
def test_members_see_rows_independently_of_one_another(
    membership: Membership, members: int
) -> None:
    seen = ensemble_of(membership, members).multiplicity(torch.arange(ROWS)).numpy()
    correlation = np.corrcoef(seen.T) - np.eye(members)
    assert np.abs(correlation).max() < 5.5 / math.sqrt(ROWS)


def test_poisson_multiplicities_have_the_probabilities_of_poisson_1() -> None:
    seen = ensemble_of("poisson", 3).multiplicity(torch.arange(ROWS)).flatten().long()
    shares = seen.bincount(minlength=6).double() / len(seen)
    for count in range(6):
        p = math.exp(-1) / math.factorial(count)
        assert abs(shares[count].item() - p) < 5 * math.sqrt(p * (1 - p) / len(seen))


@pytest.mark.parametrize("membership", ["all", "folds", "half", "poisson"])
def test_the_expected_multiplicity_is_that_of_the_rows(membership: Membership) -> None:
    ensemble = ensemble_of(membership, 6)
    found = ensemble.multiplicity(torch.arange(ROWS)).mean().item()
    assert found == pytest.approx(ensemble.mean_multiplicity, abs=5 / math.sqrt(6 * ROWS))


@pytest.mark.parametrize("membership", ["folds", "half", "poisson"])
def test_shares_of_members_sum_to_1_and_are_equal_among_those_that_did_not_see_the_row(
    membership: Membership,
) -> None:
    learner, ids = learner_of(membership=membership, members=4), torch.arange(2000)
    unseen, seen = learner.unseen(ids), learner.multiplicity(ids) > 0
    torch.testing.assert_close(unseen.sum(1), torch.ones(2000))
    by_all = seen.all(1)
    # 1/16 of the rows with half samples, (1 - 1/e)^4 = 16 % with the bootstrap, none with folds.
    assert by_all.any().item() == (membership != "folds")
    assert not unseen[~by_all][seen[~by_all]].any()
    assert torch.equal(unseen[by_all], torch.full((int(by_all.sum()), 4), 0.25))
    out = ~seen[~by_all]
    torch.testing.assert_close(unseen[~by_all], out / out.sum(1, keepdim=True))


@pytest.mark.parametrize("membership", ["folds", "half", "poisson"])
def test_membership_is_a_function_of_seed_and_id_alone(membership: Membership) -> None:
    ids = batch_of(500).sample_id
    ensemble = ensemble_of(membership, 5)
    whole = ensemble.multiplicity(ids)
    # Another rank or partition holds other rows in another order, in another process.
    order = torch.randperm(500, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(17)
    elsewhere = ensemble_of(membership, 5, hidden=(9, 9), embedding=1)
    parts = torch.cat([elsewhere.multiplicity(part) for part in ids[order].split(37)])
    assert torch.equal(parts, whole[order])
    other = ensemble_of(membership, 5, FACTS.model_copy(update={"seed": 2})).multiplicity(ids)
    assert 0.2 < (other == whole).float().mean() < 0.8


@pytest.mark.parametrize("membership", ["folds", "half", "poisson"])
def test_a_row_can_be_scored_only_where_there_are_two_members(membership: str) -> None:
    with pytest.raises(ValidationError, match="expected at least 2 with membership " + membership):
        EnsembleTraining.model_validate({"members": 1, "membership": membership})
    assert EnsembleTraining(members=1, membership="all").members == 1


# Networks


@pytest.mark.parametrize("hidden", [(), (7,), (7, 5)])
@pytest.mark.parametrize("with_ids", [True, False])
def test_logits_equal_those_of_separate_networks(hidden: tuple[int, ...], with_ids: bool) -> None:
    facts = FACTS if with_ids else FACTS.model_copy(update={"cardinalities": ()})
    ensemble, batch = ensemble_of("half", 3, facts, hidden=hidden), batch_of(40)
    logits = ensemble(batch)
    assert logits.shape == (40, 3)
    for member in range(3):
        tables = [nn.Embedding.from_pretrained(table[member].data) for table in ensemble.tables]
        embedded = [table(batch.ids[:, field]) for field, table in enumerate(tables)]
        wanted = sequential(ensemble, member)(torch.cat([batch.features, *embedded], dim=1))
        torch.testing.assert_close(logits[:, member], wanted[:, 0], rtol=1e-5, atol=1e-6)


def test_an_id_changes_the_logits_of_its_row_alone() -> None:
    ensemble, batch = ensemble_of("folds", 2, hidden=(8,), embedding=3), batch_of(12)
    ids = batch.ids.clone()
    ids[4, 1] = (ids[4, 1] + 1) % 6
    before: Tensor = ensemble(batch)
    after: Tensor = ensemble(replace(batch, ids=ids))
    moved = (before != after).any(1)
    assert moved.nonzero().flatten().tolist() == [4]


def test_members_begin_different_and_the_seed_decides_where() -> None:
    torch.manual_seed(0)
    one = ensemble_of("folds", 3)
    torch.manual_seed(1)
    same = ensemble_of("folds", 3)
    other = ensemble_of("folds", 3, FACTS.model_copy(update={"seed": 2}))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.weights[0], other.weights[0])
    for parameter in one.parameters():
        assert not torch.equal(parameter[0], parameter[1])


def test_parameters_begin_in_the_range_of_torchs_own_linear_layer() -> None:
    ensemble = ensemble_of("folds", 2, hidden=(64, 16))
    for weight, bias in zip(ensemble.weights, ensemble.biases, strict=True):
        bound = 1 / math.sqrt(weight.shape[1])
        for values in (weight, bias):
            assert values.abs().max() <= bound
        # The sd of a uniform distribution on (-b, b) is b / sqrt(3).
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.3)


def test_an_ensemble_that_cannot_be_held_is_refused_with_the_number_that_fits() -> None:
    # One member has (1000 + 1) * 1000 + (1000 + 1) = 1002001 parameters, which fit 267 times.
    facts = TrainFacts(dim=1000, rows=10, positives=5)
    with pytest.raises(TrainingError, match="too large") as caught:
        ensemble_of("half", 268, facts, hidden=(1000,))
    said = str(caught.value)
    for part in ("267 members of this shape", "268 members x 1002001 parameters", "256M"):
        assert part in said
    # Embeddings count as well: 2 x 5e8 numbers are more than there may be of one member.
    wide = TrainFacts(dim=1, cardinalities=(500_000_000,), rows=10, positives=5)
    with pytest.raises(TrainingError, match="0 members of this shape"):
        ensemble_of("all", 1, wide)


# Losses


@pytest.mark.parametrize("membership", ["all", "folds", "half", "poisson"])
def test_the_loss_is_the_cross_entropy_of_the_rows_that_each_member_sees(
    membership: Membership,
) -> None:
    learner, batch = learner_of(members=5, membership=membership), batch_of(200)
    loss, out_of_bag = learner.loss(batch, 200)
    p = learner.logits(batch).detach().double().sigmoid().numpy()
    y = batch.label.double().numpy()[:, None]
    errors = -np.log(np.where(y == 1, p, 1 - p))
    seen = learner.ensemble.multiplicity(batch.sample_id).double().numpy()
    wanted = (seen * errors).sum() / (200 * learner.ensemble.mean_multiplicity)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    if membership == "all":
        assert out_of_bag.isnan()
        return
    losses = []
    for row in range(200):
        unseen = p[row, seen[row] == 0]
        if len(unseen):
            mean = unseen.mean()
            losses.append(-math.log(mean if y[row] == 1 else 1 - mean))
    assert len(losses) > 150
    assert out_of_bag.item() == pytest.approx(sum(losses) / 200, rel=1e-5)


def test_a_row_trains_just_the_members_that_see_it_as_often_as_they_do() -> None:
    learner, batch = learner_of(members=12, membership="poisson"), batch_of(1, seed=4)
    seen = learner.ensemble.multiplicity(batch.sample_id)[0]
    assert {0.0, 1.0, 2.0} <= set(seen.tolist())
    learner.loss(batch, 1)[0].backward()
    gradient = learner.ensemble.biases[-1].grad
    assert gradient is not None
    residual = (learner.logits(batch).sigmoid() - batch.label)[0]
    torch.testing.assert_close(gradient.flatten(), seen * residual.detach())


# Encoding of features

CUTS = ((0.0, 1.0, 3.0, 7.0), (0.0, 0.0, 1.0, 1.0), (-1.0, -1.0, 2.0, 5.0))
CUT = FACTS.model_copy(update={"quantiles": CUTS})


def test_features_are_encoded_as_how_far_they_have_come_through_each_bin() -> None:
    encoding = Encoding(CUT, 3)
    # 3 bins, an indicator as it is, and 2 bins where two quantiles are the same.
    assert encoding.width == 6
    x = torch.tensor([[2.0, 1.0, 3.5], [0.5, 0.0, -1.0]])
    # By hand: (x - low) / (high - low) of each bin, cut to 0 .. 1 within the range of the rows.
    parts = torch.tensor([[1.0, 0.5, 0.0, 1.0, 0.5], [0.5, 0.0, 0.0, 0.0, 0.0]])
    wanted = (parts - 0.5) * 2.5
    found = encoding(x)
    torch.testing.assert_close(found[:, [0, 1, 2, 4, 5]], wanted)
    assert found[:, 3].tolist() == [1.0, 0.0]


def test_beyond_the_training_rows_a_value_keeps_its_distance_up_to_a_limit() -> None:
    encoding = Encoding(CUT, 3)
    low, high = (encoding(torch.tensor([[x, 0.0, 0.0]]))[0, [0, 2]] for x in (-2.0, 11.0))
    torch.testing.assert_close(low, (torch.tensor([-2.0, 0.0]) - 0.5) * 2.5)
    torch.testing.assert_close(high, (torch.tensor([1.0, 2.0]) - 0.5) * 2.5)
    far = [encoding(torch.tensor([[x, 0.0, 0.0]])) for x in (-1e30, 1e30)]
    assert far[0][0, 0].item() == (-4 - 0.5) * 2.5
    assert far[1][0, 2].item() == (4 - 0.5) * 2.5


def test_members_read_the_encoding() -> None:
    learner, batch = learner_of(CUT, members=2, bins=3), batch_of(30)
    encoded = replace(batch, features=Encoding(CUT, 3)(batch.features))
    wide = CUT.model_copy(update={"dim": 6})
    same = learner_of(wide, members=2)
    same.load_state_dict(learner.state_dict())
    torch.testing.assert_close(learner.logits(batch), same.logits(encoded))


@pytest.mark.parametrize(
    ("quantiles", "came"),
    [((), r"\[\] for 0"), (CUTS[:2], r"\[4\] for 2"), (((0.0, 1.0),) * 3, r"\[2\] for 3")],
)
def test_an_encoding_without_its_quantiles_is_refused(
    quantiles: tuple[tuple[float, ...], ...], came: str
) -> None:
    with pytest.raises(TrainingError, match=came):
        Encoding(FACTS.model_copy(update={"quantiles": quantiles}), 3)


@pytest.mark.parametrize(
    ("membership", "members", "positives", "refused"),
    [
        ("half", 16, 5, True),  # 16 / 2^5 members are expected to see none
        ("half", 16, 6, False),
        ("folds", 5, 1, True),
        ("folds", 5, 2, False),
        ("poisson", 100, 5, True),
        ("poisson", 100, 6, False),
        ("all", 1, 1, False),
        ("half", 16, 95, True),  # the rarer class is that of label 0
    ],
)
def test_members_that_would_see_one_class_are_refused(
    membership: str, members: int, positives: int, refused: bool
) -> None:
    training = EnsembleTraining.model_validate(
        {"membership": membership, "members": members, "bins": 0}
    )
    facts = FACTS.model_copy(update={"positives": positives})
    if not refused:
        training.check(facts)
        return
    with pytest.raises(TrainingError, match="only one class") as caught:
        training.check(facts)
    assert f"of {members} members" in str(caught.value)
