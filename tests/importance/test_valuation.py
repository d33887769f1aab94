"""What methods that value the training rows themselves share: the table, its rows, its limit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from reweight.core.errors import TrainingError
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.methods.data_shapley import DataShapley
from reweight.importance.methods.knn_shapley import KnnShapley
from reweight.importance.methods.loo import Loo
from reweight.importance.methods.lossval import Lossval
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import Valuation, ValuationMethod
from reweight.training.in_memory import fit_in_memory

METHODS = (
    KnnShapley(k=3),
    Loo(),
    DataShapley(budget=400),
    Lossval(training={"epochs": 3, "hidden": (6,), "batch_size": 8}),
)
ROWS, OTHERS = 40, 30
FACTS = TrainFacts(dim=3, cardinalities=(4,), rows=ROWS, positives=20, seed=2)


def rows_of(count: int, seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn((count, 3), generator=draw)
    return Batch(
        sample_id=torch.randint(-(2**63), 2**63 - 1, (count,), generator=draw),
        features=features,
        ids=torch.randint(0, 4, (count, 1), generator=draw),
        label=(features[:, 0] + torch.randn(count, generator=draw) > 0).float(),
    )


TRAIN, VALIDATION = rows_of(ROWS, 0), rows_of(OTHERS, 1)


def fitted(
    train: Batch = TRAIN,
    validation: Batch = VALIDATION,
    methods: tuple[ImportanceMethod, ...] = METHODS,
    batch_size: int = 16,
) -> dict[str, ModelArtifact]:
    return fit_in_memory(methods, FACTS, train, validation, batch_size=batch_size)[0]


def scores(stored: ModelArtifact, batch: Batch) -> Tensor:
    with torch.inference_mode():
        return stored.model()(batch)


@pytest.fixture(scope="module")
def stored() -> dict[str, ModelArtifact]:
    return fitted()


@pytest.fixture(params=METHODS, ids=lambda method: method.name)
def method(request: pytest.FixtureRequest) -> ValuationMethod:
    found: ValuationMethod = request.param
    return found


def test_each_training_row_is_looked_up_by_its_id_alone(
    method: ValuationMethod, stored: dict[str, ModelArtifact]
) -> None:
    ordered = TRAIN.rows(TRAIN.sample_id.argsort())
    values = method.values(
        Valuation(ordered, VALIDATION.rows(VALIDATION.sample_id.argsort()), FACTS)
    )
    assert values.unique().numel() > ROWS / 2
    stranger = replace(ordered, features=7 + ordered.features, label=1 - ordered.label)
    assert torch.equal(scores(stored[method.name], stranger), values.float())


def test_a_row_that_was_not_valued_gets_the_mean_value(
    method: ValuationMethod, stored: dict[str, ModelArtifact]
) -> None:
    mixed = Batch.concat([VALIDATION, TRAIN])
    found = scores(stored[method.name], mixed)
    mean = found[OTHERS:].mean()
    torch.testing.assert_close(found[:OTHERS], mean.expand(OTHERS))
    ends = replace(VALIDATION, sample_id=torch.tensor([-(2**63), 2**63 - 1] * (OTHERS // 2)))
    torch.testing.assert_close(scores(stored[method.name], ends), mean.expand(OTHERS))


def test_values_survive_the_folder_whatever_their_number(
    method: ValuationMethod, stored: dict[str, ModelArtifact], tmp_path: Path
) -> None:
    fewer = fitted(TRAIN.rows(torch.arange(17)), methods=(method,))[method.name]
    for number, one in enumerate((stored[method.name], fewer)):
        one.write(tmp_path / str(number))
        again = ModelArtifact.read(tmp_path / str(number))
        assert len(again.model().state_dict()["value"]) == (ROWS, 17)[number]
        assert torch.equal(scores(again, TRAIN), scores(one, TRAIN))


def test_values_depend_neither_on_the_order_of_rows_nor_on_batches(
    stored: dict[str, ModelArtifact],
) -> None:
    draw = torch.Generator().manual_seed(3)
    train, validation = (
        batch.rows(torch.randperm(len(batch), generator=draw)) for batch in (TRAIN, VALIDATION)
    )
    again = fitted(train, validation, batch_size=7)
    assert {name: one.tensors for name, one in again.items()} == {
        name: one.tensors for name, one in stored.items()
    }


def rank(number: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=number, world_size=world)
    # Shares of different sizes, which a gathering of tensors would have to pad.
    own = [
        batch.rows(torch.arange(len(batch)) % 5 % world == number) for batch in (TRAIN, VALIDATION)
    ]
    for name, one in fitted(*own).items():
        one.write(Path(folder) / str(number) / name)
    dist.destroy_process_group()


@pytest.mark.usefixtures("starts_processes")
def test_all_ranks_have_the_values_that_one_process_has(
    stored: dict[str, ModelArtifact], tmp_path: Path
) -> None:
    multiprocessing.spawn(rank, args=(2, str(tmp_path)), nprocs=2)
    for number in range(2):
        for method in METHODS:
            found = ModelArtifact.read(tmp_path / str(number) / method.name)
            assert found.tensors == stored[method.name].tensors


def test_more_rows_than_the_limit_are_refused_before_the_work() -> None:
    instead = {
        "knn_shapley": "self_confidence",
        "loo": "influence_lr",
        "data_shapley": "data_oob",
        "lossval": "self_confidence",
    }
    for method in METHODS:
        limited = method.model_copy(update={"max_rows": 123_456, "budget": 10**9})
        limited.model(FACTS.model_copy(update={"rows": 123_456}))
        with pytest.raises(TrainingError) as refused:
            limited.model(FACTS.model_copy(update={"rows": 123_457}))
        for said in ("at most 123,456", "123,457", f"use {instead[method.name]} ", method.name):
            assert said in str(refused.value)
        assert method.max_rows == 2000


def test_a_split_without_rows_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match=r"no rows in the split.*validation"):
        fitted(validation=VALIDATION.rows(torch.arange(0)), methods=(KnnShapley(),))


def test_values_that_are_not_finite_are_refused() -> None:
    broken = replace(TRAIN, features=TRAIN.features.clone())
    broken.features[5, 1] = float("nan")
    with pytest.raises(TrainingError, match="'lossval' are not finite"):
        fitted(broken, methods=(Lossval(training={"epochs": 1, "hidden": (4,)}),))


def test_validation_rows_beyond_the_limit_are_left_out_by_a_hash() -> None:
    few, ordered = (KnnShapley(valuation_rows=9),), VALIDATION.rows(VALIDATION.sample_id.argsort())
    kept = []
    for place in range(OTHERS):
        label = ordered.label.clone()
        label[place] = 1 - label[place]
        changed = fitted(validation=replace(ordered, label=label), methods=few)
        kept.append(changed["knn_shapley"].tensors != fitted(methods=few)["knn_shapley"].tensors)
    assert sum(kept) == 9
    assert 0 < sum(kept[:15]) < 9


def test_ids_are_columns_of_their_own_where_training_rows_have_them() -> None:
    train = Batch(
        torch.arange(3),
        torch.tensor([[0.5], [1], [2]]),
        torch.tensor([[7], [2], [7]]),
        torch.ones(3),
    )
    other = replace(train, ids=torch.tensor([[2], [5], [7]]))
    x, v = Valuation(train, other, FACTS).design()
    assert x.tolist() == [[0.5, 0, 1], [1, 1, 0], [2, 0, 1]]
    assert v.tolist() == [[0.5, 1, 0], [1, 0, 0], [2, 0, 1]]
