"""`product`: the product of the importance that other methods of the run give a row.

Weights against different faults of a log (which rows count, which labels are right, which segments
are rare) multiply, and a single weight policy is applied to the product: a policy per part would
scale and clip what the others still change. Since every part adds spread, the product has a wider
spread, and fewer effective samples, than any of its parts.

    importance_i = prod_m importance_i(m)     over the parts m

In the same way, Robins, Hernan & Brumback 2000, "Marginal Structural Models and Causal Inference in
Epidemiology", multiply weights against two faults.

Only importance that is high for valuable rows and never negative can be multiplied. Soft labels
cannot, and without them most soft methods give every row 1.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from reweight.core.errors import ConfigError
from reweight.core.section import Name
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts


class Product(ImportanceMethod):
    """Importance is the product of that of the parts; nothing else is trained or read.

    Attributes:
        of: names of other methods of the run.

    Helps:
        Where a log has two faults, each with a method of its own.

    Hurts:
        Where two parts correct the same fault: it is corrected twice. The spread of the product is
        wider than that of any part, so fewer effective samples are left.

    Refuses:
        Parts that are not in the run, are named twice, are products themselves, have importance
        below 0, return soft labels, or are high for rows that are not valuable.
    """

    assumes: ClassVar[str] = "each part is right about a different fault of the log"
    cost: ClassVar[str] = "0, apart from its parts"

    method: Literal["product"] = "product"
    of: tuple[Name, ...] = Field(min_length=2)

    @field_validator("of")
    @classmethod
    def _without_repeats(cls, of: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := sorted({name for name in of if of.count(name) > 1}):
            raise ValueError(f"expected each part once; got {repeated} more than once")
        return of

    def combines(self) -> tuple[str, ...]:
        """The parts."""
        return self.of

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A model without parameters."""
        return _Multiplied(self)


class _Multiplied(ImportanceModel):
    def __init__(self, method: Product) -> None:
        super().__init__()
        self.method = method

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        scores = outputs.scores
        if missing := [name for name in self.method.of if name not in scores]:
            raise ConfigError(
                f"'{self.method.name}' multiplies methods that are not scored with it",
                expected=f"scores from {list(self.method.of)}",
                got=f"none from {missing}",
                fix="score all of them together: a product holds no models of its parts",
            )
        return torch.stack([scores[name] for name in self.method.of]).prod(0)
