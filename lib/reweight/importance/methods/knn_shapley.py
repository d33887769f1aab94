"""`knn_shapley`: the exact Shapley value of each row for a k-nearest-neighbour classifier.

Jia et al. 2019, "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms". The
utility of a set of rows for a validation row v is how many of its k nearest to v have the label of
v, over k. With the N training rows in the order of their distance to v, and 1_i where row i has the
label of v (their theorem 1):

    s_N = min(k, N) / (k N) 1_N
    s_i = s_{i+1} + (1_i - 1_{i+1}) / k * min(k, i) / i

averaged over the validation rows.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from reweight.importance.valuation import Valuation, ValuationMethod

_AT_ONCE = 64


class KnnShapley(ValuationMethod):
    """Importance is a Shapley value, of any sign.

    Distances are Euclidean over the features and one-hot ids; rows that are as far are in the order
    of their ids.

    Attributes:
        k: neighbours.

    Helps:
        As a reference on small data whose features all mean something, at one scale.

    Hurts:
        It sees distances alone, so features without meaning count as much as those with it. Where
        one class is rare, a row of it has few neighbours to agree with and is worth little for that
        alone.

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite.
    """

    assumes: ClassVar[str] = (
        "rows that are near have the same label, and the validation labels are right"
    )
    instead: ClassVar[str] = "self_confidence"

    method: Literal["knn_shapley"] = "knn_shapley"
    k: int = Field(default=10, ge=1)

    def values(self, rows: Valuation) -> Tensor:
        """The mean over the validation rows of the recursion, float64 [N]."""
        x, v = rows.design()
        self.say(f"{len(v):,} x {len(x):,} distances, no fits")
        total = torch.zeros(len(x), dtype=torch.float64)
        labels = torch.split(rows.validation.label, _AT_ONCE)
        for some, label in zip(torch.split(v, _AT_ONCE), labels, strict=True):
            # Not by a matrix product: its rounding would order rows that are equally far.
            distance = torch.cdist(some, x, compute_mode="donot_use_mm_for_euclid_dist")
            order = distance.argsort(dim=1, stable=True)
            match = (rows.train.label[order] == label[:, None]).double()
            total.index_add_(0, order.flatten(), _shapley(match, self.k).flatten())
        return total / len(v)


def _shapley(match: Tensor, k: int) -> Tensor:
    """1_i in the order of distance -> s_i, float64 [V, N]."""
    n = match.shape[1]
    place = torch.arange(1, n + 1, dtype=torch.float64)
    share = place.clamp(max=k) / (k * place)
    # s_i is the sum of the steps from i on; after the last row comes one that never matches.
    steps = (match - functional.pad(match[:, 1:], (0, 1))) * share
    return steps.flip(1).cumsum(1).flip(1)
