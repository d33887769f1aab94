"""`group_dro`: weights of segments that grow with the segment's loss while a network is trained.

    theta <- a step on sum_g q_g l_g           (l_g: mean loss of the batch's rows of segment g)
    q_g <- q_g exp(eta l_g), normalised
    importance of a row = q_g / p_g            (p_g: share of g in the training rows)

Sagawa et al. 2020, "Distributionally Robust Neural Networks for Group Shifts", who find eta 0.01.
q tends to the mixture of segments that is the hardest to serve. It wavers, so importance takes its
mean over the ends of the kept epochs; the mean importance of the training rows is 1. A segment
without rows in a batch keeps its q, and the others share what they had. Rows of no known segment
are one more group.

In the descended loss l_g is not divided by the batch's rows of g but by as many as are expected
(from the batches before; in the first, equally many of each): the loss is then a plain sum over
rows, however they are dealt to ranks. The l_g that moves q is the mean over all ranks' rows.
"""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel, Polarity
from reweight.importance.batch import Batch
from reweight.importance.network import NetworkLearner, NetworkTraining
from reweight.importance.ranks import summed
from reweight.importance.segment_weights import SegmentWeightsModel
from reweight.importance.training import Checkpoints, Learner, TrainFacts, Training


class GroupDroTraining(NetworkTraining):
    """The network and the weights of segments, side by side.

    Attributes:
        eta: how fast q follows the losses; 0 gives all segments the same weight in all.
    """

    needs: ClassVar[tuple[str, ...]] = ("segment",)

    eta: float = Field(default=0.01, ge=0)

    def build(self, facts: TrainFacts) -> Learner:
        """The network before training, and equal q."""
        return GroupDroLearner(self, facts)


class GroupDroLearner(NetworkLearner):
    """The loss of the module at the q of the steps before.

    Attributes:
        log_q: logarithm of q, which cannot fall to 0, float64 [S + 1].
        seen: rows of the steps before by segment, float64 [S + 1].
    """

    log_q: Tensor
    seen: Tensor

    def __init__(self, training: GroupDroTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        self.eta = training.eta
        groups = len(facts.segments) + 1
        equal = torch.full((groups,), -math.log(groups), dtype=torch.float64)
        self.register_buffer("log_q", equal)
        self.register_buffer("seen", torch.zeros_like(equal))
        self._last: list[Tensor] = []

    def loss(self, batch: Batch, rows: int) -> tuple[Tensor, Tensor]:
        """The mean of the losses, weighted by q over the share of the row's segment."""
        losses, group = self.losses(batch), batch.extra["segment"].long()
        if torch.is_grad_enabled():
            sums = torch.zeros_like(self.seen).index_add(0, group, losses.detach().double())
            self._last = summed((sums, torch.bincount(group, minlength=len(sums)).double()))
        # One row more of each, so that none has a share of 0.
        share = (self.seen + 1) / (self.seen + 1).sum()
        weight = (self.log_q.exp() / share).float()
        return (weight[group] * losses).sum() / rows, torch.full((), math.nan)

    @torch.no_grad()
    def stepped(self) -> None:
        """Moves q by the losses of the last step's global batch."""
        sums, rows = self._last
        there = rows > 0
        moved = self.log_q + self.eta * sums / rows.clamp(min=1)
        lost = moved[there].logsumexp(0) - self.log_q[there].logsumexp(0)
        self.log_q.copy_(torch.where(there, moved - lost, self.log_q))
        self.seen += rows


class GroupDro(ImportanceMethod):
    """Importance q_g / p_g, one number for each segment.

    Attributes:
        training: of the network and q.
        keep: the epochs at whose ends q is read.

    Helps:
        Where a segment is served badly because it is small, and the worst segment counts.

    Hurts:
        A network that fits all of its training rows has no worst segment, and q stays where it is.
        A segment that is hard because its labels are noise gets the weight of a neglected one.

    Refuses:
        Training rows without segments, or with more than 1,000 of them.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "the worst segment counts, and its loss is high for want of weight"
    needs: ClassVar[tuple[str, ...]] = ("segment",)
    passes: ClassVar[int] = 1

    method: Literal["group_dro"] = "group_dro"
    training: GroupDroTraining = GroupDroTraining()
    keep: Checkpoints = Checkpoints(count=5)

    def learns(self) -> Training:
        """The network and q."""
        return self.training

    def checkpoint_choice(self) -> Checkpoints:
        """As the config says."""
        return self.keep

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A table of weights."""
        return GroupDroModel(facts)


class GroupDroModel(SegmentWeightsModel):
    """q_g / p_g, the same for both labels; 1 for segments without training rows."""

    def weights(self, counts: Tensor) -> Tensor:
        """float64 [S + 1, 2]."""
        rows = counts.sum(1)
        q = torch.stack([self._q(learner) for learner in self.checkpoints()]).mean(0)
        q = torch.where(rows > 0, q, 0.0)
        weight = torch.where(rows > 0, q / q.sum() * rows.sum() / rows, 1.0)
        return weight[:, None].expand_as(counts)

    @staticmethod
    def _q(learner: Learner) -> Tensor:
        assert isinstance(learner, GroupDroLearner)
        return learner.log_q.exp()
