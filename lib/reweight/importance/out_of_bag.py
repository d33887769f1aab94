"""Out-of-bag methods: a statistic of the members of an ensemble that did not see the row."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble import EnsembleTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.training import Checkpoints, Learner, TrainFacts, Training


class EnsembleMethod(ImportanceMethod, ABC):
    """A formula over an ensemble.

    Attributes:
        training: of the ensemble; methods with equal trainings share one.
        keep: the checkpoints that the formula reads.
    """

    training: EnsembleTraining = EnsembleTraining()
    keep: Checkpoints = Checkpoints(which="best", count=5)

    def learns(self) -> Training | None:
        """The ensemble."""
        return self.training

    def checkpoint_choice(self) -> Checkpoints:
        """Set by ``keep``."""
        return self.keep


class OutOfBagMethod(EnsembleMethod, ABC):
    """A statistic of each member at each checkpoint, averaged over those that did not see the row.

    A subclass defines ``statistic``, and also ``over_epochs`` if epochs are combined other than by
    their mean.
    """

    uses_label: ClassVar[bool] = True
    cost: ClassVar[str] = "E M F, shared by all methods of the same training"

    @abstractmethod
    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """The statistic of each row under each member at one epoch, float32 [B, M]."""

    def over_epochs(self, values: Tensor) -> Tensor:
        """Combines epochs: float32 [E, B], in order of epoch -> importance, float32 [B]."""
        return values.mean(0)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The averaged statistic."""
        return OutOfBagModel(self)


class OutOfBagModel(ImportanceModel):
    """The formula of an `OutOfBagMethod`."""

    def __init__(self, method: OutOfBagMethod) -> None:
        super().__init__()
        self.method = method

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The statistic, averaged over members and then combined over epochs; float32 [B]."""
        values = [
            over_unseen(outputs, learner, self.method.statistic(outputs, learner))
            for learner in self.checkpoints()
        ]
        return self.method.over_epochs(torch.stack(values))
