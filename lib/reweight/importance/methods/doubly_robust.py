"""`doubly_robust`: inverse propensities where they are small, and the network's word beyond.

    r = g + (click - theta g) / max(theta, 1 / clip)

with theta and g = gamma(x) of ``examination``, by members that did not see the row. Its expected
value is the relevance gamma of the item if theta is right and not clipped, or if g is right:
Oosterhuis 2023, "Doubly Robust Estimation for Correcting Position Bias in Click Feedback for
Unbiased Learning to Rank". Where theta is not clipped it is click / theta, the inverse propensity;
where it is, what clipping takes away from clicks is given to rows without one.

A ranker is to learn r as the label of weight 1. Above 1, where the other label would weigh 1 - r,
below 0, which rankers refuse, the row is a positive of weight r.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.position_bias import PositionMethod, PositionModel


class DoublyRobust(PositionMethod):
    """Importance max(r, 1), and min(r, 1) as soft label.

    Helps:
        Where what is shown low is not looked at, and inverse propensities alone vary too much.

    Hurts:
        Where there is no position bias, and where both are wrong: propensities that are clipped or
        badly known, and a network that knows no better. Clicks far down get large weights, which
        cost effective samples.

    Refuses:
        Positions that do not count from 1 or are one alone; known propensities that are not in (0,
        1]; features that follow from the position. Training rows so few of a class that some member
        of the ensemble is likely to see none.
    """

    soft: ClassVar[bool] = True
    assumes: ClassVar[str] = "a click needs a look; its propensity or the network is right"

    method: Literal["doubly_robust"] = "doubly_robust"

    def importance(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """max(r, 1)."""
        return self._estimate(model, outputs).clamp(min=1)

    def label(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """min(r, 1)."""
        return self._estimate(model, outputs).clamp(max=1)

    def _estimate(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """r, float32 [B], 0 or more."""
        batch = outputs.batch
        theta = model.propensity(batch)
        gamma = model.over_members(outputs, Tensor.sigmoid)
        held = theta.clamp(min=1 / self.clip)
        # As r is above, but exactly 0 where theta is not clipped and there is no click.
        return gamma * (1 - theta / held) + batch.label / held
