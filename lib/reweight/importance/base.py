"""The base classes of importance methods: hyperparameters, a training to read, a formula."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist
from pydantic import model_validator
from torch import Tensor, nn

from reweight.core.section import MethodName, Section
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.training import Checkpoints, Learner, RowCounts, TrainFacts, Training

_LOG = logging.getLogger(__name__)

Polarity = Literal["valuable", "hard", "suspicious"]


class ImportanceModel(nn.Module, ABC):
    """Scores rows.

    Attributes:
        learners: the trained learners, by epoch of their checkpoint; empty if nothing is trained.
            Models of the same training may share them.
        done: whether the model needs no further pass, even if its method allows more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.done = False
        self.learners = nn.ModuleDict()

    def forward(self, batch: Batch, outputs: EnsembleOutputs | None = None) -> Tensor:
        """The importance of each row, float32 [B], finite.

        A row's score does not depend on the other rows in the batch.

        Args:
            batch: the rows.
            outputs: the ensemble outputs of the same rows, shared with other models.
        """
        return self.importance(outputs or EnsembleOutputs(batch))

    @abstractmethod
    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The formula of the method, float32 [B]."""

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """The p(y = 1) that a ranker should learn for each row, float32 [B] in [0, 1].

        The recorded label, unless the method is ``soft``.
        """
        return outputs.batch.label

    def propensities(self) -> list[float]:
        """theta of rows without a position, then of positions 1, 2, ...; empty if not estimated."""
        return []

    def checkpoints(self) -> list[Learner]:
        """The learners, in order of their epochs."""
        return [self.learners[name] for name in sorted(self.learners, key=int)]  # type: ignore[misc]

    def mean_unseen(self, outputs: EnsembleOutputs, values: Callable[[Learner], Tensor]) -> Tensor:
        """Averages over the members that did not see the row, then over checkpoints, float32 [B].

        Args:
            outputs: the ensemble outputs of the rows.
            values: returns the value of each row under each member of a learner, float32 [B, M].
        """
        means = [over_unseen(outputs, learner, values(learner)) for learner in self.checkpoints()]
        return torch.stack(means).mean(0)

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Visits a batch again after training, to collect what the formula needs from all rows.

        Args:
            outputs: the ensemble outputs of the batch.
            split: ``train``, or ``validation`` (the hashed part of it that fitting reads).
        """

    def sums(self) -> list[Tensor]:
        """The buffers that ``observe`` adds to; they are summed over the ranks after each pass."""
        return []

    def finish(self, number: int) -> None:
        """Ends pass ``number``, counted from 0; ``sums`` now covers the rows of all ranks."""


class ImportanceMethod(Section, ABC):
    """A named way to compute importance: its hyperparameters, validated.

    A subclass adds a field ``method: Literal["..."]``, its hyperparameters and ``model``, and joins
    the union ``Method``; nothing else needs to know about it.

    Attributes:
        polarity: whether high importance means valuable, hard or suspicious.
        signed: whether importance can be negative; weights are then based on ranks.
        uses_label: whether the score of a row depends on its own label.
        probability: whether importance is a probability or a power of one, so that it is compared
            on a logarithmic scale.
        soft: whether the method also returns a soft label for each row.
        needs_all_negatives: whether its formula needs probabilities of the label in the whole log,
            which a log whose negatives were sampled does not show.
        assumes: the assumption under which its weights are right, in one line.
        cost: of scoring a row, in forward passes of the network (F), with M members and E
            checkpoints.
        needs: columns of ``Batch.extra`` that it reads.
        passes: the most passes over the rows that its model makes after training.
        name: of the method's rows in the tables; by default the name of the method.
    """

    polarity: ClassVar[Polarity] = "valuable"
    signed: ClassVar[bool] = False
    uses_label: ClassVar[bool] = False
    probability: ClassVar[bool] = False
    soft: ClassVar[bool] = False
    needs_all_negatives: ClassVar[bool] = False
    assumes: ClassVar[str]
    cost: ClassVar[str] = "0"
    needs: ClassVar[tuple[str, ...]] = ()
    passes: ClassVar[int] = 0

    name: MethodName

    @model_validator(mode="before")
    @classmethod
    def _training_is_nested(cls, data: Any) -> Any:
        field = cls.model_fields.get("training")
        if field is None or not isinstance(data, dict):
            return data
        settings: Any = field.annotation
        misplaced = sorted(set(data) & set(settings.model_fields) - set(cls.model_fields))
        if misplaced:
            nested = ", ".join(f"{key}: {data[key]}" for key in misplaced)
            raise ValueError(
                f"expected all training settings under `training`; got {misplaced} outside it; "
                f"write training: {{{nested}}}"
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
        """The name of the method if the config gives none."""
        return str(data.get("method", cls.model_fields["method"].default))

    @property
    def keeps_scale(self) -> bool:
        """Whether the ranker's regularisation uses the sum of raw importance instead of mean 1."""
        return False

    def learns(self) -> Training | None:
        """The training that the method reads; None if nothing is trained."""
        return None

    @property
    def reads_sequence(self) -> bool:
        """Whether training and scoring read the sequences of earlier events."""
        training = self.learns()
        return training is not None and training.reads_sequence

    @property
    def estimates_propensities(self) -> bool:
        """Whether its model estimates how likely each position is looked at."""
        return False

    @property
    def trained(self) -> bool:
        """Whether its model depends on the training rows beyond their `TrainFacts`."""
        return self.learns() is not None or self.passes > 0

    def checkpoint_choice(self) -> Checkpoints:
        """The checkpoints of the training that the method reads."""
        return Checkpoints()

    def combines(self) -> tuple[str, ...]:
        """Names of the methods whose importance it combines; they are scored first."""
        return ()

    def say(self, text: str) -> None:
        """Logs a line, on rank 0 only."""
        if not dist.is_initialized() or dist.get_rank() == 0:
            _LOG.info("%s: %s", self.name, text)

    def columns(self) -> tuple[str, ...]:
        """Columns of ``Batch.extra`` that training and scoring need."""
        training = self.learns()
        return tuple(sorted({*self.needs, *(training.needs if training else ())}))

    def scoring_columns(self) -> tuple[str, ...]:
        """Those of ``columns`` that scoring needs; by default all of them."""
        return self.columns()

    def known_importance(self, facts: TrainFacts, counts: RowCounts) -> Tensor | None:
        """The importance of the training rows where their counts determine it, before training.

        Args:
            facts: of the training rows.
            counts: of the same rows.

        Returns:
            Each value and the number of rows that have it, float64 [K, 2]; None if it takes more
            than counts.
        """
        return None

    @abstractmethod
    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula with its buffers, without learners."""

    def build(self, facts: TrainFacts, epochs: Iterable[int] | None = None) -> ImportanceModel:
        """The formula with untrained learners, one per checkpoint.

        The result depends only on the facts, which include the seed.

        Args:
            facts: of the training rows.
            epochs: of the checkpoints; by default the last epoch.
        """
        model, training = self.model(facts), self.learns()
        if training is not None:
            for epoch in epochs or (training.epochs,):
                model.learners[str(epoch)] = training.build(facts)
        return model


def columns_scored_by(methods: Sequence[ImportanceMethod]) -> dict[str, set[str]]:
    """Method -> the columns that its importance depends on; with those of what it combines.

    Args:
        methods: all methods of a run.
    """
    columns = {method.name: {*method.scoring_columns()} for method in methods}
    return {
        method.name: columns[method.name].union(*[columns[part] for part in method.combines()])
        for method in methods
    }


def not_combinable(method: ImportanceMethod | None) -> str | None:
    """Why a method cannot be part of a combination; None if it can."""
    if method is None:
        return "is not in the run"
    if method.combines():
        return "is itself a combination"
    if method.signed:
        return "has negative importance"
    if method.soft:
        return "sets soft labels, which would be lost"
    if method.polarity != "valuable":
        return f"is high for {method.polarity} rows instead of valuable ones"
    return None
