"""What the importance of a row is made of: integrated gradients over its features.

    A_j = (x_j - b_j) mean over k = 1..n of  ds/dx_j at b + (k - 1/2) / n (x - b)

Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks". b is 0: the mean of a
scaled number, "none of them" of indicators, no hour or day of a cyclic time. Where s is linear one
step is exact; where it is smooth the sum over j comes to s(x) - s(b) as n grows. What is left of
the difference, all of it for a formula of steps (a rank, a threshold), is told as the remainder.
Categories have no way between them: they count together, as what they add to a row of mean
features.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from reweight.importance.batch import Batch

# The parts beside the features, in their order.
CATEGORIES, REMAINDER, BASE = "(categories)", "(remainder)", "(base)"
BESIDE = (CATEGORIES, REMAINDER, BASE)

Scores = Callable[[Batch], Mapping[str, Tensor]]


def attributions(scores: Scores, batch: Batch, steps: int) -> dict[str, Tensor]:
    """The parts of each row's importance by each method, which sum to it; float32 [B, D + 3].

    Args:
        scores: importance of the rows by method name, float32 [B]; a row's does not depend on the
            other rows.
        batch: the rows.
        steps: n.

    Returns:
        By method name, of each row what its features add, [B, D], and then ``BESIDE``: what its
        categories add, what the sum leaves over, and the importance of a row that has nothing.
    """
    x = batch.features
    mean = replace(batch, features=torch.zeros_like(x))
    nothing = replace(mean, ids=torch.zeros_like(batch.ids))
    with torch.no_grad():
        whole, without, base = scores(batch), scores(mean), scores(nothing)
    slopes = {name: torch.zeros_like(x) for name in whole}
    for step in range(steps):
        between = (x * ((step + 0.5) / steps)).requires_grad_()
        with torch.enable_grad():
            found = scores(replace(batch, features=between))
        for name, values in found.items():
            # A formula that does not look at features has no slope.
            if values.requires_grad:
                (slope,) = torch.autograd.grad(
                    values.sum(), between, retain_graph=True, allow_unused=True
                )
                slopes[name] += 0.0 if slope is None else slope / steps
    return {
        name: _parts(x * slopes[name], whole[name], without[name], base[name]) for name in whole
    }


def _parts(features: Tensor, whole: Tensor, without: Tensor, base: Tensor) -> Tensor:
    # A slope that is not a number (a root at 0) is a part of what is left over.
    features = features.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    remainder = whole - without - features.sum(1)
    beside = torch.stack([without - base, remainder, base], dim=1)
    return torch.cat([features, beside], dim=1)
