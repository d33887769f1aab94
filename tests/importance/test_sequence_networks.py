"""Networks over sequences: those of torch for each member, and padding that changes nothing."""

from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from reweight.core.errors import TrainingError
from reweight.core.sequences import SequenceShape
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.attribution import attributions
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch, Sequences
from reweight.importance.ensemble import Ensemble, EnsembleTraining
from reweight.importance.methods.grand import Grand
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.tracin import TracIn
from reweight.importance.sequence_networks import SequenceNetwork
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

Reading = Literal["cnn", "gru"]
NETWORKS: tuple[Reading, ...] = ("cnn", "gru")
MEMBERS, LENGTH, WIDTH = 3, 6, 5
SHAPE = SequenceShape(length=LENGTH, fields={"item": 7, "kind": 4}, shared={"item": 1})
FACTS = TrainFacts(dim=3, cardinalities=(4, 7), rows=100, positives=30, seed=1, sequence=SHAPE)


def ensemble_of(network: str, facts: TrainFacts = FACTS, **settings: Any) -> Ensemble:
    values: dict[str, Any] = {"members": MEMBERS, "hidden": (4,), "embedding": 2} | settings
    values |= {"network": network, "sequence_width": WIDTH}
    return Ensemble(facts, membership="half", **values)


def sequences_of(lengths: Tensor, seed: int = 0) -> Sequences:
    """Sequences of these lengths, padded as samples are."""
    draw, rows = torch.Generator().manual_seed(seed), len(lengths)
    ids = [torch.randint(0, n, (rows, LENGTH), generator=draw) for n in SHAPE.fields.values()]
    gaps = (10 * torch.rand((rows, LENGTH), generator=draw)).sort(1, descending=True).values
    known = torch.arange(LENGTH) < lengths[:, None]
    no_ids = torch.where(known[:, :, None], torch.stack(ids, dim=2), 0)
    return Sequences(no_ids, torch.where(known, gaps, -1.0))


def batch_of(rows: int = 40, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, LENGTH + 1, (rows,), generator=draw)
    lengths[:4] = torch.tensor([0, LENGTH, 1, 2])
    return Batch(
        sample_id=torch.randint(-(2**62), 2**62, (rows,), generator=draw),
        features=torch.randn((rows, 3), generator=draw),
        ids=torch.stack([torch.randint(0, n, (rows,), generator=draw) for n in (4, 7)], dim=1),
        label=(torch.rand(rows, generator=draw) < 0.3).float(),
        extra={"target": (torch.rand(rows, generator=draw) < 0.5).float()},
        sequence=sequences_of(lengths, seed),
    )


def read_by_torch(part: SequenceNetwork, network: Reading, member: int, events: Tensor) -> Tensor:
    """What a member makes of one row's events, by torch's own layers; events [length, channels]."""
    weights = [w[member].data for w in part.weights]
    biases = [b[member, 0].data for b in part.biases]
    if network == "gru":
        gru = nn.GRU(events.shape[1], WIDTH, batch_first=True)
        gru.weight_ih_l0.data, gru.weight_hh_l0.data = weights[0].T, weights[1].T
        gru.bias_ih_l0.data, gru.bias_hh_l0.data = biases
        packed = pack_padded_sequence(events[None], [len(events)], batch_first=True)
        state: Tensor = gru(packed)[1][0, 0]
        return state
    x = events.T
    for weight, bias in zip(weights, biases, strict=True):
        conv = nn.Conv1d(len(x), WIDTH, 3, padding=1)
        conv.weight.data = weight.view(3, len(x), WIDTH).permute(2, 1, 0)
        conv.bias.data = bias  # type: ignore[union-attr]
        x = conv(x[None])[0].relu()
    return torch.cat([x.amax(1), x[:, -1]])


@pytest.mark.parametrize("network", NETWORKS)
def test_each_member_reads_as_torchs_own_layers_do(network: Reading) -> None:
    ensemble, batch = ensemble_of(network), batch_of()
    part, sequence = ensemble.sequence, batch.sequence
    assert part is not None and sequence is not None
    found = part(sequence, list(ensemble.tables))
    assert found.shape == (MEMBERS, 40, WIDTH * (2 if network == "cnn" else 1))
    assert len(part.tables) == 1  # the items have the embedding of the field of ids
    for member in range(MEMBERS):
        tables = [ensemble.tables[1][member], part.tables[0][member]]
        for row in range(40):
            count = int((sequence.gaps[row] >= 0).sum())
            if count == 0:
                assert (found[member, row] == 0).all()
                continue
            ids, gaps = sequence.ids[row, :count], sequence.gaps[row, :count]
            age = gaps[:, None] / torch.log1p(torch.tensor(365 * 86400.0))
            embedded = [table[ids[:, f]] for f, table in enumerate(tables)]
            wanted = read_by_torch(part, network, member, torch.cat([*embedded, age], dim=1))
            torch.testing.assert_close(found[member, row], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_row_has_the_same_logits_alone_and_whatever_its_padding_holds(network: Reading) -> None:
    ensemble, batch = ensemble_of(network), batch_of()
    sequence = batch.sequence
    assert sequence is not None
    logits = ensemble(batch)
    alone = torch.cat([ensemble(batch.rows(torch.tensor([row]))) for row in range(len(batch))])
    torch.testing.assert_close(alone, logits, rtol=1e-5, atol=1e-6)
    known = sequence.gaps >= 0
    other = Sequences(
        torch.where(known[:, :, None], sequence.ids, 3), torch.where(known, sequence.gaps, -7.0)
    )
    assert torch.equal(ensemble(replace(batch, sequence=other)), logits)
    longer = Sequences(
        torch.cat([sequence.ids, sequence.ids], 1),
        torch.cat([sequence.gaps, torch.full_like(sequence.gaps, -1.0)], 1),
    )
    assert torch.equal(ensemble(replace(batch, sequence=longer)), logits)


@pytest.mark.parametrize("network", NETWORKS)
def test_rows_are_read_in_parts_that_fit_into_memory(
    network: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble, batch = ensemble_of(network), batch_of()
    whole = ensemble(batch)
    monkeypatch.setattr("reweight.importance.sequence_networks._EVENTS", 7 * MEMBERS * LENGTH)
    torch.testing.assert_close(ensemble(batch), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_parameter_has_a_gradient_even_without_any_event(network: Reading) -> None:
    """Else ranks would wait for one another's gradients."""
    for rows in (40, 0):
        ensemble, batch = ensemble_of(network), batch_of().rows(torch.arange(rows))
        assert batch.sequence is not None
        none = replace(batch, sequence=batch.sequence.without_events())
        ensemble(none).sum().backward()
        assert all(parameter.grad is not None for parameter in ensemble.parameters())


def test_members_without_a_sequence_are_as_they_were() -> None:
    plain = ensemble_of("mlp", FACTS.model_copy(update={"sequence": None}))
    beside = ensemble_of("mlp")
    assert plain.state_dict().keys() == beside.state_dict().keys()
    batch = batch_of()
    assert torch.equal(plain(replace(batch, sequence=None)), beside(batch))
    reading = ensemble_of("gru")
    assert torch.equal(plain.tables[0], reading.tables[0]) is False  # a wider first layer is drawn


def test_a_network_without_sequences_is_refused_with_the_line_to_write() -> None:
    training = EnsembleTraining(network="gru")
    facts = FACTS.model_copy(update={"sequence": None})
    with pytest.raises(TrainingError) as refused:
        training.check_size(facts.model_copy(update={"quantiles": ((0.0, 1.0, 2.0, 3.0),) * 3}))
    assert "network: gru" in refused.value.what
    assert "features.sequence" in refused.value.got
    assert refused.value.fix.startswith("write features: {sequence: {keys: [")
    assert not EnsembleTraining().reads_sequence
    assert SelfConfidence(training=training).reads_sequence


def test_large_sequence_networks_are_refused_too() -> None:
    wide = SHAPE.model_copy(update={"fields": {"item": 500_000_000}, "shared": {}})
    with pytest.raises(TrainingError, match="0 members of this shape"):
        ensemble_of("cnn", FACTS.model_copy(update={"sequence": wide}))
    assert ensemble_of("cnn").sequence is not None


def test_gradient_norms_have_a_closed_form_for_the_mlp_alone() -> None:
    with pytest.raises(ValidationError, match="write network: mlp"):
        Grand(training=EnsembleTraining(network="cnn"))


METHODS: list[ImportanceMethod] = [
    ImportanceMlp.model_validate({"training": {"network": n, "hidden": (4,), "epochs": 2}})
    for n in NETWORKS
] + [
    SelfConfidence.model_validate(
        {"training": {"network": "gru", "members": 4, "epochs": 2, "bins": 0}}
    ),
    TracIn.model_validate({"training": {"network": "cnn", "members": 4, "epochs": 2, "bins": 0}}),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.name}-{m.learns().network}")
def test_a_fitted_model_scores_as_it_was_stored(method: ImportanceMethod) -> None:
    batch = batch_of(100)
    facts = FACTS.model_copy(update={"positives": int(batch.label.sum())})
    models, curves = fit_in_memory([method], facts, batch, batch_of(30, 1), batch_size=50)
    stored = models[method.name]
    again = ModelArtifact(stored.method, stored.facts, stored.epochs, stored.tensors)
    scores = Scorer({"m": again})(batch)["m"]
    assert scores.isfinite().all() and scores.std() > 0
    alone = torch.cat(
        [Scorer({"m": stored})(batch.rows(torch.tensor([i])))["m"] for i in range(10)]
    )
    torch.testing.assert_close(alone, scores[:10], rtol=1e-4, atol=1e-6)
    assert batch.sequence is not None
    forgotten = replace(batch, sequence=batch.sequence.without_events())
    moved = Scorer({"m": stored})(forgotten)["m"] != scores
    has_events = (batch.sequence.gaps >= 0).any(1)
    assert not moved[~has_events].any() and moved[has_events].float().mean() > 0.9
    assert curves[method.name][-1]["train"] > 0


def test_what_earlier_events_add_is_attributed_with_the_categories() -> None:
    batch = batch_of()

    def scores(rows: Batch) -> dict[str, Tensor]:
        assert rows.sequence is not None
        return {"m": rows.features.sum(1) + 0.5 * (rows.sequence.gaps >= 0).sum(1)}

    assert batch.sequence is not None
    categories = attributions(scores, batch, 1)["m"][:, 3]
    torch.testing.assert_close(categories, 0.5 * (batch.sequence.gaps >= 0).sum(1))


def ordered(rows: int, seed: int) -> Batch:
    """The label says whether the last two events came in the one order or in the other."""
    draw = torch.Generator().manual_seed(seed)
    first = torch.randint(1, 4, (rows,), generator=draw)
    step = torch.randint(1, 3, (rows,), generator=draw)
    second = (first - 1 + step) % 3 + 1
    ids = torch.stack([first, second], dim=1)[:, :, None].expand(-1, -1, 2)
    label = (step == 1).float()
    return Batch(
        sample_id=torch.randint(-(2**62), 2**62, (rows,), generator=draw),
        features=torch.randn((rows, 3), generator=draw),
        ids=torch.zeros((rows, 2), dtype=torch.int64),
        label=label,
        sequence=Sequences(ids, torch.tensor([[5.0, 4.0]]).expand(rows, -1)),
    )


@pytest.mark.parametrize(
    ("network", "least", "most"), [("mlp", 0, 0.6), ("cnn", 0.95, 1), ("gru", 0.95, 1)]
)
def test_order_is_seen_by_networks_that_read_sequences(
    network: str, least: float, most: float
) -> None:
    train, test = ordered(600, 0), ordered(400, 1)
    facts = FACTS.model_copy(update={"rows": 600, "positives": int(train.label.sum())})
    training = {"network": network, "epochs": 25, "hidden": (16,), "learning_rate": 0.01}
    method = ImportanceMlp.model_validate(
        {"training": training, "lambda": 0.0, "cross_fit": 0, "name": "m"}
    )
    models, _ = fit_in_memory([method], facts, train, test, batch_size=100)
    auc = roc_auc_score(test.label, Scorer(models)(test)["m"])
    assert least <= auc <= most
