"""M networks trained together in one pass, and which of them see which row.

Parameters are stacked, so one product computes a layer of all members. How often member m sees row
i is a hash of (``sample_id``, m): nothing is stored, every rank and the scorer compute the same
value, and a row is scored by the members that did not see it. This makes cross-fitting (folds) and
out-of-bag scores (half samples, bootstrap) one and the same.
"""

import math
from collections.abc import Hashable
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.core.section import Widths
from reweight.importance.batch import Batch
from reweight.importance.embedding_tables import EmbeddingTables, places_of_ids
from reweight.importance.encoding import Encoding
from reweight.importance.ensemble_size import check_size
from reweight.importance.membership import POISSON, Membership, bits, mixed, stream
from reweight.importance.sequence_networks import Network, sequence_network
from reweight.importance.training import Learner, TrainFacts, Training


class EnsembleTraining(Training):
    """Members of the same shape, trained on the cross-entropy of the given labels.

    The defaults are for finding wrong labels: many small networks on half samples, and features
    binned at their quantiles (piecewise-linear encoding, Gorishniy et al. 2022).

    Attributes:
        members: number of members, M.
        membership: which members see a row: ``all``; ``folds``, all but one; ``half``, each with
            probability 1/2; ``poisson``, each Poisson(1) times, a streaming bootstrap.
        hidden: widths of the hidden layers; empty for linear members.
        embedding: width of the embedding of each categorical id.
        bins: quantile bins per feature in the encoding; 0 leaves features as they are.
        network: ``mlp`` reads features and ids; ``cnn`` and ``gru`` also read the order of the
            earlier events (``features.sequence``), by convolutions or a gated recurrent unit.
        sequence_width: channels of the ``cnn``, or width of the state of the ``gru``.
    """

    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.003, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    members: int = Field(default=16, ge=1)
    membership: Membership = "half"
    hidden: Widths = (64,)
    embedding: int = Field(default=8, ge=1)
    bins: int = Field(default=3, ge=0)
    network: Network = "mlp"
    sequence_width: int = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _enough(self) -> "EnsembleTraining":
        if self.membership != "all" and self.members < 2:
            raise ValueError(
                f"members: expected at least 2 with membership {self.membership}, so that every "
                f"row can be scored by a member that did not see it; got {self.members}"
            )
        return self

    @property
    def quantile_bins(self) -> int:
        """Same as ``bins``."""
        return self.bins

    @property
    def reads_sequence(self) -> bool:
        """Unless ``network`` is ``mlp``."""
        return self.network != "mlp"

    def check(self, facts: TrainFacts) -> None:
        """Checks that every member can be expected to see both classes.

        Raises:
            TrainingError: a class is so rare that some member is likely to see none of it.
        """
        rare = min(facts.positives, facts.rows - facts.positives)
        # The share of rows that a member does not see: 1/K, 1/2, or P(N = 0) of a Poisson.
        share = {"all": 0.0, "folds": 1 / self.members, "half": 0.5, "poisson": math.exp(-1)}
        without = self.members * share[self.membership] ** rare
        if without >= 0.5:
            raise TrainingError(
                "some members of the ensemble would see only one class",
                expected="enough rows of both classes for every member to see some of each",
                got=f"{rare} of {facts.rows} training rows in the rarer class: {without:.1f} of "
                f"{self.members} members (membership {self.membership}) would see none",
                fix="use more rows, or fewer members",
            )

    def check_size(self, facts: TrainFacts) -> None:
        """Checks that the members are not too large, and have what their network reads."""
        encoding = Encoding(facts, self.bins) if self.bins else None
        shape = (self.members, self.hidden, self.embedding, encoding)
        check_size(facts, *shape, self.network, self.sequence_width)

    def build(self, facts: TrainFacts) -> Learner:
        """Untrained members."""
        return EnsembleLearner(self, facts)


class FoldsTraining(EnsembleTraining):
    """Members that each see all folds but one; the one that did not see a row scores it."""

    members: int = Field(default=5, ge=2)
    membership: Literal["folds"] = "folds"


class Ensemble(nn.Module):
    """M members of the same shape, from dense features and embedded ids to one logit.

    Args:
        facts: the input sizes, and the seed.
        members: M.
        membership: which members see which row.
        hidden: widths of the hidden layers.
        embedding: width of the embedding of each id field.
        bins: of the piecewise-linear encoding; 0 for none.
        network: what the members read besides features and ids.
        sequence_width: width of the layers that read sequences.

    Raises:
        TrainingError: as `check_size`.
    """

    def __init__(
        self,
        facts: TrainFacts,
        *,
        members: int,
        membership: Membership,
        hidden: tuple[int, ...],
        embedding: int,
        bins: int = 0,
        network: Network = "mlp",
        sequence_width: int = 32,
    ) -> None:
        super().__init__()
        self.members, self.membership, self.seed = members, membership, facts.seed
        self.encoding = Encoding(facts, bins) if bins else None
        shape = (members, hidden, embedding, self.encoding)
        sizes = check_size(facts, *shape, network, sequence_width)
        generator = torch.Generator().manual_seed(facts.seed)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            # As nn.Linear does: U(-1/sqrt(in), 1/sqrt(in)) for weights and biases.
            bound = 1 / math.sqrt(n_in)
            weight = torch.rand((members, n_in, n_out), generator=generator)
            bias = torch.rand((members, 1, n_out), generator=generator)
            self.weights.append(nn.Parameter((2 * weight - 1) * bound))
            self.biases.append(nn.Parameter((2 * bias - 1) * bound))
        sizes, read = facts.cardinalities, None if network == "mlp" else facts.sequence
        places = places_of_ids(len(sizes), read)
        self.tables = EmbeddingTables.drawn(sizes, places, (members, embedding), generator)
        self.sequence = sequence_network(
            network, facts.sequence, members, embedding, sequence_width, generator
        )

    def forward(self, batch: Batch) -> Tensor:
        """The logits of all members, float32 [B, M]."""
        return self._outputs(self._dense(batch), self._embedded(batch))[-1].squeeze(-1).T

    def _dense(self, batch: Batch) -> Tensor:
        """The features as the members see them, float32 [B, components]."""
        encoded: Tensor = self.encoding(batch.features) if self.encoding else batch.features
        return encoded

    def _embedded(self, batch: Batch) -> list[Tensor]:
        """The embedding of each id field, and what is read of a sequence, float32 [M, B, width]."""
        embedded = [table[:, batch.ids[:, f]] for f, table in enumerate(self.tables)]
        if self.sequence is not None:
            assert batch.sequence is not None
            embedded.append(self.sequence(batch.sequence, list(self.tables)))
        return embedded

    def _outputs(self, dense: Tensor, embedded: list[Tensor]) -> list[Tensor]:
        """The output of each layer, float32 [M, B, width]: activations after ReLU, then logits."""
        # All members read the same features: one product instead of M, and in training no gradient
        # with respect to them.
        own, scoring = dense.shape[1], not torch.is_grad_enabled()
        # A gradient would cost more after an operation in place, which copies what it needs.
        add, relu = (Tensor.baddbmm_, Tensor.relu_) if scoring else (Tensor.baddbmm, Tensor.relu)
        weight = self.weights[0][:, :own].permute(1, 0, 2).flatten(1)
        flat = torch.addmm(self.biases[0].flatten(), dense, weight)
        first = flat.view(-1, self.members, self.weights[0].shape[2]).transpose(0, 1)
        if embedded:
            first = add(first, torch.cat(embedded, dim=-1), self.weights[0][:, own:])
        outputs = [first]
        for layer in range(1, len(self.weights)):
            outputs[-1] = x = relu(outputs[-1])
            outputs.append(torch.baddbmm(self.biases[layer], x, self.weights[layer]))
        return outputs

    def multiplicity(self, sample_id: Tensor) -> Tensor:
        """How often each member sees each row in an epoch, float32 [B, M]."""
        if self.membership == "all":
            return torch.ones((sample_id.shape[0], self.members), device=sample_id.device)
        if self.membership == "folds":
            fold = bits(sample_id, self.seed) % self.members
            return 1 - functional.one_hot(fold, self.members).float()
        if self.membership == "half":
            return self._coins(sample_id).float()
        drawn = self._numbers(sample_id)
        return POISSON.to(drawn.device).index_select(0, drawn.flatten()).view(drawn.shape)

    @property
    def mean_multiplicity(self) -> float:
        """Expected number of times that a member sees a row in an epoch."""
        folds = (self.members - 1) / self.members
        return {"all": 1.0, "folds": folds, "half": 0.5, "poisson": 1.0}[self.membership]

    def _coins(self, sample_id: Tensor) -> Tensor:
        """One random bit per row and member, int64 [B, M]; a hash yields 48 of them."""
        shifts = torch.arange(48, device=sample_id.device)
        coins = (self._hashes(sample_id, 48)[:, :, None] >> shifts) & 1
        return coins.flatten(1)[:, : self.members]

    def _numbers(self, sample_id: Tensor) -> Tensor:
        """16 random bits per row and member, int32 [B, M]; a hash yields three times 16."""
        hashes = self._hashes(sample_id, 3)
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]  # a recorded program cannot read memory as another type
            shifted = hashes[:, :, None] >> torch.tensor([0, 16, 32])
            return (shifted & 0xFFFF).flatten(1)[:, : self.members]
        # Read from memory, low bits first: shifts would cost more than the hash.
        parts = hashes.view(torch.int16).view(*hashes.shape, 4)[:, :, :3]
        return parts.flatten(1)[:, : self.members].int().bitwise_and_(0xFFFF)

    def _hashes(self, sample_id: Tensor, block: int) -> Tensor:
        """One hash of each row per block of members, int64 [B, ceil(M / block)]."""
        blocks = range(-(-self.members // block))
        streams = torch.tensor([stream(number) for number in blocks], device=sample_id.device)
        return mixed(bits(sample_id, self.seed)[:, None] + streams)

    def gradient_norms(self, batch: Batch, target: Tensor) -> Tensor:
        """Norm of the gradient of each row's cross-entropy under each member, float32 [B, M].

        In closed form: a layer with input a and output error delta has the weight gradient
        a delta^T, whose squared norm is |delta|^2 |a|^2, and the bias gradient delta; the looked-up
        row of an embedding table has the error at its slice of the input as gradient. Not for
        members that read sequences.

        Args:
            batch: the rows.
            target: 0 or 1, float32 [B].
        """
        dense, embedded = self._dense(batch), self._embedded(batch)
        outputs = self._outputs(dense, embedded)
        delta = outputs[-1].sigmoid() - target[:, None]
        squares = torch.zeros_like(delta[..., 0])
        for weight, output in zip(reversed(self.weights[1:]), reversed(outputs[:-1]), strict=True):
            squares += _square(delta) * (_square(output) + 1)
            # With one logit this is an outer product, which broadcasting computes faster.
            error = delta * weight.mT if weight.shape[2] == 1 else delta @ weight.mT
            # In place only where no gradient reads the activations afterwards.
            delta = output.sign() * error if torch.is_grad_enabled() else output.sign_().mul_(error)
        # Members share the dense part of the input, and so its norm.
        inputs = sum(map(_square, embedded), _square(dense))
        squares += _square(delta) * (inputs + 1)
        if embedded:
            squares += _square(delta @ self.weights[0][:, dense.shape[1] :].mT)
        return squares.sqrt().T


class EnsembleLearner(Learner):
    """An ensemble on the cross-entropy of the given labels, each member on the rows it sees."""

    def __init__(self, training: EnsembleTraining, facts: TrainFacts) -> None:
        super().__init__()
        self.ensemble = Ensemble(
            facts,
            members=training.members,
            membership=training.membership,
            hidden=training.hidden,
            embedding=training.embedding,
            bins=training.bins,
            network=training.network,
            sequence_width=training.sequence_width,
        )
        self.members = training.members

    def logits(self, batch: Batch) -> Tensor:
        """Log odds, float32 [B, M]."""
        logits: Tensor = self.ensemble(batch)
        return logits

    def multiplicity(self, sample_id: Tensor) -> Tensor:
        """Same as the ensemble's."""
        return self.ensemble.multiplicity(sample_id)

    @property
    def draw(self) -> Hashable:
        """Membership is a hash of these and the row."""
        return self.ensemble.membership, self.ensemble.members, self.ensemble.seed

    def target(self, batch: Batch) -> Tensor:
        """The learning target of each row, 0 or 1, float32 [B]."""
        return batch.label

    def recorded(self, logits: Tensor, batch: Batch) -> Tensor:
        """Log odds of the learning target, from the logits of the members, float32 [B, M]."""
        return logits

    def errors(self, logits: Tensor, target: Tensor, count: float) -> Tensor:
        """The loss of each row under each member, float32 [B, M].

        Args:
            logits: float32 [B, M].
            target: 0 or 1, float32 [B, M].
            count: expected number of rows of the global batch that a member sees.
        """
        return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """The mean loss of each member over the rows, summed over members."""
        logits = self.recorded(self.logits(batch), batch)
        target = self.target(batch)[:, None].expand_as(logits)
        seen = self.ensemble.multiplicity(batch.sample_id)
        # The expected number of rows of a member, not the actual one: the loss is then a plain sum
        # over rows, the same however they are dealt to ranks.
        count = rows * self.ensemble.mean_multiplicity
        share: Tensor = (seen * self.errors(logits, target, count)).sum() / count
        return share, self._out_of_bag(logits.detach(), target, seen, rows)

    def _out_of_bag(self, logits: Tensor, target: Tensor, seen: Tensor, rows: int) -> Tensor:
        """Log loss of the mean probability over the members that do not see a row.

        A row that all members see counts as 0. These are the same rows in every epoch, so epochs
        are comparable.
        """
        if self.ensemble.membership == "all":
            return logits.new_full((), math.nan)
        out = (seen == 0).float()
        count = out.sum(1)
        p = (logits.sigmoid() * out).sum(1) / count.clamp(min=1)
        given = torch.where(target[:, 0] > 0.5, p, 1 - p)
        losses = -given.clamp(min=1e-7).log()
        return (losses * (count > 0)).sum() / rows


def _square(values: Tensor) -> Tensor:
    """Squared norm over the last axis."""
    norm: Tensor = torch.linalg.vector_norm(values, dim=-1)
    return norm.square()
