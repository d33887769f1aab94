"""`doubly_robust`: inverse propensities up to the clip, and the network's estimate beyond it.

    r = g + (click - theta g) / max(theta, 1 / clip)

with theta and g = gamma(x) of ``position_bias``, from members that did not see the row. Its
expected value is the relevance gamma of the item if theta is right and not clipped, or if g is
right: Oosterhuis 2023, "Doubly Robust Estimation for Correcting Position Bias in Click Feedback for
Unbiased Learning to Rank". Where theta is not clipped, r is click / theta, the inverse propensity;
where it is, what clipping takes away from clicks is given to rows without one.

A ranker learns r as a label with weight 1. If r is above 1, the other label would need the weight
1 - r < 0, which rankers refuse, so the row is a positive with weight r.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.position_bias import PositionMethod, PositionModel


class DoublyRobust(PositionMethod):
    """Importance max(r, 1), with the soft label min(r, 1).

    Helps:
        Where items shown low are not looked at, and inverse propensities alone vary too much.

    Hurts:
        Where there is no position bias, and where both are wrong: propensities that are clipped or
        poorly known, and a network that knows no better. Clicks far down the list get large
        weights, which cost effective samples.

    Refuses:
        Positions that do not count from 1, or a single position; known propensities outside (0, 1];
        features that follow from the position. A class so rare that some member of the ensemble is
        likely to see none of it. ``sampling.negatives``.
    """

    soft: ClassVar[bool] = True
    assumes: ClassVar[str] = "a click requires a look, and its propensity or the network is right"

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
        clipped = theta.clamp(min=1 / self.clip)
        # Equals r above, but is exactly 0 where theta is not clipped and there is no click.
        return gamma * (1 - theta / clipped) + batch.label / clipped
