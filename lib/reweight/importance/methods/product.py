"""`product`: the product of what other methods of the run give a row.

Weights against different faults of a log (which rows count, which labels are right, which segments
are rare) multiply, and one weight policy is applied to the product: each policy of its own would
scale and clip what the others still change. As the parts have their own spread, that of the product
is wider, and effective samples are fewer than under any of them.

    importance_i = prod_m importance_i(m)     over the parts m

So Robins, Hernan & Brumback 2000, "Marginal Structural Models and Causal Inference in
Epidemiology", multiply weights against two faults.

Only what is high for valuable rows and never below 0 can be multiplied. Labels that a method says
cannot, and without them most such methods give every row 1.
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
    """Importance is that of the parts, multiplied; trained and read are the parts alone.

    Attributes:
        of: names of other methods of the run.

    Helps:
        Where a log has two faults, each with a method of its own.

    Hurts:
        Where parts mend the same fault: it is mended twice. The spread of the product is wider than
        that of any part, so that fewer effective samples are left.

    Refuses:
        Parts that are not in the run, that are named twice, that are products themselves, that have
        importance below 0, that say labels, or that are high for other than valuable rows.
    """

    assumes: ClassVar[str] = "each part is right about another fault of the log"
    cost: ClassVar[str] = "0 beside its parts"

    method: Literal["product"] = "product"
    of: tuple[Name, ...] = Field(min_length=2)

    @field_validator("of")
    @classmethod
    def _differ(cls, of: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in of if of.count(name) > 1}):
            raise ValueError(f"expected each part once; got {twice} more than once")
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
                f"'{self.method.name}' multiplies methods that are not scored beside it",
                expected=f"scores by {list(self.method.of)}",
                got=f"none by {missing}",
                fix="score all of them together: a product holds no model of its parts",
            )
        return torch.stack([scores[name] for name in self.method.of]).prod(0)
