"""`value_weighted`: a positive weighs what it brought, a negative weighs 1.

Covington, Adams & Sargin 2016, "Deep Neural Networks for YouTube Recommendations": with positives
weighted by watch time the odds that a logistic regression learns are

    sum over positives of v_i / number of negatives = E[v] / (1 - p)

with v = 0 for negatives and p = P(y = 1): the expected value of showing the row, up to the factor
1 / (1 - p), which is near 1 where positives are rare. A scale common to all weights (mean 1) leaves
the odds as they are; to temper, mix or clip weights does not. Values have heavy tails: ``cap`` cuts
them, and the odds are then the expected min(v, cap);
with ``log`` they are the expected log(1 + v), from which no expected value can be had back.

A positive of no known value (null, NaN, infinite) or of a negative one (a refund) weighs 0.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts


class ValueWeighted(ImportanceMethod):
    """Importance of a positive is its value, of a negative 1.

    Attributes:
        cap: largest value; None for no limit.
        log: whether log(1 + v) stands for the value v, after ``cap``.

    Helps:
        Where the ranker is to order by what a row is expected to bring and not by how likely it is
        positive.

    Hurts:
        Calibration: the odds are no longer those of the label. A few rows may hold most of the
        weight: see ``cap``.

    Refuses:
        Nothing: a positive of no known value weighs 0. Where no value is known
        (``sampling.keep.value``) that is all of them, which the ranker refuses.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = (
        "what a positive brought is known, and odds are to say what is expected"
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
