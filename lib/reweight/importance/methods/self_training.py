"""`self_training`: rows whose label is open are given the one that the network expects.

    y settled, or 1:   label y,      importance 1
    y open:            label p(x),   importance c(p)^power,    c = 1 - H(p) / ln 2

y is open where its window is, and where a row has none (``splits.open_windows``, ``unlabelled``);
p = P(y = 1 | x) by members that were trained on settled rows alone and did not see the row, and H
is its entropy: rows of which the network is sure count, those of which it is not do not.
Self-training (Yarowsky 1995; Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised
Learning Method for Deep Neural Networks") takes the likelier label for the true one; a probability
keeps the base rate, which for rare positives would otherwise become 0.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble import FoldsTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.label_windows import SettledLearner
from reweight.importance.out_of_bag import EnsembleMethod
from reweight.importance.training import Learner, TrainFacts


class SettledTraining(FoldsTraining):
    """Members on settled rows alone, each on all folds of them but one."""

    needs: ClassVar[tuple[str, ...]] = ("mature",)

    def build(self, facts: TrainFacts) -> Learner:
        """The members before training."""
        return SettledLearner(self, facts)


class SelfTraining(EnsembleMethod):
    """Importance 1 for settled rows, at most 1 for open ones.

    Attributes:
        power: how much less a row counts of which the network is unsure; 0 for all alike.

    Helps:
        Where purchases come late and the newest rows look different: another x, the same p(y | x).

    Hurts:
        A ranker learns from it what the network knew before: where that is wrong it becomes surer
        of it, as where what people want has changed. With a ``power`` above 0 the rows of which the
        network is unsure, often the likelier positives, weigh less.

    Refuses:
        Training rows of which no window is open, or without a settled positive. Training rows so
        few of a class that some member of the ensemble is likely to see none.
    """

    soft: ClassVar[bool] = True
    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "what people want, given x, is the same for old and new rows"
    cost: ClassVar[str] = "E M F"

    method: Literal["self_training"] = "self_training"
    training: SettledTraining = SettledTraining()
    power: float = Field(default=0.0, ge=0)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula."""
        return SelfTrainingModel(self.power)


class SelfTrainingModel(ImportanceModel):
    """The formula of the module.

    Args:
        power: of the certainty.
    """

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """float32 [B]."""
        p = self.mean_unseen(outputs, outputs.probability)
        # In bits: 1 for a fair coin, 0 where p is 0 or 1.
        entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / torch.tensor(2.0).log()
        certainty = (1 - entropy).clamp(0, 1) ** self.power
        return torch.where(self._open(outputs.batch), certainty, 1.0)

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """p(y = 1), float32 [B]."""
        batch = outputs.batch
        expected = self.mean_unseen(outputs, outputs.probability)
        return torch.where(self._open(batch), expected, batch.label)

    def _open(self, batch: Batch) -> Tensor:
        return ~((batch.extra["mature"] > 0) | (batch.label > 0.5))
