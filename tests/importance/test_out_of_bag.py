"""Methods that read an ensemble: members that did not see the row, and the epochs that are kept."""

from typing import Literal

import torch
from torch import Tensor
from union import facts_of, planted

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.methods.self_confidence import SelfConfidence
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Learner
from reweight.training.in_memory import fit_in_memory

TRAIN, _ = planted()
VALIDATION, _ = planted(50, seed=1)
FACTS = facts_of(TRAIN)
SETTINGS = {
    "training": {"members": 4, "hidden": (4,), "epochs": 4, "embedding": 2},
    "keep": {"which": "spread", "count": 2},
}


class Spread(OutOfBagMethod):
    """How far the logit moves from the first kept epoch to the last."""

    assumes = "nothing"
    method: Literal["spread"] = "spread"

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        return outputs.logits(learner)

    def over_epochs(self, values: Tensor) -> Tensor:
        return values[-1] - values[0]


def test_a_reading_is_the_mean_over_unseen_members_and_then_over_epochs() -> None:
    method = SelfConfidence.model_validate(SETTINGS)
    stored = fit_in_memory((method,), FACTS, TRAIN, VALIDATION, batch_size=64)[0][method.name]
    assert stored.epochs == (2, 4)
    model = stored.model()
    with torch.inference_mode():
        wanted = torch.zeros(len(TRAIN))
        for learner in model.checkpoints():
            p = learner.logits(TRAIN).sigmoid()
            given = torch.where(TRAIN.label[:, None] == 1, p, 1 - p)
            unseen = learner.unseen(TRAIN.sample_id) > 0
            wanted += torch.where(unseen, given, 0.0).sum(1) / unseen.sum(1) / 2
        found = model(TRAIN)
    torch.testing.assert_close(found, wanted)


def test_epochs_come_in_the_order_of_training_and_not_of_their_names() -> None:
    method = Spread.model_validate(SETTINGS)
    model = method.build(FACTS, (10, 2, 9))
    for epoch, learner in model.learners.items():
        learner.ensemble.biases[-1].data += int(epoch)
    with torch.inference_mode():
        torch.testing.assert_close(model(TRAIN), torch.full((len(TRAIN),), 8.0))


def test_by_default_a_reading_shares_one_training_and_scores_around_the_best_epoch() -> None:
    method = SelfConfidence()
    assert method.learns() == Spread().learns() == method.training
    assert (method.checkpoint_choice().which, method.checkpoint_choice().count) == ("best", 5)
