"""`uniform`: every row is worth the same. The baseline of every comparison."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.evidence import Evidence
from reweight.importance.training import TrainFacts


class Uniform(ImportanceMethod):
    """Importance 1 for every row."""

    assumes: ClassVar[str] = "the log is a fair sample with right labels"

    method: Literal["uniform"] = "uniform"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Ones()


class _Ones(ImportanceModel):
    def importance(self, evidence: Evidence) -> Tensor:
        return torch.ones_like(evidence.batch.label)
