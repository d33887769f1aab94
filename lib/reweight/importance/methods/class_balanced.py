"""`class_balanced`: both classes have the same total weight, w_i = n / (2 n_y).

The class weights of King & Zeng 2001, "Logistic Regression in Rare Events Data", for equal classes;
their correction of the intercept is ``recalibrate`` of the ranker.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import RowCounts, TrainFacts


class ClassBalanced(ImportanceMethod):
    """Importance n / (2 n_y), with the counts of the training split.

    Helps:
        Where positives are rare and the threshold is fixed at 1/2, or where only the order of rows
        matters and the model is too inflexible to fit both classes.

    Hurts:
        Calibration: predicted odds are those of a log with equal classes until the intercept is
        refitted (``recalibrate`` of the ranker). Where positives are rare, few effective samples
        are left: 4 p (1 - p) of the rows at a label rate of p.

    Refuses:
        A label rate at which its weights would leave too few effective samples under the weight
        policy; this is known before anything is trained.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "ranking matters and calibration does not (the intercept is refitted)"

    method: Literal["class_balanced"] = "class_balanced"

    def known_importance(self, facts: TrainFacts, counts: RowCounts) -> Tensor:
        """The weights of the two classes."""
        rows = (facts.rows - facts.positives, facts.positives)
        return torch.tensor([facts.class_weights(), rows], dtype=torch.float64).T

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The weights of the two classes."""
        return _PerClass(facts.class_weights())


class _PerClass(ImportanceModel):
    weight: Tensor

    def __init__(self, weights: tuple[float, float]) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(weights))

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        return self.weight[outputs.batch.label.long()]
