"""`density_ratio`: how much more likely a row is among the target rows than among the rest.

    importance(x) = p(x | target) / p(x | rest) = n_rest / n_target * p(target | x) / p(rest | x)

Sugiyama, Suzuki & Kanamori 2012, "Density Ratio Estimation in Machine Learning", by probabilistic
classification: a domain classifier distinguishes target rows from the rest, and a row is scored by
the member that did not see it. Ratios are clipped, since they have heavy tails. If the domains are
indistinguishable, the ratio is noise, so every row gets 1 unless the domain AUC exceeds 1/2 by its
standard error (Hanley & McNeil 1982; by chance alone it still does in one run out of six). The AUC
is taken within folds: pooled over folds it would be below 1/2, since a fold with more target rows
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
    """Members that distinguish target rows from the rest, each trained on all folds but one."""

    needs: ClassVar[tuple[str, ...]] = ("target",)

    def check(self, facts: TrainFacts) -> None:
        """Checks nothing: the domains are not in the facts, and are counted after training."""

    def build(self, facts: TrainFacts) -> Learner:
        """The members before training."""
        return DomainLearner(self, facts)


class DomainLearner(EnsembleLearner):
    """An ensemble trained on the cross-entropy of ``target``."""

    def target(self, batch: Batch) -> Tensor:
        """1 for target rows, else 0, float32 [B]."""
        return batch.extra["target"]


class DensityRatio(OutOfBagMethod):
    """Importance in [1 / clip, clip]; 1 for a row that is equally likely in both domains.

    Attributes:
        clip: largest ratio.

    Helps:
        Where only the features shift: the target has other users, items or hours than the log, and
        the label depends on features as before. Then it is the weight that theory prescribes.

    Hurts:
        Where p(y | x) shifts as well, and where the newest rows, which are the target, have wrong
        labels, as with late purchases. Features that reveal the time by themselves (a history that
        grows) separate the domains and leave few effective samples.

    Refuses:
        Training rows of which none, or all, are target rows.
    """

    uses_label: ClassVar[bool] = False
    assumes: ClassVar[str] = "p(x) differs between target and rest, and p(y | x) does not"
    passes: ClassVar[int] = 1

    method: Literal["density_ratio"] = "density_ratio"
    training: DomainTraining = DomainTraining()
    clip: float = Field(default=10.0, gt=1)

    def statistic(self, outputs: EnsembleOutputs, learner: Learner) -> Tensor:
        """Log odds of being a target row, float32 [B, M]."""
        return outputs.logits(learner)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The ratio, where the domains can be distinguished."""
        return DensityRatioModel(self)


class DensityRatioModel(OutOfBagModel):
    """The ratio, from log odds and the sizes of the domains.

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
        # Bins are narrow around 0 and reach to infinity.
        position = (log_odds / (1 + log_odds.abs()) + 1) / 2 * _BINS
        fold = outputs.unseen(self.checkpoints()[0]).argmax(1)
        domain = outputs.batch.extra["target"].long()
        index = (fold * 2 + domain) * _BINS + position.long().clamp(0, _BINS - 1)
        self.counts += torch.bincount(index, minlength=self.counts.numel()).view_as(self.counts)

    def sums(self) -> list[Tensor]:
        """The counts."""
        return [self.counts]

    def finish(self, number: int) -> None:
        """Computes the AUC, its error and the sizes of the domains from the counts."""
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
    zeros, ones = counts[:, 0], counts[:, 1]
    n_zeros, n_ones = zeros.sum(1), ones.sum(1)
    pairs = n_zeros * n_ones
    # Half of the pairs in the same bin count as correctly ordered.
    ordered = (ones * (zeros.cumsum(1) - zeros / 2)).sum(1)
    auc = ordered / pairs.clamp(min=1)
    q_1, q_2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    squares = auc * (1 - auc) + (n_ones - 1) * (q_1 - auc**2) + (n_zeros - 1) * (q_2 - auc**2)
    share = pairs / pairs.sum()
    variance = (share**2 * squares / pairs.clamp(min=1)).sum()
    return float((share * auc).sum()), float(variance.sqrt())
