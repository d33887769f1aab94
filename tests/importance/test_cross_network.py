"""The network of the ranker `deep`: its formula, and what a weight means."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_auc_score
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.batch import Batch
from reweight.importance.cross_network import CrossLearner, DeepNetwork
from reweight.importance.deep_settings import DeepSettings
from reweight.importance.training import TrainFacts
from reweight.training.in_memory import fit_in_memory

ROWS = 240
FACTS = TrainFacts(dim=3, cardinalities=(4, 6), rows=ROWS, positives=100, seed=5)
SMALL = DeepSettings(
    epochs=8, patience=8, hidden=(6, 5), embedding=2, learning_rate=0.01, weight_decay=0
)
Columns = dict[str, Tensor]


def rows_of(count: int, seed: int = 0) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn((count, 3), generator=draw)
    ids = torch.stack([torch.randint(0, n, (count,), generator=draw) for n in (4, 6)], dim=1)
    # Products of features and ids, which no linear model can learn.
    score = 2 * features[:, 0] * features[:, 1] + 2 * (ids[:, 0] == 1).float() * features[:, 2]
    label = (torch.rand(count, generator=draw) < score.sigmoid()).float()
    return Batch(torch.arange(count), features, ids, label)


def with_columns(batch: Batch, **columns: Tensor) -> Batch:
    return Batch(batch.sample_id, batch.features, batch.ids, batch.label, columns)


def fitted(train: Batch, method: DeepNetwork, settings: DeepSettings = SMALL) -> ModelArtifact:
    """Trained on all rows at once; validation rows weigh 1."""
    held_out = rows_of(120, seed=9)
    ones = {name: torch.ones(len(held_out)) for name in method.columns()}
    if label := method.training.soft_label:
        ones[label] = held_out.label
    stored, _ = fit_in_memory(
        [method], FACTS, train, with_columns(held_out, **ones), batch_size=len(train)
    )
    return stored[method.name]


def scores(stored: ModelArtifact, batch: Batch | None = None) -> Tensor:
    with torch.inference_mode():
        found: Tensor = stored.model()(batch or rows_of(50, seed=3))
    return found


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4)


@pytest.mark.parametrize(("cross", "hidden"), [(2, (6, 5)), (0, ()), (1, ()), (0, (4,))])
def test_the_network_is_its_formula(cross: int, hidden: tuple[int, ...]) -> None:
    settings = SMALL.model_copy(update={"cross": cross, "hidden": hidden})
    learner = DeepNetwork.of("a", settings).training.build(FACTS)
    assert isinstance(learner, CrossLearner)
    batch, network = rows_of(20), learner.network

    def numbers(values: Any) -> NDArray[np.float64]:
        found: NDArray[np.float64] = values.detach().double().numpy()
        return found

    tables = [numbers(table)[batch.ids[:, f]] for f, table in enumerate(network.tables)]
    first = np.concatenate([numbers(batch.features), *tables], axis=1)
    x, deep = first, first
    for layer in network.crosses:
        x = first * (x @ numbers(layer.weight).T + numbers(layer.bias)) + x
    for layer in network.layers:
        deep = np.maximum(deep @ numbers(layer.weight).T + numbers(layer.bias), 0)
    joined = np.concatenate([x, deep], axis=1) if hidden else x
    wanted = joined @ numbers(network.output.weight).T + numbers(network.output.bias)
    np.testing.assert_allclose(numbers(learner.logits(batch)), wanted, atol=1e-5)


def test_a_row_of_weight_0_is_a_row_left_out_and_one_of_weight_2_is_two_rows() -> None:
    train, method = rows_of(ROWS), DeepNetwork.of("w", SMALL)
    draw = torch.Generator().manual_seed(1)
    times = torch.randint(0, 3, (ROWS,), generator=draw)
    assert set(times.tolist()) == {0, 1, 2}
    weight = times * (ROWS / times.sum())
    weighted = scores(fitted(with_columns(train, weight_w=weight), method))
    repeated = train.rows(torch.repeat_interleave(torch.arange(ROWS), times))
    ones = torch.ones(len(repeated))
    close(scores(fitted(with_columns(repeated, weight_w=ones), method)), weighted)
    alike = scores(fitted(with_columns(train, weight_w=torch.ones(ROWS)), method))
    assert not torch.allclose(alike, weighted, atol=0.02)


def test_a_soft_label_is_two_rows() -> None:
    train = rows_of(ROWS)
    draw = torch.Generator().manual_seed(2)
    soft, weight = torch.rand(ROWS, generator=draw), torch.rand(ROWS, generator=draw) + 0.5
    weight = weight / weight.mean()
    rows = with_columns(train, weight_s=weight, label_s=soft)
    one = scores(fitted(rows, DeepNetwork.of("s", SMALL, soft=True)))
    both = Batch.concat([train, train])
    label = torch.cat([torch.ones(ROWS), torch.zeros(ROWS)])
    # Of mean 1 over twice the rows.
    parts = 2 * torch.cat([weight * soft, weight * (1 - soft)])
    two = Batch(both.sample_id, both.features, both.ids, label, {"weight_w": parts})
    close(scores(fitted(two, DeepNetwork.of("w", SMALL))), one)


def test_equal_seeds_give_equal_networks_whatever_torch_has_drawn() -> None:
    train, method = (
        with_columns(rows_of(ROWS), weight_w=torch.ones(ROWS)),
        DeepNetwork.of("w", SMALL),
    )
    first = fitted(train, method)
    torch.manual_seed(99)
    assert fitted(train, method) == first
    other = FACTS.model_copy(update={"seed": 6})
    assert not torch.equal(
        next(method.build(other).parameters()), next(method.build(FACTS).parameters())
    )


def test_what_is_read_scores_as_what_was_written(tmp_path: Path) -> None:
    method = DeepNetwork.of("w", SMALL)
    stored = fitted(with_columns(rows_of(ROWS), weight_w=torch.ones(ROWS)), method)
    stored.write(tmp_path / "w")
    again = ModelArtifact.read(tmp_path / "w")
    assert again.read_method() == method
    assert torch.equal(scores(again), scores(stored))
    # By the function that scores importance, which needs no weights of the rows.
    new = rows_of(50, seed=3)
    assert method.scoring_columns() == ()
    assert torch.equal(Scorer({"w": again})(new)["w"], scores(stored, new))


def test_a_row_scores_the_same_alone_and_in_a_batch() -> None:
    stored = fitted(
        with_columns(rows_of(ROWS), weight_w=torch.ones(ROWS)), DeepNetwork.of("w", SMALL)
    )
    new = rows_of(30, seed=3)
    alone = [scores(stored, new.rows(torch.tensor([i]))) for i in range(len(new))]
    torch.testing.assert_close(torch.cat(alone), scores(stored, new), rtol=0, atol=1e-6)


def test_cross_layers_alone_learn_products() -> None:
    train, test = rows_of(1500), rows_of(1500, seed=4)
    settings = DeepSettings(
        epochs=60, patience=60, hidden=(), embedding=4, learning_rate=0.02, weight_decay=0
    )
    aucs = []
    for cross in (0, 1):
        method = DeepNetwork.of("w", settings.model_copy(update={"cross": cross}))
        stored = fitted(with_columns(train, weight_w=torch.ones(len(train))), method)
        aucs.append(float(roc_auc_score(test.label, expit(scores(stored, test).numpy()))))
    assert aucs[0] < 0.65
    assert aucs[1] > 0.8


def test_a_network_that_fits_no_memory_is_refused() -> None:
    wide = FACTS.model_copy(update={"cardinalities": (2**26,)})
    with pytest.raises(TrainingError) as caught:
        DeepNetwork.of("w", DeepSettings()).training.check_size(wide)
    assert "256M parameters" in caught.value.expected
    assert "512M" in caught.value.got
    DeepNetwork.of("w", DeepSettings()).training.check_size(FACTS)
