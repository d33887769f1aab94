r"""`importance_mlp`: a network's probability that a row is positive, pulled towards weight 1.

    w_i = k f(x_i)
    loss = (1/N) sum_i c_{y_i} l(f(x_i), y_i) + lambda * R((w_i - 1)^2)

where R is a sum over the batch (``penalty: sum``) or a mean. f is a multilayer perceptron with ReLU
and a sigmoid, to which ``training.network`` adds a CNN or a GRU over earlier events; l is the
squared error or the cross-entropy; c_y is n / (2 n_y) with ``class_weights``, otherwise 1. f sees
only x, so it cannot see that a label is wrong.

``preset: reference`` is exactly the method of the article that this library starts from
(100-256-128-1, mean squared error, sum penalty, Adam at 0.001, 50 epochs, in-sample scores). Its
penalty grows with the batch size. ``preset: robust`` uses the cross-entropy on logits, a mean
penalty and 5-fold cross-fitting.
"""

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from reweight.core.section import Section, Widths
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble import EnsembleLearner, EnsembleTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.sequence_networks import Network
from reweight.importance.training import Learner, TrainFacts, Training

_PRESETS: dict[str, dict[str, Any]] = {
    "reference": {"loss": "mse", "penalty": "sum", "cross_fit": 0},
    "robust": {"loss": "cross_entropy", "penalty": "mean", "cross_fit": 5},
}

_EPOCHS = {"reference": 50, "robust": 10}


class MlpSettings(Section):
    """The network of `importance_mlp`, and how it is trained.

    Attributes:
        epochs: passes over the training rows.
        learning_rate: of Adam.
        hidden: widths of the hidden layers.
        embedding: width of the embedding of each categorical id.
        network: ``mlp`` reads features and ids; ``cnn`` and ``gru`` also read the order of the
            earlier events (``features.sequence``), by convolutions or a gated recurrent unit.
        sequence_width: channels of the ``cnn``, or width of the state of the ``gru``.
    """

    epochs: int = Field(ge=1)
    learning_rate: float = Field(default=0.001, gt=0)
    hidden: Widths = (256, 128)
    embedding: int = Field(default=8, ge=1)
    network: Network = "mlp"
    sequence_width: int = Field(default=32, ge=1)


class ImportanceMlp(ImportanceMethod):
    """Importance k f(x), in (0, k); settings missing from the config come from the preset.

    Attributes:
        preset: ``reference`` or ``robust``.
        k: scale of the weight.
        lambda_: strength of the pull towards weight 1.
        loss: l, ``mse`` or ``cross_entropy``.
        penalty: whether the pull is summed or averaged over the batch.
        cross_fit: number of folds; 0 scores in sample.
        class_weights: whether both classes have the same total weight in l.
        training: how f is trained.

    Helps:
        Where the ranker should serve rows like the positives, and labels are correct.

    Hurts:
        Where labels are wrong: it sees only features, so a wrong label weighs as much as a correct
        one with the same features, and a purchase that was not recorded gets the weight of the
        positives that it resembles. ``preset: reference`` changes with the batch size, scores rows
        that it was trained on, and gives nearly equal weights where the penalty dominates.

    Refuses:
        A single fold (``cross_fit: 1``). With ``cross_fit``, a class so rare that some member of
        the ensemble is likely to see none of it.
    """

    assumes: ClassVar[str] = "rows that look like positives are the ones worth learning from"
    cost: ClassVar[str] = "M F, with M the number of folds, or 1"

    method: Literal["importance_mlp"] = "importance_mlp"
    preset: Literal["reference", "robust"] = "robust"
    k: float = Field(default=10.0, gt=0)
    lambda_: float = Field(default=0.01, ge=0, alias="lambda")
    loss: Literal["mse", "cross_entropy"]
    penalty: Literal["sum", "mean"]
    cross_fit: int = Field(ge=0)
    class_weights: bool = False
    training: MlpSettings

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        preset, training = data.get("preset", "robust"), data.get("training", {})
        if isinstance(training, dict) and preset in _EPOCHS:
            training = {"epochs": _EPOCHS[preset]} | training
        return _PRESETS.get(preset, {}) | data | {"training": training}

    @classmethod
    def default_name(cls, data: dict[str, Any]) -> str:
        """``importance_mlp_<preset>``, since a run often has both."""
        return f"importance_mlp_{data.get('preset', 'robust')}"

    @model_validator(mode="after")
    def _folds(self) -> "ImportanceMlp":
        if self.cross_fit == 1:
            raise ValueError("cross_fit: expected 0 (in sample) or at least 2 folds; got 1")
        return self

    @property
    def keeps_scale(self) -> bool:
        """The published recommender gets w = k f unscaled."""
        return self.preset == "reference"

    def learns(self) -> Training:
        """An ensemble with one member, or one per fold, on the loss above."""
        return ImportanceMlpTraining(
            epochs=self.training.epochs,
            learning_rate=self.training.learning_rate,
            weight_decay=0.0,
            members=max(1, self.cross_fit),
            membership="folds" if self.cross_fit else "all",
            hidden=self.training.hidden,
            embedding=self.training.embedding,
            bins=0,
            network=self.training.network,
            sequence_width=self.training.sequence_width,
            k=self.k,
            lambda_=self.lambda_,
            loss=self.loss,
            penalty=self.penalty,
            class_weights=self.class_weights,
        )

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """w = k f(x), with f from the member that did not see the row."""
        return ImportanceMlpModel(self.k)


class ImportanceMlpTraining(EnsembleTraining):
    """The training of `importance_mlp`, with the settings of the method."""

    k: float
    lambda_: float
    loss: Literal["mse", "cross_entropy"]
    penalty: Literal["sum", "mean"]
    class_weights: bool

    def build(self, facts: TrainFacts) -> Learner:
        """Untrained members."""
        return ImportanceMlpLearner(self, facts)


class ImportanceMlpLearner(EnsembleLearner):
    """The loss of the module, summed over members, each on the rows that it sees."""

    class_weight: Tensor

    def __init__(self, training: ImportanceMlpTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        self.training_ = training
        weights = facts.class_weights() if training.class_weights else (1.0, 1.0)
        self.register_buffer("class_weight", torch.tensor(weights))

    def errors(self, logits: Tensor, target: Tensor, count: float) -> Tensor:
        """l plus the pull towards weight 1, for each row and member, float32 [B, M]."""
        f = logits.sigmoid()
        if self.training_.loss == "mse":
            error = (f - target) ** 2
        else:
            error = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        pull = (self.training_.k * f - 1) ** 2
        # The loss is a mean over rows, so a sum is a mean times the number of rows.
        scale = count if self.training_.penalty == "sum" else 1
        return self.class_weight[target.long()] * error + self.training_.lambda_ * scale * pull


class ImportanceMlpModel(ImportanceModel):
    """k f(x)."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """k f(x), float32 [B]."""
        (learner,) = self.checkpoints()
        return self.k * over_unseen(outputs, learner, outputs.probability(learner))
