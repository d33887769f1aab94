"""What every importance method is: hyperparameters that build a model, and a model that scores."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import model_validator
from torch import Tensor, nn

from reweight.batch import Batch
from reweight.section import Name, Section

Polarity = Literal["valuable", "hard", "suspicious"]


class TrainFacts(Section):
    """What a model may know of its training rows before it sees one.

    Attributes:
        dim: D, length of ``features``.
        cardinalities: size of the id space of each of the F fields of ``ids``.
        rows: training rows.
        positives: training rows with label 1.
        seed: of the model's random numbers.
    """

    dim: int
    cardinalities: tuple[int, ...] = ()
    rows: int
    positives: int
    seed: int = 0

    def class_weights(self) -> tuple[float, float]:
        """n / (2 n_y) for y = 0 and y = 1: both classes weigh n / 2 in all."""
        return self.rows / (2 * (self.rows - self.positives)), self.rows / (2 * self.positives)


class ImportanceModel(nn.Module, ABC):
    """Scores rows; what is trained (if anything) are its parameters.

    Attributes:
        members: how many networks ``loss`` sums over.
    """

    members: int = 1

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The importance of each row, float32 [B], finite.

        A row's score does not depend on the other rows of the batch.
        """

    def loss(self, batch: Batch, rows: int) -> Tensor:
        """This batch's share of the loss of a global batch, a scalar.

        A sum over the rows of ``batch`` in which every mean is over ``rows``: the shares of all
        ranks add up to the loss of the global batch, however the rows were dealt.

        Args:
            batch: this rank's rows.
            rows: rows of the global batch, over all ranks.
        """
        raise NotImplementedError(f"{type(self).__name__} has nothing to train")


class ImportanceMethod(Section, ABC):
    """A named way to get importance: its hyperparameters, validated.

    A subclass adds a field ``method: Literal["..."]``, its hyperparameters and ``build``, and is
    put into the union ``Method``; nothing else needs to know of it.

    Attributes:
        polarity: whether high importance means valuable, hard, or suspicious.
        uses_label: whether the score of a row depends on its own label.
        assumes: when its weights are right, in one line.
        name: of the method's rows in the tables; the method's own name by default.
        epochs: passes over the training rows; 0 where nothing is trained.
        learning_rate: of Adam.
    """

    polarity: ClassVar[Polarity] = "valuable"
    uses_label: ClassVar[bool] = False
    assumes: ClassVar[str]

    name: Name
    epochs: int = 0
    learning_rate: float = 0.001

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

    @abstractmethod
    def build(self, facts: TrainFacts) -> ImportanceModel:
        """An untrained model; the same for the same facts, which include the seed."""
