"""`delayed_feedback`: rows whose label window is open stand for those that are settled.

    y = 1:  1 / F(e, x)
    y = 0:  1 - p (1 - F) / (1 - p F)  =  (1 - p) / (1 - p F)  =  P(never | not by e, x)

with e the share of the window that had passed when the training data were cut, p(x) = P(the label
comes within the window) and F(e, x) = P(it is there at e | it comes): the importance weights of
Yasui et al. 2020, "A Feedback Shift Correction in Predicting Conversion Rates under Delayed
Feedback" (FSIW). They are 1 where the window is over. Both are fitted on settled rows alone, F at
elapsed times drawn for each of its positives, so nothing is read that was not known at the cut; and
a row is scored by members that did not see it.
"""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from reweight.batch import Batch
from reweight.importance.base import ImportanceModel
from reweight.importance.ensemble import Ensemble, FoldsTraining, bits
from reweight.importance.evidence import Evidence
from reweight.importance.reading import EnsembleMethod
from reweight.importance.training import Learner, TrainFacts
from reweight.importance.windows import SettledLearner

# Elapsed times at which a settled positive is looked at, one from each of as many equal stretches.
_LOOKS = 4
# So that the draw of a row's elapsed times has nothing to do with its folds.
_DRAW = 7919


class DelayTraining(FoldsTraining):
    """Members that learn whether a label comes and when, each on all folds but one."""

    needs: ClassVar[tuple[str, ...]] = ("delay", "elapsed", "mature")

    def build(self, facts: TrainFacts) -> Learner:
        """The members before training."""
        return DelayLearner(self, facts)


class DelayLearner(SettledLearner):
    """Two ensembles of the same folds: p by the label, F by the label's delay.

    Its log odds are those of p.
    """

    def __init__(self, training: DelayTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        edges = torch.linspace(0, 1, training.bins + 1).tolist() if training.bins else ()
        timed = {"dim": facts.dim + 1, "quantiles": (*facts.quantiles, tuple(edges))}
        self.arrival = Ensemble(
            facts.model_copy(update=timed if training.bins else {"dim": facts.dim + 1}),
            members=training.members,
            membership=training.membership,
            hidden=training.hidden,
            embedding=training.embedding,
            bins=training.bins,
        )
        # A mean over positives, as p's is over rows: both learn at one rate.
        self.scale = facts.rows / facts.positives
        self.seed = facts.seed + _DRAW

    def arrived(self, batch: Batch, elapsed: Tensor) -> Tensor:
        """Log odds of F at these elapsed times (shares of the window, [B]), float32 [B, M]."""
        features = torch.cat([batch.features, elapsed[:, None]], dim=1)
        found: Tensor = self.arrival(replace(batch, features=features))
        return found

    def also(self, batch: Batch, seen: Tensor, settled: Tensor) -> Tensor:
        """The sum over settled positives of the mean error of their looks, summed over members."""
        delay = batch.extra["delay"]
        known = settled & (batch.label > 0.5) & delay.isfinite()
        chosen = known.nonzero()[:, 0]
        positives, delay = batch.rows(chosen), delay[chosen]
        drawn = (bits(positives.sample_id, self.seed) % 2**24).float() / 2**24
        total = torch.zeros((), device=delay.device)
        for look in range(_LOOKS):
            elapsed = (look + drawn) / _LOOKS
            logits = self.arrived(positives, elapsed)
            there = (delay <= elapsed).float()[:, None].expand_as(logits)
            errors = functional.binary_cross_entropy_with_logits(logits, there, reduction="none")
            total = total + (seen[chosen] * errors).sum()
        return self.scale * total / _LOOKS


class DelayedFeedback(EnsembleMethod):
    """Importance 1 for settled rows, at most ``clip`` for open ones.

    Attributes:
        clip: largest importance.

    Helps:
        Where purchases come late and the newest rows are needed, since what people want changes:
        ``splits: {by: time, open_windows: train}``.

    Hurts:
        Where old and new rows differ in how late labels come, and where few settled positives tell
        of it. Where purchases come at once it has nothing to mend and some variance to add.

    Refuses:
        Training rows of which no window is open, or without a settled positive. Training rows so
        few of a class that some member of the ensemble is likely to see none.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "how late labels come, given x, is the same for old and new rows"
    cost: ClassVar[str] = "2 E M F"

    method: Literal["delayed_feedback"] = "delayed_feedback"
    training: DelayTraining = DelayTraining()
    clip: float = Field(default=20.0, gt=1)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula."""
        return DelayedFeedbackModel(self.clip)


class DelayedFeedbackModel(ImportanceModel):
    """The formula of the module.

    Args:
        clip: largest importance.
    """

    def __init__(self, clip: float) -> None:
        super().__init__()
        self.clip = clip

    def importance(self, evidence: Evidence) -> Tensor:
        """float32 [B]."""
        batch = evidence.batch
        # A row without a window (an elapsed time that is not known) is settled.
        elapsed = batch.extra["elapsed"].nan_to_num(nan=1.0).clamp(0, 1)

        def arrived(learner: Learner) -> Tensor:
            assert isinstance(learner, DelayLearner)
            return learner.arrived(batch, elapsed).sigmoid()

        p = self.mean_unseen(evidence, evidence.probability)
        f = self.mean_unseen(evidence, arrived)
        positive = (1 / f).clamp(max=self.clip)
        negative = (1 - p) / (1 - p * f).clamp(min=1e-6)
        weights = torch.where(batch.label > 0.5, positive, negative)
        return torch.where(elapsed < 1, weights, 1.0)
