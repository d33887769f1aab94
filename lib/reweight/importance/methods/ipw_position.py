"""`ipw_position`: items far down are not clicked because they are not looked at.

    p(relevant | x, k, no click) = (1 - theta_k) gamma / (1 - theta_k gamma)

with theta and gamma of ``examination``. The unbiased loss of a row has negative weights, which
rankers refuse. So the posterior above is a soft label of weight 1 (``em``), or clicks weigh
1 / theta and other rows 1 (``ips``, Joachims et al. 2017, "Unbiased Learning-to-Rank with Biased
Feedback").
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.position_bias import PositionMethod, PositionModel
from reweight.importance.training import Training


class IpwPosition(PositionMethod):
    """Importance 1 with the posterior as soft label, or inverse propensities of clicks.

    Attributes:
        estimator: ``em`` or ``ips``.
        snips: whether importance of ``ips`` is divided by its mean over the training rows.

    Helps:
        Where what is shown low is not looked at, so that a negative there says little.

    Hurts:
        Where there is no position bias: the posterior then says of some negatives that they may be
        positives. Where position follows from a feature, relevance and bias cannot be told apart;
        ``ips`` loses effective samples to small propensities.

    Refuses:
        Positions that do not count from 1 or are one alone; known propensities that are not in (0,
        1]; features that follow from the position. Training rows so few of a class that some member
        of the ensemble is likely to see none.
    """

    assumes: ClassVar[str] = "a click needs a look, which depends on position and not on x"
    cost: ClassVar[str] = "E M F; 0 for ips"

    method: Literal["ipw_position"] = "ipw_position"
    estimator: Literal["em", "ips"] = "em"
    snips: bool = False

    @property
    def soft(self) -> bool:  # type: ignore[override]
        """With ``em``: the posterior is a label."""
        return self.estimator == "em"

    def learns(self) -> Training | None:
        """gamma and theta; nothing where known propensities are all it takes."""
        return self.training if self.soft or self.training.propensity == "estimate" else None

    def importance(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """1, or inverse propensities of clicks."""
        batch = outputs.batch
        if self.soft:
            return torch.ones_like(batch.label)
        own = self.inverse(batch.label, model.propensity(batch))
        return own / model.mean.float() if self.snips else own

    def label(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """p(relevant | x, k, click)."""
        batch = outputs.batch
        if not self.soft:
            return batch.label
        # Odds of relevance, times the probability that it went unseen.
        unseen = (-model.propensity(batch)).log1p()[:, None]
        hidden = model.over_members(outputs, lambda logits: (logits + unseen).sigmoid())
        return torch.where(batch.label > 0.5, 1.0, hidden)
