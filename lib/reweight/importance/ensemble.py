"""M networks trained together in one pass, and which of them see which row.

Parameters are stacked, so a layer of all members is one batched product. A row's fold is a hash of
its id: nothing is stored, every rank and the scorer compute the same, and a row is scored by the
member that did not see it.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from reweight.batch import Batch
from reweight.importance.base import TrainFacts


class Ensemble(nn.Module):
    """M members of the same shape; dense features and embedded ids in, one logit out.

    Args:
        facts: sizes of the input, and the seed.
        hidden: widths of the hidden layers.
        embedding: width of the embedding of each id field.
        folds: K of cross-fitting; 0 for one member that sees every row.
    """

    def __init__(
        self, facts: TrainFacts, hidden: tuple[int, ...], embedding: int, folds: int
    ) -> None:
        super().__init__()
        self.members, self.folds, self.seed = max(1, folds), folds, facts.seed
        generator = torch.Generator().manual_seed(facts.seed)
        sizes = (facts.dim + embedding * len(facts.cardinalities), *hidden, 1)
        self.weights, self.biases, self.tables = (nn.ParameterList() for _ in range(3))
        for n_in, n_out in pairwise(sizes):
            # The range of nn.Linear: U(-1/sqrt(in), 1/sqrt(in)) for weights and biases.
            bound = 1 / math.sqrt(n_in)
            weight = torch.rand((self.members, n_in, n_out), generator=generator)
            bias = torch.rand((self.members, 1, n_out), generator=generator)
            self.weights.append(nn.Parameter((2 * weight - 1) * bound))
            self.biases.append(nn.Parameter((2 * bias - 1) * bound))
        for size in facts.cardinalities:
            table = torch.randn((self.members, size, embedding), generator=generator)
            self.tables.append(nn.Parameter(table / math.sqrt(max(1, embedding))))

    def forward(self, batch: Batch) -> Tensor:
        """The logits of all members, float32 [B, M]."""
        x = batch.features.expand(self.members, -1, -1)
        if len(self.tables):
            embedded = [table[:, batch.ids[:, f]] for f, table in enumerate(self.tables)]
            x = torch.cat([x, *embedded], dim=-1)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x.relu() if layer else x, weight)
        return x.squeeze(-1).T

    def multiplicity(self, sample_id: Tensor) -> Tensor:
        """How often each member sees each row in an epoch, float32 [B, M]."""
        if not self.folds:
            return torch.ones((len(sample_id), 1), device=sample_id.device)
        return 1 - self.unseen(sample_id)

    def unseen(self, sample_id: Tensor) -> Tensor:
        """The share of each member in the score of each row, float32 [B, M]; rows sum to 1."""
        if not self.folds:
            return torch.ones((len(sample_id), 1), device=sample_id.device)
        fold = bits(sample_id, self.seed) % self.folds
        return nn.functional.one_hot(fold, self.folds).float()

    @property
    def mean_multiplicity(self) -> float:
        """Expected multiplicity of a row in a member."""
        return (self.folds - 1) / self.folds if self.folds else 1.0


def bits(sample_id: Tensor, seed: int) -> Tensor:
    """63 random bits per id: the finaliser of SplitMix64 (Steele et al. 2014), int64 [B].

    Integer arithmetic that wraps: equal on every device and for every batching.
    """
    z = sample_id + _signed(0x9E3779B97F4A7C15 * (seed + 1))
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return _shifted(z ^ _shifted(z, 31), 1)


def _shifted(z: Tensor, n: int) -> Tensor:
    """Logical shift to the right; torch's own copies the sign."""
    return (z >> n) & ((1 << (64 - n)) - 1)


def _signed(constant: int) -> int:
    constant &= 2**64 - 1
    return constant - 2**64 if constant >= 2**63 else constant
