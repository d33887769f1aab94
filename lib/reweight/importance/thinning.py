"""Labels that are recorded with a known probability: theta of those that the row deserves.

P(recorded) = theta p, whether theta is the probability that a row was looked at or that its label
has arrived by now.
"""

from torch import Tensor
from torch.nn import functional


def thinned(logits: Tensor, log_kept: Tensor, log_lost: Tensor) -> Tensor:
    """Log odds of theta p: z + log theta - log(1 + (1 - theta) e^z), float32 [B, M].

    Args:
        logits: z, log odds of p, float32 [B, M].
        log_kept: log theta, of a shape that broadcasts.
        log_lost: log(1 - theta), likewise.
    """
    return logits + log_kept - functional.softplus(logits + log_lost)
