"""`deep`: a network of embedded ids, cross layers (DCN-V2, Wang et al. 2021) and an MLP.

It minimises the weighted log loss, each weight divided by the mean weight of the training rows. Its
ranks are launched, fed, watched and resumed as those of importance methods (section ``fitting``).
The networks on the weights of all methods begin with equal parameters and are trained by one
launch, side by side, on one reading of the rows.

Training ends when the loss of the validation rows no longer falls. Whatever the method, each of
these counts once (as often as its ``design_weight`` says, where negatives were sampled) and has its
recorded label: how long to train is thus decided alike for all weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pyspark.sql import DataFrame

from reweight.core.errors import ReweightError
from reweight.importance.deep_settings import DeepSettings
from reweight.train_ranker.rankers.base import Ranker, RankerJob
from reweight.train_ranker.rankers.boosters import AppliedTogether
from reweight.train_ranker.rows import WeightColumn

if TYPE_CHECKING:
    from reweight.importance.artifact import ModelArtifact

# A column of weights has the name of a method, which cannot be `weight`.
_ALONE = "alone"


class Deep(DeepSettings, Ranker):
    """A network with embeddings of ids, cross layers and an MLP."""

    # torch is imported only where it is fitted, read or applied.
    soft: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "up to `epochs` passes over a snapshot of the rows, for all methods at once"
    )

    ranker: Literal["deep"] = "deep"

    def columns(self) -> tuple[str, ...]:
        """Features and ids, and ``sample_id`` for the order of the rows."""
        return ("sample_id", "features", "ids")

    def fit(self, rows: DataFrame, job: RankerJob) -> "FittedDeep":
        """Fits the network.

        Raises:
            TrainingError: it is too large or diverged, or its ranks could not finish.
        """
        rows = rows.withColumnRenamed("weight", _ALONE)
        fitted = self.fit_together(rows, (WeightColumn(_ALONE),), job)[_ALONE]
        if isinstance(fitted, ReweightError):
            raise fitted
        return fitted

    def fit_together(
        self, train: DataFrame, columns: Sequence[WeightColumn], job: RankerJob
    ) -> Mapping[str, "FittedDeep | ReweightError"]:
        """Fits a network on each column of weights, by one launch of the ranks.

        Raises:
            TrainingError: networks are too large, or the ranks could not finish.
        """
        from reweight.train_ranker.networks import fit_networks

        return {
            name: fitted if isinstance(fitted, ReweightError) else FittedDeep(*fitted)
            for name, fitted in fit_networks(train, columns, self, job).items()
        }

    def read(self, folder: Path) -> "FittedDeep":
        """Reads the artifact."""
        from reweight.train_ranker.networks import read_network

        return FittedDeep(read_network(folder))


@dataclass(frozen=True)
class FittedDeep(AppliedTogether):
    """A fitted network.

    Attributes:
        model: its artifact.
        epochs: those it took, in words.
    """

    model: "ModelArtifact"
    epochs: str = ""

    @property
    def outcome(self) -> str:
        """The epoch that was used, and how many there were."""
        return self.epochs

    @classmethod
    def with_margins(cls, rows: DataFrame, fitted: Mapping[str, "FittedDeep"]) -> DataFrame:
        """Adds the log odds of several networks, in one pass through Python."""
        from reweight.train_ranker.networks import with_log_odds

        return with_log_odds(rows, {column: ranker.model for column, ranker in fitted.items()})

    def write(self, folder: Path) -> None:
        """Writes tensors (safetensors) and settings (JSON)."""
        self.model.write(folder)
