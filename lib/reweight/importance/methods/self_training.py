"""`self_training`: rows whose label is still open get the label that the network expects.

    y settled, or 1:   label y,      importance 1
    y open:            label p(x),   importance c(p)^power,    c = 1 - H(p) / ln 2

y is open if its window is, or if the row has no label (``splits.open_windows``, ``unlabelled``);
p = P(y = 1 | x) comes from members that were trained only on settled rows and did not see the row,
and H is its entropy: rows that the network is sure about count, others do not. Self-training
(Yarowsky 1995; Lee 2013, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method
for Deep Neural Networks") takes the likelier label as the true one; a probability keeps the base
rate, which for rare positives would otherwise become 0.
"""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.base import ImportanceModel
from reweight.importance.ensemble import FoldsTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.label_windows import SettledLearner
from reweight.importance.out_of_bag import EnsembleMethod
from reweight.importance.training import Learner, TrainFacts


class SettledTraining(FoldsTraining):
    """Members trained only on settled rows, each on all folds but one."""

    needs: ClassVar[tuple[str, ...]] = ("mature",)

    def build(self, facts: TrainFacts) -> Learner:
        """Untrained members."""
        return SettledLearner(self, facts)


class SelfTraining(EnsembleMethod):
    """Importance 1 for settled rows, at most 1 for open ones.

    Attributes:
        power: how much weight rows lose that the network is unsure about; 0 treats all alike.

    Helps:
        Where purchases arrive late and the newest rows look different: another x, the same
        p(y | x).

    Hurts:
        A ranker learns from it what the network already believed. Where that is wrong, for example
        because preferences have changed, the ranker becomes more certain of it. With a ``power``
        above 0, rows that the network is unsure about, often the likelier positives, weigh less.

    Refuses:
        Training rows without an open window, or without a settled positive. A class so rare that
        some member of the ensemble is likely to see none of it. ``sampling.negatives``.
    """

    soft: ClassVar[bool] = True
    uses_label: ClassVar[bool] = True
    needs_all_negatives: ClassVar[bool] = True
    assumes: ClassVar[str] = "p(y | x) is the same for old and new rows"
    cost: ClassVar[str] = "E M F"

    method: Literal["self_training"] = "self_training"
    training: SettledTraining = SettledTraining()
    power: float = Field(default=0.0, ge=0)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula of the module."""
        return SelfTrainingModel(self.power)


class SelfTrainingModel(ImportanceModel):
    """The formula of the module.

    Args:
        power: the exponent of the certainty c.
    """

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """1 for settled rows, c(p)^power for open ones, float32 [B]."""

        def certainty(rows: EnsembleOutputs) -> Tensor:
            p = self._expected(rows)
            # In bits: 1 for a fair coin, 0 where p is 0 or 1.
            entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)) / torch.tensor(2.0).log()
            return (1 - entropy).clamp(0, 1) ** self.power

        return self._at_open(outputs, certainty, torch.ones_like(outputs.batch.label))

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """p(y = 1), float32 [B]."""
        return self._at_open(outputs, self._expected, outputs.batch.label)

    def _expected(self, outputs: EnsembleOutputs) -> Tensor:
        return self.mean_unseen(outputs, outputs.probability)

    def _at_open(
        self,
        outputs: EnsembleOutputs,
        formula: Callable[[EnsembleOutputs], Tensor],
        settled: Tensor,
    ) -> Tensor:
        batch = outputs.batch
        is_open = ~((batch.extra["mature"] > 0) | (batch.label > 0.5))
        return outputs.at(is_open, "negatives with an open window", formula, settled)
