"""A single network on the given labels: the base of trainings that need no ensemble."""

from abc import ABC
from collections.abc import Mapping

from pydantic import Field
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from reweight.core.section import Widths
from reweight.importance.batch import Batch
from reweight.importance.encoding import Encoding
from reweight.importance.ensemble import Ensemble
from reweight.importance.ensemble_size import check_size
from reweight.importance.training import Learner, TrainFacts, Training

Parameters = Mapping[str, Tensor]


class NetworkTraining(Training, ABC):
    """The network f.

    Attributes:
        hidden: widths of f's hidden layers.
        embedding: width of the embedding of each categorical id.
        bins: quantile bins per feature in the encoding; 0 leaves features as they are.
    """

    epochs: int = Field(default=20, ge=1)
    learning_rate: float = Field(default=0.001, gt=0)
    hidden: Widths = (64,)
    embedding: int = Field(default=8, ge=1)
    bins: int = Field(default=0, ge=0)

    @property
    def quantile_bins(self) -> int:
        """Same as ``bins``."""
        return self.bins

    def check_size(self, facts: TrainFacts) -> None:
        """Checks that f is not too large."""
        encoding = Encoding(facts, self.bins) if self.bins else None
        check_size(facts, 1, self.hidden, self.embedding, encoding)


class NetworkLearner(Learner, ABC):
    """f in training; a subclass defines the loss."""

    def __init__(self, training: NetworkTraining, facts: TrainFacts) -> None:
        super().__init__()
        self.network = Ensemble(
            facts,
            members=1,
            membership="all",
            hidden=training.hidden,
            embedding=training.embedding,
            bins=training.bins,
        )

    def logits(self, batch: Batch) -> Tensor:
        """Log odds, float32 [B, 1]."""
        logits: Tensor = self.network(batch)
        return logits

    def multiplicity(self, sample_id: Tensor) -> Tensor:
        """The single network sees every row once."""
        return self.network.multiplicity(sample_id)

    def losses(self, batch: Batch, parameters: Parameters | None = None) -> Tensor:
        """Cross-entropy of the given label of each row, float32 [B].

        Args:
            batch: the rows.
            parameters: used instead of f's own.
        """
        if parameters is None:
            logits = self.network(batch)[:, 0]
        else:
            logits = functional_call(self.network, dict(parameters), (batch,))[:, 0]
        return functional.softplus((1 - 2 * batch.label) * logits)
