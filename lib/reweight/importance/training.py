"""What is trained. Methods only read from it, and methods with equal trainings share one."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from reweight.core.digest import digest
from reweight.core.section import Section
from reweight.core.sequences import SequenceShape
from reweight.importance.batch import Batch

# Times, each with a number of rows.
TimeCounts = tuple[tuple[float, int], ...]


class TrainFacts(Section):
    """What a model may know about its training rows before it sees any.

    Attributes:
        dim: D, length of ``features``.
        cardinalities: size of the id space of each of the F fields of ``ids``.
        rows: training rows.
        positives: training rows with label 1.
        seed: of the model's random numbers.
        quantiles: of each feature over the training rows, as many as a training requests with
            ``bins`` (including both ends); empty if none does.
        segments: of the training rows, in the order in which the column ``segment`` numbers them
            from 1 (0 is any other); empty if no method reads it.
        names: of the features, for messages, [D]; empty where they have none.
        arrived: delays of the labels that have arrived; empty if no training reads them.
        waiting: how long the rows without a label have waited for one, likewise.
        sequence: shape of the sequences of earlier events; None if there are none.
    """

    dim: int
    cardinalities: tuple[int, ...] = ()
    rows: int
    positives: int
    seed: int = 0
    quantiles: tuple[tuple[float, ...], ...] = ()
    segments: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    arrived: TimeCounts = ()
    waiting: TimeCounts = ()
    sequence: SequenceShape | None = None

    def class_weights(self) -> tuple[float, float]:
        """n / (2 n_y) for y = 0 and y = 1, so that both classes have a total weight of n / 2."""
        return self.rows / (2 * (self.rows - self.positives)), self.rows / (2 * self.positives)


@dataclass(frozen=True)
class RowCounts:
    """Counts of the training rows that are known before anything is trained.

    Attributes:
        settled: rows whose label window has closed.
        settled_positives: those of them with label 1.
        segments: rows by segment and label, int64 [S + 1, 2]; row 0 is no known segment. None if no
            method reads segments.
        targets: the same for the target rows.
    """

    settled: int
    settled_positives: int
    segments: Tensor | None = None
    targets: Tensor | None = None


class Learner(nn.Module, ABC):
    """Networks in training: their parameters and their loss.

    Attributes:
        members: number of networks that ``loss`` sums over.
    """

    members: int = 1

    @abstractmethod
    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """This batch's share of two losses of the global batch, both scalars.

        A sum over the rows of ``batch`` in which every mean is over ``rows``, so that the shares of
        all ranks add up to the loss of the global batch, however the rows were dealt.

        Args:
            batch: this rank's rows.
            rows: rows of the global batch, over all ranks.

        Returns:
            The loss to minimise, summed over members; and, detached, the log loss of the rows under
            the members that do not see them (NaN if there are no such members).
        """

    def stepped(self) -> None:
        """Updates state other than the parameters, after a step on the last loss."""

    @abstractmethod
    def logits(self, batch: Batch) -> Tensor:
        """Log odds of each row under each member, float32 [B, M]."""

    @abstractmethod
    def multiplicity(self, sample_id: Tensor) -> Tensor:
        """How often each member sees each row in an epoch, float32 [B, M]."""

    @property
    def draw(self) -> Hashable:
        """Equal for learners whose members see the same rows: checkpoints of one training."""
        return id(self)

    def unseen(self, sample_id: Tensor) -> Tensor:
        """Each member's share of the score of each row, float32 [B, M]; rows sum to 1.

        Members that see the row have no share; a row that all members see is scored by all.
        """
        seen = self.multiplicity(sample_id)
        out = (seen == 0).float()
        count = out.sum(1, keepdim=True)
        return torch.where(count > 0, out / count, 1 / seen.shape[1])

    def in_sample(self, sample_id: Tensor) -> Tensor:
        """Which rows are scored by members that see them, because all members do; bool [B]."""
        return (self.multiplicity(sample_id) > 0).all(1)


class Checkpoints(Section):
    """The epochs whose parameters a method reads.

    Attributes:
        which: ``last``, the last epochs; ``best``, those around the lowest out-of-bag log loss on
            the given labels, a stopping rule that needs no clean labels (the last epochs if no row
            is out of bag), or, of a training that stops early, around the lowest validation loss;
            ``early``, the first epochs; ``spread``, evenly spaced up to the last.
        count: number of epochs.
    """

    which: Literal["last", "best", "early", "spread"] = "last"
    count: int = Field(default=1, ge=1)

    def epochs(self, total: int, losses: Mapping[int, float]) -> tuple[int, ...]:
        """The epochs to keep, given the losses so far, counted from 1.

        Args:
            total: number of epochs of the whole training.
            losses: of each completed epoch, by which the best is chosen.
        """
        if self.which == "early":
            return tuple(range(1, min(self.count, total) + 1))
        if self.which == "spread":
            n = min(self.count, total)
            return tuple(sorted({-(-total * (i + 1) // n) for i in range(n)}))
        first = total - self.count + 1
        if self.which == "best" and losses:
            best = min(losses, key=lambda e: (losses[e], e))
            first = min(best - self.count // 2, first)
        first = max(1, first)
        return tuple(range(first, min(first + self.count, total + 1)))


class Training(Section, ABC):
    """The hyperparameters of a training.

    Attributes:
        needs: columns of ``Batch.extra`` that ``loss`` reads.
        epochs: passes over the training rows.
        learning_rate: of AdamW.
        weight_decay: of AdamW; 0 is Adam.
    """

    needs: ClassVar[tuple[str, ...]] = ()

    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(default=0.0, ge=0)

    def check(self, facts: TrainFacts) -> None:
        """Refuses rows that cannot be trained on; called before training."""

    def check_size(self, facts: TrainFacts) -> None:
        """Refuses a learner that is too large to build; called before training."""

    @abstractmethod
    def build(self, facts: TrainFacts) -> Learner:
        """An untrained learner, which depends only on the facts; these include the seed."""

    @property
    def quantile_bins(self) -> int:
        """Number of quantile bins per feature; 0 if features are used as they are."""
        return 0

    @property
    def stops_early(self) -> int | None:
        """Epochs without a lower validation loss after which training ends; None for never.

        Its best epoch is then that of the lowest validation loss.
        """
        return None

    @property
    def reads_sequence(self) -> bool:
        """Whether it reads the sequences of earlier events."""
        return False

    @property
    def counts_times(self) -> bool:
        """Whether it reads ``arrived`` and ``waiting`` of the facts."""
        return False

    @property
    def key(self) -> str:
        """Identifies the training: trainings with the same key are done once."""
        return digest(type(self).__name__ + self.model_dump_json(by_alias=True))
