"""`delayed_feedback`: rows whose label window is open stand for those that are settled.

With e the share of the window that had passed when the training data were cut, p(x) = P(the label
comes within the window) and F(e, x) = P(it is there at e | it comes), in one of three forms:

`fsiw`: the importance weights of Yasui et al. 2020, "A Feedback Shift Correction in Predicting
Conversion Rates under Delayed Feedback". They are 1 where the window is over.

    y = 1:  1 / F(e, x)
    y = 0:  1 - p (1 - F) / (1 - p F)  =  (1 - p) / (1 - p F)  =  P(never | not by e, x)

`es_dfm`: the elapsed-time sampling of Yang et al. 2021, "Capturing Delayed Feedback in Conversion
Rate Prediction via Elapsed-Time Sampling". A row enters when the share c of its window has passed
(``wait``), with the label that it has then; a label that comes later enters as a row beside it.

    not yet c:               0
    y = 1 at c, or later:    1 + d,         d = p (1 - F(c, x))
    y = 0 at c:              (1 + d) r,     r = (1 - p) / (1 - p F(c, x))

`fnw`: the fake negative weighted loss of Ktena et al. 2019, "Addressing Delayed Feedback for
Continuous Training with Neural Networks in CTR Prediction": the same where nothing is waited for.
Every row enters as a negative: c = 0, F = 0, d = p, r = 1 - p.

A row that stands for a negative and, later, a positive is one of the sum of their importance with a
soft label: to a ranker the two are the same.

p and F are fitted on settled rows alone, F at elapsed times drawn for each of its positives, so
nothing is read that was not known at the cut; and a row is scored by members that did not see it.
"""

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.ensemble import Ensemble, FoldsTraining
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.label_windows import SettledLearner
from reweight.importance.membership import bits
from reweight.importance.out_of_bag import EnsembleMethod
from reweight.importance.training import Learner, TrainFacts

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
    """Importance 1 for settled rows, at most ``clip`` for open ones; at most 4 in other forms.

    Attributes:
        form: ``fsiw``, ``es_dfm`` or ``fnw``.
        wait: c of ``es_dfm``, a share of the label window.
        clip: largest importance of ``fsiw``.

    Helps:
        Where purchases come late and the newest rows are needed, since what people want changes:
        ``splits: {by: time, open_windows: train}``.

    Hurts:
        Where old and new rows differ in how late labels come, and where few settled positives tell
        of it. Where purchases come at once it has nothing to mend and some variance to add. The
        other forms than ``fsiw`` are made for a stream of rows: of a log that lies there they
        forget what is known of settled negatives, and of open rows what may still come.

    Refuses:
        Training rows of which no window is open, or without a settled positive of which it is known
        when its label came. Training rows so few of a class that some member of the ensemble is
        likely to see none.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "how late labels come, given x, is the same for old and new rows"
    cost: ClassVar[str] = "2 E M F"

    method: Literal["delayed_feedback"] = "delayed_feedback"
    training: DelayTraining = DelayTraining()
    form: Literal["fsiw", "es_dfm", "fnw"] = "fsiw"
    wait: float = Field(default=0.1, gt=0, lt=1)
    clip: float = Field(default=20.0, gt=1)

    @property
    def soft(self) -> bool:  # type: ignore[override]
        """Where rows stand for a negative and a positive."""
        return self.form != "fsiw"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula."""
        if self.form == "fsiw":
            return ShiftModel(self.clip)
        return SampledModel(self.wait if self.form == "es_dfm" else 0.0)


class DelayModel(ImportanceModel):
    """A formula over p and F."""

    def comes(self, outputs: EnsembleOutputs) -> Tensor:
        """p, float32 [B]."""
        return self.mean_unseen(outputs, outputs.probability)

    def arrived(self, outputs: EnsembleOutputs, elapsed: Tensor, when: str) -> Tensor:
        """F at these elapsed times (shares of the window, [B]), float32 [B].

        Args:
            outputs: of the rows.
            elapsed: the times.
            when: a name for them: what a learner says of them is computed once.
        """

        def chance(learner: Learner) -> Tensor:
            assert isinstance(learner, DelayLearner)
            arrived = learner.arrived
            return outputs.once(
                learner, f"arrived {when}", lambda: arrived(outputs.batch, elapsed).sigmoid()
            )

        return self.mean_unseen(outputs, chance)


class ShiftModel(DelayModel):
    """``fsiw``.

    Args:
        clip: largest importance.
    """

    def __init__(self, clip: float) -> None:
        super().__init__()
        self.clip = clip

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """float32 [B]."""
        batch = outputs.batch
        # A row without a window (an elapsed time that is not known) is settled.
        elapsed = batch.extra["elapsed"].nan_to_num(nan=1.0).clamp(0, 1)
        p, f = self.comes(outputs), self.arrived(outputs, elapsed, "by the cut")
        positive = (1 / f).clamp(max=self.clip)
        negative = (1 - p) / (1 - p * f).clamp(min=1e-6)
        weights = torch.where(batch.label > 0.5, positive, negative)
        return torch.where(elapsed < 1, weights, 1.0)


class SampledModel(DelayModel):
    """``es_dfm``, and ``fnw`` where nothing is waited for.

    Args:
        wait: c, a share of the label window.
    """

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """float32 [B]."""
        positive, negative = self._entered(outputs)
        return positive + negative

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """The positive's share of the importance; the recorded label of rows that weigh nothing."""
        positive, negative = self._entered(outputs)
        total = positive + negative
        return torch.where(total > 0, positive / total, outputs.batch.label)

    def _entered(self, outputs: EnsembleOutputs) -> tuple[Tensor, Tensor]:
        """Importance of the positive and of the negative that a row stands for, float32 [B]."""
        batch = outputs.batch
        elapsed, delay = batch.extra["elapsed"], batch.extra["delay"]
        p, times = self.comes(outputs), torch.full_like(elapsed, self.wait)
        # Nothing is there at once.
        f = self.arrived(outputs, times, f"at {self.wait}") if self.wait else times
        scale = 1 + p * (1 - f)
        came = (batch.label > 0.5).float()
        late = (delay > self.wait).float()
        positive = scale * came
        negative = scale * (1 - p) / (1 - p * f).clamp(min=1e-6) * torch.maximum(1 - came, late)
        waited = (elapsed >= self.wait).float()
        # A row without a window is settled.
        settled = elapsed.isnan()
        return (
            torch.where(settled, came, positive * waited),
            torch.where(settled, 1 - came, negative * waited),
        )
