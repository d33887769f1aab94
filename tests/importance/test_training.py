"""What is declared of a training: which epochs are kept, and which trainings are one."""

import math

import pytest
from pydantic import ValidationError

from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.importance.training import Checkpoints, TrainFacts

LOSSES = {epoch: abs(epoch - 6) + 1.0 for epoch in range(1, 13)}


def kept(which: str, count: int, total: int = 12, losses: dict[int, float] = LOSSES) -> list[int]:
    keep = Checkpoints.model_validate({"which": which, "count": count})
    return list(keep.epochs(total, losses))


@pytest.mark.parametrize(
    ("which", "count", "epochs"),
    [
        ("last", 1, [12]),
        ("last", 3, [10, 11, 12]),
        ("last", 99, list(range(1, 13))),
        ("early", 1, [1]),
        ("early", 4, [1, 2, 3, 4]),
        ("early", 99, list(range(1, 13))),
        ("spread", 1, [12]),
        ("spread", 3, [4, 8, 12]),
        ("spread", 5, [3, 5, 8, 10, 12]),
        ("spread", 12, list(range(1, 13))),
        ("spread", 99, list(range(1, 13))),
        ("best", 1, [6]),
        ("best", 3, [5, 6, 7]),
        ("best", 4, [4, 5, 6, 7]),
        ("best", 5, [4, 5, 6, 7, 8]),
        ("best", 99, list(range(1, 13))),
    ],
)
def test_so_many_epochs_are_kept_and_these(which: str, count: int, epochs: list[int]) -> None:
    assert kept(which, count) == epochs


@pytest.mark.parametrize(
    ("best", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [1, 2, 3, 4, 5]), (12, [8, 9, 10, 11, 12])]
)
def test_the_window_around_the_best_epoch_stays_within_the_training(
    best: int, epochs: list[int]
) -> None:
    assert kept("best", 5, losses={epoch: abs(epoch - best) for epoch in range(1, 13)}) == epochs


def test_the_earlier_of_two_equally_good_epochs_is_the_best() -> None:
    assert kept("best", 1, losses={1: 2.0, 2: 1.0, 3: 1.0, 4: 3.0}) == [2]


def test_without_a_loss_the_last_epochs_stand_for_the_best() -> None:
    assert kept("best", 1, losses={}) == [12]
    assert kept("best", 3, losses={}) == [10, 11, 12]


@pytest.mark.parametrize("which", ["last", "best", "early", "spread"])
@pytest.mark.parametrize("total", [1, 2, 3, 7, 20])
def test_whatever_the_settings_the_epochs_exist_and_are_in_order(which: str, total: int) -> None:
    for count in range(1, total + 3):
        for best in range(1, total + 1):
            losses = {epoch: float(epoch != best) for epoch in range(1, total + 1)}
            epochs = kept(which, count, total, losses)
            assert len(epochs) == min(count, total)
            assert epochs == sorted(set(epochs))
            assert 1 <= epochs[0] <= epochs[-1] <= total
            assert best in epochs or which != "best"


def test_no_epoch_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(ValidationError, match="count"):
        Checkpoints(count=0)


def test_equal_settings_are_one_training_and_any_difference_makes_two() -> None:
    one = EnsembleTraining()
    changes = [
        {"members": 17},
        {"membership": "poisson"},
        {"hidden": (64, 64)},
        {"epochs": 21},
        {"learning_rate": 0.0031},
        {"weight_decay": 0.0},
        {"bins": 0},
        {"embedding": 4},
    ]
    others = [EnsembleTraining.model_validate(change).key for change in changes]
    assert EnsembleTraining.model_validate(one.model_dump(by_alias=True)).key == one.key
    assert len({one.key, *others}) == len(changes) + 1


def test_the_kind_of_a_training_is_part_of_its_key() -> None:
    class Other(EnsembleTraining):
        pass

    assert Other().key != EnsembleTraining().key


def test_every_hyperparameter_of_the_published_training_is_part_of_its_key() -> None:
    changes = [{}, {"k": 3}, {"lambda": 0.5}, {"loss": "mse"}, {"penalty": "sum"}]
    changes += [{"class_weights": True}, {"cross_fit": 2}, {"training": {"epochs": 3}}]
    changes += [{"training": {"hidden": (4,)}}]
    trainings = [ImportanceMlp.model_validate(change).learns() for change in changes]
    assert len({training.key for training in trainings}) == len(changes)
    # What the config calls it, and not what is learnt, is no part.
    renamed = ImportanceMlp.model_validate({"name": "mine"}).learns()
    assert renamed.key == trainings[0].key


def test_class_weights_give_both_classes_half_of_the_rows() -> None:
    negative, positive = TrainFacts(dim=1, rows=100, positives=20).class_weights()
    assert math.isclose(negative * 80, 50)
    assert math.isclose(positive * 20, 50)
