"""Random numbers that are hashes of ``sample_id``, from which membership is drawn."""

import math
from typing import Literal

import torch
from torch import Tensor

Membership = Literal["all", "folds", "half", "poisson"]


def _poisson() -> Tensor:
    """Poisson(1) as a function of 16 uniform bits: P(N <= n) = sum_k<=n 1 / (e k!)."""
    terms = [math.exp(-1) / math.factorial(k) for k in range(9)]
    cdf = torch.tensor(terms, dtype=torch.float64).cumsum(0)
    u = (torch.arange(1 << 16, dtype=torch.float64) + 0.5) / (1 << 16)
    return torch.searchsorted(cdf, u).float()


POISSON = _poisson()


def bits(sample_id: Tensor, seed: int) -> Tensor:
    """63 random bits per id, by the finaliser of SplitMix64 (Steele et al. 2014), int64 [B].

    Integer arithmetic that wraps around: the same on every device and for every batching.
    """
    return mixed(sample_id + stream(seed))


def stream(seed: int) -> int:
    """The offset that a seed adds to the ids before they are mixed."""
    return _signed(0x9E3779B97F4A7C15 * (seed + 1))


def mixed(z: Tensor) -> Tensor:
    """Applies the finaliser of SplitMix64, int64; in place, since z is large."""
    z ^= _shifted(z, 30)
    z *= _signed(0xBF58476D1CE4E5B9)
    z ^= _shifted(z, 27)
    z *= _signed(0x94D049BB133111EB)
    z ^= _shifted(z, 31)
    return _shifted(z, 1)


def _shifted(z: Tensor, n: int) -> Tensor:
    """Logical right shift; torch's own shift copies the sign."""
    return (z >> n).bitwise_and_((1 << (64 - n)) - 1)


def _signed(constant: int) -> int:
    constant &= 2**64 - 1
    return constant - 2**64 if constant >= 2**63 else constant
