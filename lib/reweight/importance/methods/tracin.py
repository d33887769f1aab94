"""`tracin`: sum over checkpoints of lr ``<grad l_i, G>``, G the mean gradient of the target loss.

Pruthi et al. 2020, "Estimating Training Data Influence by Tracing Gradient Descent": how much a
step on the row lowers the target loss. G is summed in one pass over the training rows; then

    <grad l_i, G> = (p_i - y_i) dz_i

where dz_i is the derivative of the row's log odds along G: a forward pass, with no gradient per
row. It has either sign, so weights are based on ranks. The inner product is that of plain gradient
descent, although training uses AdamW.
"""

from typing import ClassVar, Literal, cast

import torch
from torch import Tensor
from torch.func import functional_call, jvp
from torch.nn import functional

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble import Ensemble, EnsembleLearner
from reweight.importance.ensemble_outputs import EnsembleOutputs, over_unseen
from reweight.importance.out_of_bag import EnsembleMethod
from reweight.importance.training import Checkpoints, TrainFacts


class TracIn(EnsembleMethod):
    """Importance of either sign; above 0 if the row helps the target.

    Helps:
        Where the target rows are cleaner than the rest, or newer while preferences change.

    Hurts:
        Where the target is as wrong as the rest: then there is nothing to trace, and at worst the
        weights follow the faults of the target, for example purchases that have not arrived yet.

    Refuses:
        Training rows of which none, or all, are target rows. A class so rare that some member of
        the ensemble is likely to see none of it.
    """

    signed: ClassVar[bool] = True
    uses_label: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("target",)
    passes: ClassVar[int] = 1
    assumes: ClassVar[str] = "target rows have correct labels and represent what matters"
    cost: ClassVar[str] = "3 E M F"

    method: Literal["tracin"] = "tracin"
    keep: Checkpoints = Checkpoints(which="spread", count=5)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula, with room for G at each checkpoint."""
        # The meta device allocates no memory: only the shapes are needed.
        with torch.device("meta"):
            size = sum(values.numel() for values in self.training.build(facts).parameters())
        epochs = min(self.keep.count, self.training.epochs)
        return TracInModel(self.training.learning_rate, torch.zeros((epochs, size)))


class TracInModel(ImportanceModel):
    """The formula of the module, averaged over members that did not see the row.

    Args:
        learning_rate: lr.
        targets: zeros in the shape of G, float32 [E, parameters].
    """

    rows: Tensor
    targets: Tensor

    def __init__(self, learning_rate: float, targets: Tensor) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.register_buffer("targets", targets)
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64), persistent=False)

    @torch.enable_grad()
    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Adds up the gradients of the target rows."""
        batch = outputs.batch.rows(outputs.batch.extra["target"] == 1)
        if split != "train" or not len(batch):
            return
        self.rows += len(batch)
        for learner, total in self._pairs():
            logits = learner.logits(batch)
            label = batch.label[:, None].expand_as(logits)
            loss = functional.binary_cross_entropy_with_logits(logits, label, reduction="sum")
            gradients = torch.autograd.grad(loss, list(learner.parameters()))
            total += torch.cat([gradient.flatten() for gradient in gradients])

    def sums(self) -> list[Tensor]:
        """The number of target rows, and their gradients at each checkpoint."""
        return [self.rows, self.targets]

    def finish(self, number: int) -> None:
        """Turns sums into means.

        Raises:
            TrainingError: there are no target rows.
        """
        if self.rows == 0:
            raise TrainingError(
                "tracin has no target rows",
                expected="training rows with target = 1: the newest part of the training split, "
                "which represents the distribution that matters",
                got="none among the training rows",
                fix="raise splits.target, the share of the training split that is the target, or "
                "leave tracin out",
            )
        self.targets /= self.rows

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The sum over checkpoints, float32 [B]."""
        products = [
            over_unseen(outputs, learner, _products(learner.ensemble, outputs.batch, target))
            for learner, target in self._pairs()
        ]
        return self.learning_rate * torch.stack(products).sum(0)

    def _pairs(self) -> list[tuple[EnsembleLearner, Tensor]]:
        """The members and the target gradient at each checkpoint."""
        pairs = zip(self.checkpoints(), self.targets, strict=False)
        return [(cast(EnsembleLearner, learner), target) for learner, target in pairs]


def _products(ensemble: Ensemble, batch: Batch, gradient: Tensor) -> Tensor:
    """<grad l_i, G> of each row under each member, float32 [B, M]."""
    point = {name: values.detach() for name, values in ensemble.named_parameters()}
    parts = torch.split(gradient, [values.numel() for values in point.values()])
    along = {
        name: part.view_as(values)
        for (name, values), part in zip(point.items(), parts, strict=True)
    }
    # In inference mode torch 2.3 returns 0 for every derivative.
    with torch.inference_mode(False), torch.no_grad():
        z, dz = jvp(lambda at: functional_call(ensemble, at, (batch,)), (point,), (along,))[:2]
    products: Tensor = (z.sigmoid() - batch.label[:, None]) * dz
    return products
