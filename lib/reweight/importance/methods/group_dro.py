"""`group_dro`: segment weights that grow with the segment's loss while a network is trained.

    theta <- a step on sum_g q_g l_g           (l_g: mean loss of the batch's rows in segment g)
    q_g <- q_g exp(eta l_g), normalised
    importance of a row = q_g / p_g            (p_g: share of g in the training rows)

Sagawa et al. 2020, "Distributionally Robust Neural Networks for Group Shifts", who find eta = 0.01.
q tends to the mixture of segments that is hardest to serve. It fluctuates, so importance uses its
mean over the checkpoints; the mean importance of the training rows is 1. A segment without rows in
a batch keeps its q, and the others share what they had. Rows without a known segment form one more
group.

In the training loss, l_g is divided not by the number of the batch's rows in g but by the expected
number (from earlier batches; in the first, the same for every segment): the loss is then a plain
sum over rows, however they are dealt to ranks. The l_g that moves q is the mean over the rows of
all ranks.
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
    """The network and the segment weights, trained side by side.

    Attributes:
        eta: how fast q follows the losses; 0 gives all segments the same total weight.
    """

    needs: ClassVar[tuple[str, ...]] = ("segment",)

    eta: float = Field(default=0.01, ge=0)

    def build(self, facts: TrainFacts) -> Learner:
        """An untrained network, and equal q."""
        return GroupDroLearner(self, facts)


class GroupDroLearner(NetworkLearner):
    """The loss of the module, with q from the steps so far.

    Attributes:
        log_q: logarithm of q, so that q cannot reach 0, float64 [S + 1].
        seen: rows of the steps so far by segment, float64 [S + 1].
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
        """The mean loss, with each row weighted by q over the share of its segment."""
        losses, group = self.losses(batch), batch.extra["segment"].long()
        if torch.is_grad_enabled():
            sums = torch.zeros_like(self.seen).index_add(0, group, losses.detach().double())
            self._last = summed((sums, torch.bincount(group, minlength=len(sums)).double()))
        # One extra row per segment, so that none has a share of 0.
        share = (self.seen + 1) / (self.seen + 1).sum()
        weight = (self.log_q.exp() / share).float()
        return (weight[group] * losses).sum() / rows, losses.new_full((), math.nan)

    @torch.no_grad()
    def stepped(self) -> None:
        """Updates q by the losses of the last global batch."""
        sums, rows = self._last
        present = rows > 0
        moved = self.log_q + self.eta * sums / rows.clamp(min=1)
        excess = moved[present].logsumexp(0) - self.log_q[present].logsumexp(0)
        self.log_q.copy_(torch.where(present, moved - excess, self.log_q))
        self.seen += rows


class GroupDro(ImportanceMethod):
    """Importance q_g / p_g, one number for each segment.

    Attributes:
        training: of the network and q.
        keep: the checkpoints at which q is read.

    Helps:
        Where a segment is served badly because it is small, and the worst segment matters.

    Hurts:
        A network that fits all of its training rows has no worst segment, and q does not move. A
        segment that is hard because its labels are noisy is weighted like a neglected one.

    Refuses:
        Training rows without segments, or with more than 1,000 segments.
    """

    polarity: ClassVar[Polarity] = "hard"
    assumes: ClassVar[str] = "the worst segment matters, and its loss is high for lack of weight"
    needs: ClassVar[tuple[str, ...]] = ("segment",)
    passes: ClassVar[int] = 1

    method: Literal["group_dro"] = "group_dro"
    training: GroupDroTraining = GroupDroTraining()
    keep: Checkpoints = Checkpoints(count=5)

    def learns(self) -> Training:
        """The network and q."""
        return self.training

    def checkpoint_choice(self) -> Checkpoints:
        """Set by ``keep``."""
        return self.keep

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A table of segment weights."""
        return GroupDroModel(facts)


class GroupDroModel(SegmentWeightsModel):
    """q_g / p_g for both labels; 1 for segments without training rows."""

    def weights(self, counts: Tensor) -> Tensor:
        """The weight of each segment, the same for both labels, float64 [S + 1, 2]."""
        rows = counts.sum(1)
        q = torch.stack([self._q(learner) for learner in self.checkpoints()]).mean(0)
        q = torch.where(rows > 0, q, 0.0)
        weight = torch.where(rows > 0, q / q.sum() * rows.sum() / rows, 1.0)
        return weight[:, None].expand_as(counts)

    @staticmethod
    def _q(learner: Learner) -> Tensor:
        assert isinstance(learner, GroupDroLearner)
        return learner.log_q.exp()
