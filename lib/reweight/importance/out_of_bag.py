"""Methods that read a statistic of an ensemble: what its members say of rows they did not see."""

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
        training: of the ensemble; methods with equal ones share it.
        keep: the epochs that the formula reads.
    """

    training: EnsembleTraining = EnsembleTraining()
    keep: Checkpoints = Checkpoints(which="best", count=5)

    def learns(self) -> Training | None:
        """The ensemble."""
        return self.training

    def checkpoint_choice(self) -> Checkpoints:
        """As the config says."""
        return self.keep


class OutOfBagMethod(EnsembleMethod, ABC):
    """A statistic of each member at each kept epoch, averaged over those that did not see the row.

    A subclass says ``statistic``; one that combines epochs in another way than by their mean says
    ``over_epochs`` too.
    """

    uses_label: ClassVar[bool] = True
    cost: ClassVar[str] = "E M F, shared with all methods of the same training"

    @abstractmethod
    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Of each row under each member at one epoch, float32 [B, M]."""

    def over_epochs(self, values: Tensor) -> Tensor:
        """float32 [E, B], in the order of epochs -> importance, float32 [B]."""
        return values.mean(0)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The statistic."""
        return OutOfBagModel(self)


class OutOfBagModel(ImportanceModel):
    """The formula of a `OutOfBagMethod`."""

    def __init__(self, method: OutOfBagMethod) -> None:
        super().__init__()
        self.method = method

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """Statistic, mean over members, then over epochs; float32 [B]."""
        values = [
            over_unseen(outputs, learner, self.method.statistic(outputs, learner))
            for learner in self.checkpoints()
        ]
        return self.method.over_epochs(torch.stack(values))
