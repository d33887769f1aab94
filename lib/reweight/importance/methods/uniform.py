"""`uniform`: every row is worth the same, w_i = 1. The baseline of every comparison.

Empirical risk minimisation as it stands (Vapnik 1991, "Principles of Risk Minimization for Learning
Theory").
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts


class Uniform(ImportanceMethod):
    """Importance 1 for every row.

    Helps:
        Always, as that to which every result is a difference.

    Hurts:
        Where some rows are wrong, or stand for others that the log lacks: they count like all.

    Refuses:
        Nothing.
    """

    assumes: ClassVar[str] = "the log is a fair sample with right labels"

    method: Literal["uniform"] = "uniform"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Ones()


class _Ones(ImportanceModel):
    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        return torch.ones_like(outputs.batch.label)
