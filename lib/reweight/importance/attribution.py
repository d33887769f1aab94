"""Attributes the importance of a row to its features, by integrated gradients.

    A_j = (x_j - b_j) mean over k = 1..n of  ds/dx_j at b + (k - 1/2) / n (x - b)

Sundararajan, Taly & Yan 2017, "Axiomatic Attribution for Deep Networks". The baseline b is 0: the
mean of a scaled number, "none of them" for indicators, no hour or day for a cyclic time. If s is
linear, one step is exact; if s is smooth, the sum over j converges to s(x) - s(b) as n grows. The
rest of the difference (all of it if s is a step function, such as a rank or a threshold) is
reported as the remainder. There is no path between categories, so they are attributed together, and
with them the earlier events that a network reads: as what they add to a row with mean features.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from reweight.importance.batch import Batch

# The parts other than features, in column order.
CATEGORIES, REMAINDER, BASE = "(categories)", "(remainder)", "(base)"
BESIDE = (CATEGORIES, REMAINDER, BASE)

Scores = Callable[[Batch], Mapping[str, Tensor]]


def attributions(scores: Scores, batch: Batch, steps: int) -> dict[str, Tensor]:
    """Splits each row's importance under each method into parts that sum to it, float32 [B, D + 3].

    Args:
        scores: returns the importance of rows by method name, float32 [B]; a row's importance must
            not depend on the other rows.
        batch: the rows.
        steps: n.

    Returns:
        By method name: the contribution of each feature, [B, D], followed by ``BESIDE``: the
        contribution of the categories, the remainder, and the importance of the baseline row.
    """
    x = batch.features
    mean = replace(batch, features=torch.zeros_like(x))
    no_events = batch.sequence and batch.sequence.without_events()
    baseline = replace(mean, ids=torch.zeros_like(batch.ids), sequence=no_events)
    with torch.no_grad():
        whole, without, base = scores(batch), scores(mean), scores(baseline)
    slopes = {name: torch.zeros_like(x) for name in whole}
    for step in range(steps):
        between = (x * ((step + 0.5) / steps)).requires_grad_()
        with torch.enable_grad():
            scores_between = scores(replace(batch, features=between))
        for name, values in scores_between.items():
            # A formula that ignores features has no slope.
            if values.requires_grad:
                (slope,) = torch.autograd.grad(
                    values.sum(), between, retain_graph=True, allow_unused=True
                )
                slopes[name] += 0.0 if slope is None else slope / steps
    return {
        name: _parts(x * slopes[name], whole[name], without[name], base[name]) for name in whole
    }


def _parts(features: Tensor, whole: Tensor, without: Tensor, base: Tensor) -> Tensor:
    # A slope that is not finite (a root at 0) goes into the remainder.
    features = features.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    remainder = whole - without - features.sum(1)
    others = torch.stack([without - base, remainder, base], dim=1)
    return torch.cat([features, others], dim=1)
