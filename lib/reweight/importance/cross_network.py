"""The network of the ranker `deep`: embedded ids and dense features, cross layers and an MLP.

    x_0     = [features, embedding of each id]
    x_{l+1} = x_0 * (W_l x_l + b_l) + x_l            (* by element)
    z       = a^T [x_L, MLP(x_0)] + c

These are the cross layers of DCN-V2 beside the MLP (its parallel form), Wang et al. 2021. Without
cross layers x_L is x_0, so that z holds a linear model in every case.

    loss = (1/N) sum_i w_i l(z_i, y_i)

over the training rows, with weights of mean 1 and l the cross-entropy; y_i is a soft label where
the weights come with one. So a factor in all weights changes nothing, a row of weight 0 counts
as if it were not there, and a row of weight 2 as if it were there twice.
"""

import math
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.deep_settings import DeepSettings, label_column, weight_column
from reweight.importance.embedding_tables import EmbeddingTables, places_of_ids
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.ensemble_size import MAX_PARAMETERS
from reweight.importance.training import Checkpoints, Learner, TrainFacts, Training


class CrossTraining(DeepSettings, Training):
    """The training of a `CrossNetwork` on a column of weights.

    Attributes:
        weight: name of the column of weights, which have mean 1 over the training rows.
        soft_label: name of the column of labels in [0, 1] that replace those of the rows, if any.
    """

    weight: str
    soft_label: str | None = None

    @property
    def stops_early(self) -> int:
        """Same as ``patience``."""
        return self.patience

    def check_size(self, facts: TrainFacts) -> None:
        """Checks that the network is not too large.

        Raises:
            TrainingError: more parameters than can be held in memory and sent to executors.
        """
        width = facts.dim + self.embedding * len(facts.cardinalities)
        layers = sum((n_in + 1) * n_out for n_in, n_out in pairwise((width, *self.hidden)))
        crosses = self.cross * (width + 1) * width
        size = layers + crosses + self.embedding * sum(facts.cardinalities)
        if size > MAX_PARAMETERS:
            raise TrainingError(
                "the network of the ranker 'deep' is too large to hold in memory",
                expected=f"at most {MAX_PARAMETERS / 2**20:.0f}M parameters "
                f"({MAX_PARAMETERS * 4 / 2**30:.0f} GiB)",
                got=f"{size / 2**20:.0f}M: {width} inputs and {sum(facts.cardinalities)} ids",
                fix="lower embedding, cross or hidden, or the buckets of categorical features",
            )

    def build(self, facts: TrainFacts) -> Learner:
        """An untrained network; the same for all columns of weights."""
        return CrossLearner(self, facts)


class CrossNetwork(nn.Module):
    """From dense features and embedded ids to one logit.

    Args:
        facts: the input sizes, and the seed.
        settings: the shape.
    """

    def __init__(self, facts: TrainFacts, settings: DeepSettings) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(facts.seed)
        width = facts.dim + settings.embedding * len(facts.cardinalities)
        scale = 1 / math.sqrt(settings.embedding)
        tables = [
            scale * torch.randn((size, settings.embedding), generator=draw)
            for size in facts.cardinalities
        ]
        self.tables = EmbeddingTables(tables, places_of_ids(len(tables)))
        self.crosses = nn.ModuleList(_linear(width, width, draw) for _ in range(settings.cross))
        widths = (width, *settings.hidden)
        self.layers = nn.ModuleList(_linear(n_in, n_out, draw) for n_in, n_out in pairwise(widths))
        deep = settings.hidden[-1] if settings.hidden else 0
        self.output = _linear(width + deep, 1, draw)

    def forward(self, batch: Batch) -> Tensor:
        """The logits, float32 [B, 1]."""
        embedded = [table[batch.ids[:, f]] for f, table in enumerate(self.tables)]
        x = first = torch.cat([batch.features, *embedded], dim=1)
        for cross in self.crosses:
            x = first * cross(x) + x
        parts, deep = [x], first
        for layer in self.layers:
            deep = layer(deep).relu()
        if len(self.layers):
            parts.append(deep)
        logits: Tensor = self.output(torch.cat(parts, dim=1))
        return logits


class CrossLearner(Learner):
    """The network on the weighted cross-entropy of the labels, soft ones included."""

    def __init__(self, training: CrossTraining, facts: TrainFacts) -> None:
        super().__init__()
        self.network = CrossNetwork(facts, training)
        self.weight, self.soft_label = training.weight, training.soft_label

    def logits(self, batch: Batch) -> Tensor:
        """Log odds, float32 [B, 1]."""
        logits: Tensor = self.network(batch)
        return logits

    def multiplicity(self, sample_id: Tensor) -> Tensor:
        """The network sees every row once."""
        return torch.ones((len(sample_id), 1), device=sample_id.device)

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """The weighted mean; divided by the rows, since the weights have mean 1 over all of them.

        Not by the sum of the weights of the batch: a batch of light rows would count as much as one
        of heavy rows.
        """
        label = batch.extra[self.soft_label] if self.soft_label else batch.label
        errors = functional.binary_cross_entropy_with_logits(
            self.logits(batch)[:, 0], label, reduction="none"
        )
        share = (batch.extra[self.weight] * errors).sum() / rows
        return share, share.new_full((), math.nan)


class CrossModel(ImportanceModel):
    """z."""

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """Log odds, float32 [B]."""
        (learner,) = self.checkpoints()
        return outputs.logits(learner)[:, 0]


class DeepNetwork(ImportanceMethod):
    """The network on one column of weights, as the ranks of a training take it.

    It is no method of the config: the ranker `deep` makes one for each column of weights, and the
    score of a row is its log odds.

    Attributes:
        training: the network, and the column of weights.
    """

    assumes: ClassVar[str] = "the weights are right"
    cost: ClassVar[str] = "F"

    method: Literal["deep"] = "deep"
    training: CrossTraining

    @classmethod
    def of(cls, method: str, settings: DeepSettings, *, soft: bool = False) -> "DeepNetwork":
        """The network for the weights of a method, and its labels if it is soft."""
        columns = {
            "weight": weight_column(method),
            "soft_label": label_column(method) if soft else None,
        }
        shape = settings.model_dump(include=set(DeepSettings.model_fields))
        return cls(name=method, training=CrossTraining.model_validate(columns | shape))

    def learns(self) -> Training:
        """Same as ``training``."""
        return self.training

    def columns(self) -> tuple[str, ...]:
        """The column of weights and that of soft labels."""
        weight, label = self.training.weight, self.training.soft_label
        return (weight, label) if label else (weight,)

    def scoring_columns(self) -> tuple[str, ...]:
        """None: a row is ranked by what it is, whatever it weighed."""
        return ()

    def checkpoint_choice(self) -> Checkpoints:
        """The epoch with the lowest validation loss."""
        return Checkpoints(which="best")

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """z, from the one learner."""
        return CrossModel()


def _linear(n_in: int, n_out: int, draw: torch.Generator) -> nn.Linear:
    """A layer as nn.Linear starts it, U(-1/sqrt(in), 1/sqrt(in)), from its own random numbers."""
    layer, bound = nn.Linear(n_in, n_out), 1 / math.sqrt(n_in)
    for parameter in layer.parameters():
        parameter.data.uniform_(-bound, bound, generator=draw)
    return layer
