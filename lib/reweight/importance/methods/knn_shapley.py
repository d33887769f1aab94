"""`knn_shapley`: the exact Shapley value of each row for a k-nearest-neighbour classifier.

Jia et al. 2019, "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms". The
utility of a set of rows for a validation row v is how many of its k rows nearest to v have the
label of v, over k. With the N training rows in order of distance to v, and 1_i = 1 if row i has the
label of v, else 0 (their theorem 1):

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

_ROWS_AT_ONCE = 64


class KnnShapley(ValuationMethod):
    """Importance is a Shapley value, of either sign.

    Distances are Euclidean over features and one-hot ids; rows at equal distance are ordered by id.

    Attributes:
        k: number of neighbours.

    Helps:
        As a reference on small data whose features are all informative and on the same scale.

    Hurts:
        It sees only distances, so uninformative features count as much as informative ones. Where
        one class is rare, its rows have few neighbours to agree with, and are worth little for that
        reason alone.

    Refuses:
        More than ``max_rows`` training rows, a log without validation rows, and values that are not
        finite.
    """

    assumes: ClassVar[str] = (
        "nearby rows have the same label, and the validation labels are correct"
    )
    instead: ClassVar[str] = "self_confidence"

    method: Literal["knn_shapley"] = "knn_shapley"
    k: int = Field(default=10, ge=1)

    def values(self, rows: Valuation) -> Tensor:
        """The mean of the recursion over the validation rows, float64 [N]."""
        x, v = rows.design()
        self.say(f"{len(v):,} x {len(x):,} distances, no fits")
        total = torch.zeros(len(x), dtype=torch.float64)
        labels = torch.split(rows.validation.label, _ROWS_AT_ONCE)
        for points, label in zip(torch.split(v, _ROWS_AT_ONCE), labels, strict=True):
            # Not by a matrix product: its rounding would order rows at equal distance.
            distance = torch.cdist(points, x, compute_mode="donot_use_mm_for_euclid_dist")
            order = distance.argsort(dim=1, stable=True)
            match = (rows.train.label[order] == label[:, None]).double()
            total.index_add_(0, order.flatten(), _shapley(match, self.k).flatten())
        return total / len(v)


def _shapley(match: Tensor, k: int) -> Tensor:
    """1_i in order of distance -> s_i, float64 [V, N]."""
    n = match.shape[1]
    rank = torch.arange(1, n + 1, dtype=torch.float64)
    share = rank.clamp(max=k) / (k * rank)
    # s_i is the sum of the steps from i on; the last row is followed by one that never matches.
    steps = (match - functional.pad(match[:, 1:], (0, 1))) * share
    return steps.flip(1).cumsum(1).flip(1)
