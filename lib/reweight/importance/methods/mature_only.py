"""`mature_only`: rows whose label window is still open get weight 0.

    importance_i = 1[ the label window of i had closed when the training data were cut ]

The baseline in every comparison of methods for late labels: a team that waits until labels are
settled. It has no wrong negatives, and none of the newest rows. The cost of waiting is why Chapelle
2014, "Modeling Delayed Feedback in Display Advertising", models the delay instead.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import RowCounts, TrainFacts


class MatureOnly(ImportanceMethod):
    """Importance 1 if the label window has closed, else 0.

    Helps:
        Where purchases arrive late and preferences do not change in the meantime.

    Hurts:
        Where preferences do change: the newest rows are the ones left out.

    Refuses:
        Training rows without an open window, or without a settled positive.
    """

    needs: ClassVar[tuple[str, ...]] = ("mature",)
    assumes: ClassVar[str] = "preferences do not change within a label window"

    method: Literal["mature_only"] = "mature_only"

    def known_importance(self, facts: TrainFacts, counts: RowCounts) -> Tensor:
        """0 for open rows, 1 for settled ones."""
        rows = (facts.rows - counts.settled, counts.settled)
        return torch.tensor([(0, 1), rows], dtype=torch.float64).T

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Mature()


class _Mature(ImportanceModel):
    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        return outputs.batch.extra["mature"]
