"""`uniform`: every row has the same weight, w_i = 1. The baseline of every comparison.

Plain empirical risk minimisation (Vapnik 1991, "Principles of Risk Minimization for Learning
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
        Always, as the baseline that every result is compared with.

    Hurts:
        Where some rows are wrong, or stand for others that the log lacks: they count like the rest.

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
