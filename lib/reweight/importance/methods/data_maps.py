"""`data_maps`: p(given label) over the epochs of a training; its mean or its spread.

    confidence = mean_e p_e(y_i | x_i),    variability = sd_e p_e(y_i | x_i)

Swayamdipta et al. 2020, "Dataset Cartography", with the sd of all epochs (divided by E). Rows of
wrong labels are those of low confidence and low variability. The epochs of variability are those
around the lowest out-of-bag log loss, where only ambiguous rows still move. One epoch has no
variability: all are 0.
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
        keep: the epochs; by default 10, spread over the training, or for variability around its
            best.

    Helps:
        ``confidence`` where labels are wrong at random; ``variability`` to find rows near the
        border, which is where more data would help.

    Hurts:
        Rows that are hard and right have low confidence as wrong ones have. Over a whole training
        ``variability`` finds what is learnt late, since in the first epochs every p moves, and
        those of easy rows most.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    probability: ClassVar[bool] = True
    assumes: ClassVar[str] = "how a row fares through the epochs tells easy, ambiguous and wrong"

    method: Literal["data_maps"] = "data_maps"
    statistic_: Literal["confidence", "variability"] = Field(
        default="confidence", alias="statistic"
    )
    keep: Checkpoints = Checkpoints(which="spread", count=10)

    @model_validator(mode="before")
    @classmethod
    def _settled(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("statistic") == "variability":
            return {"keep": Checkpoints(which="best", count=10)} | data
        return data

    @classmethod
    def default_name(cls, data: dict[str, Any]) -> str:
        """``data_maps_<statistic>``: a run often has both."""
        return f"data_maps_{data.get('statistic', 'confidence')}"

    @property
    def polarity(self) -> Polarity:  # type: ignore[override]
        """Rows of high confidence are right; those of high variability are hard."""
        return "valuable" if self.statistic_ == "confidence" else "hard"

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """p(given label), float32 [B, M]."""
        return outputs.given(learner)

    def over_epochs(self, values: Tensor) -> Tensor:
        """Mean or sd, float32 [B]."""
        return values.mean(0) if self.statistic_ == "confidence" else values.std(0, correction=0)
