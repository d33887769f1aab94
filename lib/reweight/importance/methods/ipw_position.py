"""`ipw_position`: corrects for items that are not clicked because they were not looked at.

    p(relevant | x, k, no click) = (1 - theta_k) gamma / (1 - theta_k gamma)

with theta and gamma of ``position_bias``. The unbiased loss of a row has negative weights, which
rankers refuse. Instead, the posterior above is a soft label with weight 1 (``em``), or clicks weigh
1 / theta and other rows 1 (``ips``, Joachims et al. 2017, "Unbiased Learning-to-Rank with Biased
Feedback").
"""

from typing import ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.position_bias import PositionMethod, PositionModel
from reweight.importance.training import Training


class IpwPosition(PositionMethod):
    """Importance 1 with the posterior as soft label, or inverse propensities for clicks.

    Attributes:
        estimator: ``em`` or ``ips``.
        snips: whether the importance of ``ips`` is divided by its mean over the training rows.

    Helps:
        Where items shown low are not looked at, so that a negative there says little.

    Hurts:
        Where there is no position bias: the posterior then takes some negatives for possible
        positives. Where the position follows from a feature, relevance and bias cannot be
        separated. ``ips`` loses effective samples to small propensities.

    Refuses:
        Positions that do not count from 1, or a single position; known propensities outside (0, 1];
        features that follow from the position. A class so rare that some member of the ensemble is
        likely to see none of it. ``sampling.negatives``, but for ``ips`` with known propensities.
    """

    assumes: ClassVar[str] = "a click requires a look, which depends on position and not on x"
    cost: ClassVar[str] = "E M F; 0 for ips"

    method: Literal["ipw_position"] = "ipw_position"
    estimator: Literal["em", "ips"] = "em"
    snips: bool = False

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        if self.estimator == "em":
            self.refuse_unused("estimator: em", "snips")
        return self

    @property
    def soft(self) -> bool:  # type: ignore[override]
        """With ``em``: the posterior is the label."""
        return self.estimator == "em"

    @property
    def needs_all_negatives(self) -> bool:  # type: ignore[override]
        """Unless it learns nothing: known propensities say the same of a click in any log."""
        return self.learns() is not None

    def learns(self) -> Training | None:
        """gamma and theta; nothing if known propensities are enough."""
        return self.training if self.soft or self.training.propensity == "estimate" else None

    def importance(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """1, or inverse propensities for clicks, float32 [B]."""
        batch = outputs.batch
        if self.soft:
            return torch.ones_like(batch.label)
        weights = self.inverse(batch.label, model.propensity(batch))
        return weights / model.mean.float() if self.snips else weights

    def label(self, model: PositionModel, outputs: EnsembleOutputs) -> Tensor:
        """p(relevant | x, k, click), float32 [B]."""
        batch = outputs.batch
        if not self.soft:
            return batch.label
        # The odds of relevance times the probability that the position was not looked at.
        unseen = (-model.propensity(batch)).log1p()[:, None]
        hidden = model.over_members(outputs, lambda logits: (logits + unseen).sigmoid())
        return torch.where(batch.label > 0.5, 1.0, hidden)
