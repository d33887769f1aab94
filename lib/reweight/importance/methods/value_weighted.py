"""`value_weighted`: a positive is weighted by its value, a negative by 1.

Covington, Adams & Sargin 2016, "Deep Neural Networks for YouTube Recommendations": with positives
weighted by watch time, the odds that a logistic regression learns are

    sum over positives of v_i / number of negatives = E[v] / (1 - p)

with v = 0 for negatives and p = P(y = 1): the expected value of showing the row, up to the factor
1 / (1 - p), which is near 1 if positives are rare. A scale common to all weights (mean 1) leaves
the odds unchanged; tempering, mixing or clipping weights does not. Values have heavy tails: ``cap``
limits them, and the odds are then the expected min(v, cap); with ``log`` they are the expected
log(1 + v), from which the expected value cannot be recovered.

A positive with an unknown value (null, NaN, infinite) or a negative one (a refund) weighs 0.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts


class ValueWeighted(ImportanceMethod):
    """Importance is the value of a positive, and 1 for a negative.

    Attributes:
        cap: largest value; None for no limit.
        log: whether log(1 + v) replaces the value v, after ``cap``.

    Helps:
        Where the ranker should order rows by expected value rather than by the probability of a
        positive.

    Hurts:
        Calibration: the odds are no longer those of the label. A few rows may hold most of the
        weight: see ``cap``.

    Refuses:
        Nothing: a positive with an unknown value weighs 0. If no value is known
        (``sampling.keep.value``), all positives weigh 0, which the ranker refuses.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = (
        "the value of positives is known, and odds should give the expected value"
    )
    needs: ClassVar[tuple[str, ...]] = ("value",)

    method: Literal["value_weighted"] = "value_weighted"
    cap: float | None = Field(default=None, gt=0)
    log: bool = False

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Valued(self)


class _Valued(ImportanceModel):
    def __init__(self, method: ValueWeighted) -> None:
        super().__init__()
        self.method = method

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        value = outputs.batch.extra["value"].nan_to_num(nan=0.0, posinf=0.0).clamp(min=0)
        if self.method.cap is not None:
            value = value.clamp(max=self.method.cap)
        if self.method.log:
            value = value.log1p()
        return torch.where(outputs.batch.label == 1, value, 1.0)
