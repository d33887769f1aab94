"""`density_ratio`: how much likelier a row is among the target rows than among the rest.

    importance(x) = p(x | target) / p(x | rest) = n_rest / n_target * p(target | x) / p(rest | x)

Sugiyama, Suzuki & Kanamori 2012, "Density Ratio Estimation in Machine Learning", by probabilistic
classification: a domain classifier tells target rows from the rest, and a row is scored by the
member that did not see it. Clipped, since ratios have heavy tails. Where domains cannot be told
apart the ratio is noise: every row gets 1 unless the domain AUC exceeds 1/2 by its standard error
(Hanley & McNeil 1982; by chance alone it still does in one run of six). The AUC is taken within
folds: over all of them together it would lie below 1/2, since a fold that holds more target rows
is scored by a member that saw fewer.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble import EnsembleLearner, FoldsTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import OutOfBagMethod, OutOfBagModel
from reweight.importance.target import check_target
from reweight.importance.training import Learner, TrainFacts

_BINS = 4096


class DomainTraining(FoldsTraining):
    """Members that tell target rows from the rest, each on all folds but one."""

    needs: ClassVar[tuple[str, ...]] = ("target",)

    def check(self, facts: TrainFacts) -> None:
        """The facts say nothing of the domains, which are counted after the training."""

    def build(self, facts: TrainFacts) -> Learner:
        """The members before training."""
        return DomainLearner(self, facts)


class DomainLearner(EnsembleLearner):
    """An ensemble on the cross-entropy of ``target``."""

    def target(self, batch: Batch) -> Tensor:
        """Whether a row is target, float32 [B]."""
        return batch.extra["target"]


class DensityRatio(OutOfBagMethod):
    """Importance in [1 / clip, clip], 1 where a row is as likely in both domains.

    Attributes:
        clip: largest ratio.

    Helps:
        Where only the features move: the target has other users, items or hours than the log, and
        the label follows from features as before. Then it is the weight that theory asks for.

    Hurts:
        Where p(y | x) moves as well, and where the newest rows, which are the target, have wrong
        labels, as with late purchases. Features that tell the time by themselves (history that
        grows) tell the domains apart and leave few effective samples.

    Refuses:
        Training rows of which none is target, or all are.
    """

    uses_label: ClassVar[bool] = False
    assumes: ClassVar[str] = "x moves between rest and target, and p(y | x) does not"
    passes: ClassVar[int] = 1

    method: Literal["density_ratio"] = "density_ratio"
    training: DomainTraining = DomainTraining()
    clip: float = Field(default=10.0, gt=1)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Log odds of target, float32 [B, M]."""
        return outputs.logits(learner)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The ratio, and whether there is one."""
        return DensityRatioModel(self)


class DensityRatioModel(OutOfBagModel):
    """The ratio of log odds and of the domains' sizes.

    Attributes:
        auc: of the domain classifier on rows that it did not see.
        error: its standard error.
        offset: log(n_rest / n_target).
    """

    method: DensityRatio
    auc: Tensor
    error: Tensor
    offset: Tensor
    counts: Tensor

    def __init__(self, method: DensityRatio) -> None:
        super().__init__(method)
        for name, value in (("auc", 0.5), ("error", 0.0), ("offset", 0.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))
        counts = torch.zeros((method.training.members, 2, _BINS), dtype=torch.float64)
        self.register_buffer("counts", counts, persistent=False)

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The clipped ratio, float32 [B]."""
        log_odds = super().importance(outputs)
        limit = math.log(self.method.clip)
        ratio = (log_odds + self.offset.float()).clamp(-limit, limit).exp()
        return torch.where(self.auc - 0.5 > self.error, ratio, 1.0)

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts training rows by fold, domain and log odds."""
        if split != "train":
            return
        log_odds = super().importance(outputs)
        # Bins are narrow about 0 and reach to infinity.
        place = (log_odds / (1 + log_odds.abs()) + 1) / 2 * _BINS
        fold = outputs.unseen(self.checkpoints()[0]).argmax(1)
        domain = outputs.batch.extra["target"].long()
        cell = (fold * 2 + domain) * _BINS + place.long().clamp(0, _BINS - 1)
        self.counts += torch.bincount(cell, minlength=self.counts.numel()).view_as(self.counts)

    def sums(self) -> list[Tensor]:
        """The counts."""
        return [self.counts]

    def finish(self, number: int) -> None:
        """Turns counts into the AUC, its error, and the sizes of the domains."""
        rest, target = self.counts.sum((0, 2)).tolist()
        check_target(self.method.name, target, rest + target)
        auc, error = domain_auc(self.counts)
        self.auc.fill_(auc)
        self.error.fill_(error)
        self.offset.fill_(math.log(rest / target))


def domain_auc(counts: Tensor) -> tuple[float, float]:
    """AUC within folds, averaged over pairs of rows, and its standard error.

    Args:
        counts: rows by fold, class and bin of the score, float64 [folds, 2, bins].
    """
    zero, one = counts[:, 0], counts[:, 1]
    n_zero, n_one = zero.sum(1), one.sum(1)
    pairs = n_zero * n_one
    # Of rows in the same bin half are taken to be in the right order.
    won = (one * (zero.cumsum(1) - zero / 2)).sum(1)
    auc = won / pairs.clamp(min=1)
    q_one, q_two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    squares = auc * (1 - auc) + (n_one - 1) * (q_one - auc**2) + (n_zero - 1) * (q_two - auc**2)
    share = pairs / pairs.sum()
    variance = (share**2 * squares / pairs.clamp(min=1)).sum()
    return float((share * auc).sum()), float(variance.sqrt())
