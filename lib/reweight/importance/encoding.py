"""Piecewise-linear encoding of features on quantile bins."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from reweight.core.errors import TrainingError
from reweight.importance.training import TrainFacts


class Encoding(nn.Module):
    """Piecewise-linear encoding: how far x has moved through each of its quantile bins.

    Component j of a feature with edges q_0 < ... < q_B is clip((x - q_j) / (q_{j+1} - q_j), 0, 1),
    open at the two outer ends, and then rescaled to (-1.25, 1.25). A feature with two values (an
    indicator) has no bins and is left as it is.

    Args:
        facts: of the training rows, with ``quantiles``.
        bins: B.

    Raises:
        TrainingError: the facts lack the quantiles.
    """

    column: Tensor
    low: Tensor
    span: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, facts: TrainFacts, bins: int) -> None:
        super().__init__()
        if len(facts.quantiles) != facts.dim or any(len(q) != bins + 1 for q in facts.quantiles):
            raise TrainingError(
                "the piecewise-linear encoding has no quantiles for its bins",
                expected=f"{bins + 1} quantiles for each of {facts.dim} features",
                got=f"{sorted({len(q) for q in facts.quantiles})} for {len(facts.quantiles)} "
                "features",
                fix="compute them from the training rows, or set bins to 0",
            )
        columns, edges = [], []
        for feature, quantiles in enumerate(facts.quantiles):
            cuts = sorted(set(quantiles))
            # Fewer than three values: an indicator, or nearly constant.
            pairs = list(pairwise(cuts)) if len(cuts) > 2 else [(0.0, 0.0)]
            columns += [feature] * len(pairs)
            ends = len(pairs) - 1
            edges += [(q, after - q, n > 0, n < ends) for n, (q, after) in enumerate(pairs)]
        values = torch.tensor(edges, dtype=torch.float32).reshape(-1, 4)
        self.register_buffer("column", torch.tensor(columns), persistent=False)
        self.register_buffer("low", values[:, 0], persistent=False)
        self.register_buffer("span", values[:, 1], persistent=False)
        # The outer ends are open: values beyond the training range stay distinct.
        least = torch.where(values[:, 2] > 0, 0.0, -_FAR)
        most = torch.where(values[:, 3] > 0, 1.0, _FAR)
        self.register_buffer("least", least, persistent=False)
        self.register_buffer("most", most, persistent=False)
        self.width = len(columns)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [B, D] -> float32 [B, components]."""
        x = features.index_select(1, self.column)
        binned = self.span > 0
        part = (x - self.low) / torch.where(binned, self.span, 1.0)
        part = torch.maximum(torch.minimum(part, self.most), self.least)
        return torch.where(binned, (part - 0.5) * 2.5, x)


# Limit of the open ends, in bins: values further out are treated alike.
_FAR = 4.0
