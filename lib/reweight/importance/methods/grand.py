"""`grand`: norm of the gradient of the row's own loss, |grad_theta l(f(x_i), y_i)|, early on.

Paul et al. 2021, "Deep Learning on a Data Diet". For a multilayer perceptron with errors delta_l
and activations a_l exactly sqrt(sum_l |delta_l|^2 (|a_{l-1}|^2 + 1)), so that no row needs a
backward pass of its own; embeddings add the squared error at their slices of the input.
"""

from typing import ClassVar, Literal

from torch import Tensor

from reweight.importance.base import Polarity
from reweight.importance.ensemble import EnsembleLearner
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod
from reweight.importance.training import Checkpoints, Learner


class Grand(OutOfBagMethod):
    """Importance >= 0.

    Helps:
        As `el2n`, where how far a row moves the network should count too.

    Hurts:
        Where labels are wrong, as with `el2n`. Activations make it depend on the scale of features:
        far rows are large whatever their label.

    Refuses:
        Training rows so few of a class that some member of the ensemble is likely to see none.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "rows that move the parameters most early teach the most"
    cost: ClassVar[str] = "3 E M F"

    method: Literal["grand"] = "grand"
    keep: Checkpoints = Checkpoints(which="early", count=5)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Norm of the gradient, float32 [B, M]."""
        assert isinstance(learner, EnsembleLearner)
        batch = outputs.batch
        return learner.ensemble.gradient_norms(batch, learner.target(batch))
