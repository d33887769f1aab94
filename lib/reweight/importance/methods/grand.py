"""`grand`: norm of the gradient of the row's loss, |grad_theta l(f(x_i), y_i)|, early in training.

Paul et al. 2021, "Deep Learning on a Data Diet". For a multilayer perceptron with errors delta_l
and activations a_l it is exactly sqrt(sum_l |delta_l|^2 (|a_{l-1}|^2 + 1)), so no row needs a
backward pass of its own; embeddings add the squared error at their slices of the input.
"""

from typing import ClassVar, Literal

from pydantic import model_validator
from torch import Tensor

from reweight.importance.base import Polarity
from reweight.importance.ensemble import EnsembleLearner
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class Grand(OutOfBagMethod):
    """Importance >= 0.

    Helps:
        Like `el2n`, where it should also count how far a row moves the network.

    Hurts:
        Where labels are wrong, as with `el2n`. Activations make it depend on the scale of features:
        outlying rows score high whatever their label.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it. Networks that
        read sequences.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows that move the parameters most early on teach the most"
    cost: ClassVar[str] = "3 E M F"

    method: Literal["grand"] = "grand"
    keep: Checkpoints = Checkpoints(which="early", count=5)

    @model_validator(mode="after")
    def _in_closed_form(self) -> "Grand":
        if self.training.network != "mlp":
            raise ValueError(
                "training.network: expected mlp, the only network whose gradients have this form; "
                f"got {self.training.network}; write network: mlp"
            )
        return self

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Norm of the gradient, float32 [B, M]."""
        assert isinstance(learner, EnsembleLearner)
        batch = outputs.batch
        return learner.ensemble.gradient_norms(batch, learner.target(batch))
