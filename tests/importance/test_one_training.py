"""Methods that read the same training cause one training."""

import torch
from blobs import FACTS, TRAINING, rows_of

from reweight.fitting import fit_in_memory, trainers_of
from reweight.importance import ImportanceMethod
from reweight.importance.aum import Aum
from reweight.importance.data_maps import DataMaps
from reweight.importance.el2n import El2n
from reweight.importance.focal import Focal
from reweight.importance.forgetting import Forgetting
from reweight.importance.grand import Grand
from reweight.importance.jtt import Jtt
from reweight.importance.r_ce import RCe
from reweight.importance.self_confidence import SelfConfidence
from reweight.importance.small_loss import SmallLoss
from reweight.importance.stored import Scorer
from reweight.importance.t_ce import TCe
from reweight.importance.tracin import TracIn

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
