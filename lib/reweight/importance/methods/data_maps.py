"""`data_maps`: the mean or the spread of p(given label) over the epochs of a training.

    confidence = mean_e p_e(y_i | x_i),    variability = sd_e p_e(y_i | x_i)

Swayamdipta et al. 2020, "Dataset Cartography", with the sd over all epochs (divided by E). Rows
with wrong labels have low confidence and low variability. Variability is taken over the epochs
around the lowest out-of-bag log loss, where only ambiguous rows still move. With a single epoch it
is 0 for all rows.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator
from torch import Tensor

from reweight.importance.base import Polarity
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class DataMaps(OutOfBagMethod):
    """Importance in (0, 1), or in [0, 1/2] for variability.

    Attributes:
        statistic_: ``confidence`` or ``variability``.
        keep: the checkpoints; by default 10, spread over the training for confidence, and around
            the best epoch for variability.

    Helps:
        ``confidence`` where labels are wrong at random; ``variability`` to find rows near the
        decision boundary, where more data would help.

    Hurts:
        Hard rows with correct labels have low confidence, just like wrong ones. Over a whole
        training, ``variability`` finds what is learnt late, since in the first epochs every p
        moves, and that of easy rows most.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    probability: ClassVar[bool] = True
    assumes: ClassVar[str] = "p over the epochs separates easy, ambiguous and wrong rows"

    method: Literal["data_maps"] = "data_maps"
    statistic_: Literal["confidence", "variability"] = Field(
        default="confidence", alias="statistic"
    )
    keep: Checkpoints = Checkpoints(which="spread", count=10)

    @model_validator(mode="before")
    @classmethod
    def _default_keep(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("statistic") == "variability":
            return {"keep": Checkpoints(which="best", count=10)} | data
        return data

    @classmethod
    def default_name(cls, data: dict[str, Any]) -> str:
        """``data_maps_<statistic>``, since a run often has both."""
        return f"data_maps_{data.get('statistic', 'confidence')}"

    @property
    def polarity(self) -> Polarity:  # type: ignore[override]
        """Valuable for ``confidence``, hard for ``variability``."""
        return "valuable" if self.statistic_ == "confidence" else "hard"

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """p(given label), float32 [B, M]."""
        return outputs.given(learner)

    def over_epochs(self, values: Tensor) -> Tensor:
        """Mean or standard deviation over epochs, float32 [B]."""
        return values.mean(0) if self.statistic_ == "confidence" else values.std(0, correction=0)
