"""`random`: U(0, 1), the control that costs effective samples and knows nothing.

The cost of unequal weights is the design effect n sum w^2 / (sum w)^2 of Kish 1965, "Survey
Sampling".
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.membership import bits
from reweight.importance.training import TrainFacts


class Random(ImportanceMethod):
    """Importance U(0, 1), a hash of the seed and the row's id.

    Helps:
        As a control: a method that does no better has learnt nothing about the rows.

    Hurts:
        Wherever a ranker uses it: it leaves about three quarters of the effective samples, and
        gains nothing.

    Refuses:
        Nothing.
    """

    assumes: ClassVar[str] = "nothing; its loss is the price of unequal weights"

    method: Literal["random"] = "random"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Hashed(facts.seed)


class _Hashed(ImportanceModel):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        # 23 bits and the half are the 24 that a float32 holds exactly, so 1 is never reached. The
        # stream is not the one that draws the folds of an ensemble with the same seed.
        return ((bits(outputs.batch.sample_id, ~self.seed) >> 40).float() + 0.5) * 2.0**-23
