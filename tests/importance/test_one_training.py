"""Methods that read the same training cause one training."""

import torch
from blobs import FACTS, TRAINING, rows_of

from reweight.importance.artifact import Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods.aum import Aum
from reweight.importance.methods.data_maps import DataMaps
from reweight.importance.methods.el2n import El2n
from reweight.importance.methods.focal import Focal
from reweight.importance.methods.forgetting import Forgetting
from reweight.importance.methods.grand import Grand
from reweight.importance.methods.jtt import Jtt
from reweight.importance.methods.r_ce import RCe
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.methods.small_loss import SmallLoss
from reweight.importance.methods.t_ce import TCe
from reweight.importance.methods.tracin import TracIn
from reweight.training.in_memory import fit_in_memory
from reweight.training.loop import trainers_of

KINDS: tuple[type[ImportanceMethod], ...] = (
    Aum,
    DataMaps,
    El2n,
    Focal,
    Forgetting,
    Grand,
    Jtt,
    RCe,
    SelfConfidence,
    SmallLoss,
    TCe,
    TracIn,
)


def test_as_they_come_all_of_them_share_one_training() -> None:
    facts = FACTS.model_copy(update={"quantiles": ((0.0, 1.0, 2.0, 3.0),) * FACTS.dim})
    (trainer,) = trainers_of([kind() for kind in KINDS], facts, torch.device("cpu"))
    assert len(trainer.methods) == len(KINDS)


def test_one_training_gives_each_what_a_training_of_its_own_gives() -> None:
    train, new = rows_of(40), rows_of(10, seed=3)
    methods = [kind.model_validate({"training": TRAINING}) for kind in KINDS]
    stored, curves = fit_in_memory(methods, FACTS, train, new, batch_size=20)
    assert len(curves) == 1
    together = Scorer(stored)(new)
    assert len(together) == len(KINDS)
    for method in methods:
        alone, _ = fit_in_memory([method], FACTS, train, new, batch_size=20)
        assert torch.equal(Scorer(alone)(new)[method.name], together[method.name])
