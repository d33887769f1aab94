"""What every importance method is: hyperparameters, a training to read, and a formula."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist
from pydantic import model_validator
from torch import Tensor, nn

from reweight.core.section import Name, Section
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.training import Checkpoints, Learner, TrainFacts, Training

_LOG = logging.getLogger(__name__)

Polarity = Literal["valuable", "hard", "suspicious"]


class ImportanceModel(nn.Module, ABC):
    """Scores rows.

    Attributes:
        learners: what was trained, by the epoch at which it was kept; empty where nothing is
            trained. Models of one training may share them.
        done: whether it needs no further pass, even if its method allows more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done = False
        self.learners = nn.ModuleDict()

    def forward(self, batch: Batch, outputs: EnsembleOutputs | None = None) -> Tensor:
        """The importance of each row, float32 [B], finite.

        A row's score does not depend on the other rows of the batch.

        Args:
            batch: the rows.
            outputs: of the same rows, shared with other models.
        """
        return self.importance(outputs or EnsembleOutputs(batch))

    @abstractmethod
    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The formula."""

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """p(y = 1) that a ranker is to learn of each row, float32 [B] in [0, 1].

        The recorded label but for methods that are ``soft``.
        """
        return outputs.batch.label

    def checkpoints(self) -> list[Learner]:
        """The learners in the order of their epochs."""
        return [self.learners[name] for name in sorted(self.learners, key=int)]  # type: ignore[misc]

    def mean_unseen(self, outputs: EnsembleOutputs, values: Callable[[Learner], Tensor]) -> Tensor:
        """Mean over members that did not see the row, and then over kept epochs, float32 [B].

        Args:
            outputs: of the rows.
            values: of each row by each member of a learner, float32 [B, M].
        """
        means = [over_unseen(outputs, one, values(one)) for one in self.checkpoints()]
        return torch.stack(means).mean(0)

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Looks at rows once more after the training, for what the formula needs of all of them.

        Args:
            outputs: of a batch.
            split: ``train``, or ``validation``: the hashed part of it that fitting reads.
        """

    def sums(self) -> list[Tensor]:
        """Buffers that ``observe`` added to; the ranks' are added up after each pass."""
        return []

    def finish(self, number: int) -> None:
        """Ends the pass with that number, counted from 0: ``sums`` holds all ranks' rows."""


class ImportanceMethod(Section, ABC):
    """A named way to get importance: its hyperparameters, validated.

    A subclass adds a field ``method: Literal["..."]``, its hyperparameters and ``model``, and is
    put into the union ``Method``; nothing else needs to know of it.

    Attributes:
        polarity: whether high importance means valuable, hard, or suspicious.
        signed: whether importance can be negative; its weights are then made of ranks.
        uses_label: whether the score of a row depends on its own label.
        probability: whether importance is a probability or a power of one, so that its logarithm
            is the scale on which it is compared.
        soft: whether it says what the label of a row is, beside its importance.
        assumes: when its weights are right, in one line.
        cost: of scoring a row, in forwards of the network (F), with M members and E kept epochs.
        needs: columns of ``Batch.extra`` that it reads.
        passes: how often its model wants to look at the rows after the training.
        name: of the method's rows in the tables; the method's own name by default.
    """

    polarity: ClassVar[Polarity] = "valuable"
    signed: ClassVar[bool] = False
    uses_label: ClassVar[bool] = False
    probability: ClassVar[bool] = False
    soft: ClassVar[bool] = False
    assumes: ClassVar[str]
    cost: ClassVar[str] = "0"
    needs: ClassVar[tuple[str, ...]] = ()
    passes: ClassVar[int] = 0

    name: Name

    @model_validator(mode="before")
    @classmethod
    def _training_is_nested(cls, data: Any) -> Any:
        field = cls.model_fields.get("training")
        if field is None or not isinstance(data, dict):
            return data
        kind: Any = field.annotation
        flat = sorted(set(data) & set(kind.model_fields) - set(cls.model_fields))
        if flat:
            right = ", ".join(f"{key}: {data[key]}" for key in flat)
            raise ValueError(
                f"expected the settings of the training in one place; got {flat} beside them; "
                f"write training: {{{right}}}"
            )
        return data

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {"name": cls.default_name(data)} | data
        return data

    @classmethod
    def default_name(cls, data: dict[str, Any]) -> str:
        """The name of a method that the config does not name."""
        return str(data.get("method", cls.model_fields["method"].default))

    @property
    def keeps_scale(self) -> bool:
        """Whether the ranker's regularisation sees the sum of raw importance, not mean 1."""
        return False

    def learns(self) -> Training | None:
        """What has to be trained first; None where nothing is."""
        return None

    @property
    def trained(self) -> bool:
        """Whether its model depends on more of the training rows than their `TrainFacts`."""
        return self.learns() is not None or self.passes > 0

    def checkpoint_choice(self) -> Checkpoints:
        """At which epochs of the training the parameters are kept for this method."""
        return Checkpoints()

    def combines(self) -> tuple[str, ...]:
        """Names of the methods whose importance its own is made of, which are scored before it."""
        return ()

    def say(self, text: str) -> None:
        """Logs a line, on one rank."""
        if not dist.is_initialized() or dist.get_rank() == 0:
            _LOG.info("%s: %s", self.name, text)

    def columns(self) -> tuple[str, ...]:
        """Columns of ``Batch.extra`` that training and scoring need."""
        training = self.learns()
        return tuple(sorted({*self.needs, *(training.needs if training else ())}))

    @abstractmethod
    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula with its buffers, without learners."""

    def build(self, facts: TrainFacts, epochs: Iterable[int] | None = None) -> ImportanceModel:
        """The formula over untrained learners, one for each epoch that is kept.

        The same for the same facts, which include the seed.

        Args:
            facts: of the training rows.
            epochs: that are kept; the last by default.
        """
        model, training = self.model(facts), self.learns()
        if training is not None:
            for epoch in epochs or (training.epochs,):
                model.learners[str(epoch)] = training.build(facts)
        return model
