"""`mature_only`: rows whose label window is still open weigh nothing.

    importance_i = 1[ the label window of i was over when the training data were cut ]

The baseline of every comparison of methods for late labels: what a team does that waits until a
label is settled. It has no wrong negatives, and none of the newest rows. What such a wait costs is
why Chapelle 2014, "Modeling Delayed Feedback in Display Advertising", models the delay instead.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts


class MatureOnly(ImportanceMethod):
    """Importance 1 where the label window is over, else 0.

    Helps:
        Where purchases come late and what people want does not change meanwhile.

    Hurts:
        Where it does change: the newest rows are those that are left out.

    Refuses:
        Training rows of which no window is open, or without a settled positive.
    """

    needs: ClassVar[tuple[str, ...]] = ("mature",)
    assumes: ClassVar[str] = "what people want does not change within a label window"

    method: Literal["mature_only"] = "mature_only"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Mature()


class _Mature(ImportanceModel):
    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        return outputs.batch.extra["mature"]
