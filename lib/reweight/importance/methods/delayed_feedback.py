"""`delayed_feedback`: corrects rows whose label window is open for labels that are yet to arrive.

Let e be the share of the window that had passed when the training data were cut, p(x) = P(the label
arrives within the window) and F(e, x) = P(it has arrived by e | it arrives). There are three forms:

`fsiw`: the importance weights of Yasui et al. 2020, "A Feedback Shift Correction in Predicting
Conversion Rates under Delayed Feedback". They are 1 once the window has closed.

    y = 1:  1 / F(e, x)
    y = 0:  1 - p (1 - F) / (1 - p F)  =  (1 - p) / (1 - p F)  =  P(never | not by e, x)

`es_dfm`: the elapsed-time sampling of Yang et al. 2021, "Capturing Delayed Feedback in Conversion
Rate Prediction via Elapsed-Time Sampling". A row enters when the share c of its window has passed
(``wait``), with the label that it has then; a label that arrives later enters as an additional row.

    not yet c:               0
    y = 1 at c, or later:    1 + d,         d = p (1 - F(c, x))
    y = 0 at c:              (1 + d) r,     r = (1 - p) / (1 - p F(c, x))

`fnw`: the fake negative weighted loss of Ktena et al. 2019, "Addressing Delayed Feedback for
Continuous Training with Neural Networks in CTR Prediction": the same without waiting. Every row
enters as a negative: c = 0, F = 0, d = p, r = 1 - p.

A row that enters as a negative and later as a positive becomes one row, with the sum of their
importance and a soft label: to a ranker the two are equivalent.

p and F are fitted on settled rows only, F at elapsed times drawn for each settled positive, so
nothing is used that was not known at the cut. Rows are scored by members that did not see them.
"""

from dataclasses import replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
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

# Elapsed times drawn for each settled positive, one from each of this many equal intervals.
_DRAWS = 4
# Makes the draws of a row independent of its folds.
_SEED_OFFSET = 7919


class DelayTraining(FoldsTraining):
    """Members that learn whether and when a label arrives, each trained on all folds but one."""

    needs: ClassVar[tuple[str, ...]] = ("delay", "elapsed", "mature")

    def build(self, facts: TrainFacts) -> Learner:
        """The members before training."""
        return DelayLearner(self, facts)


class DelayLearner(SettledLearner):
    """Two ensembles on the same folds: p from the label, F from the delay of the label.

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
        # A mean over positives, as p's loss is one over rows, so that both learn at the same rate.
        self.scale = facts.rows / facts.positives
        self.seed = facts.seed + _SEED_OFFSET

    def arrived(self, batch: Batch, elapsed: Tensor) -> Tensor:
        """Log odds of F at the given elapsed times (shares of the window, [B]), float32 [B, M]."""
        features = torch.cat([batch.features, elapsed[:, None]], dim=1)
        logits: Tensor = self.arrival(replace(batch, features=features))
        return logits

    def also(self, batch: Batch, seen: Tensor, settled: Tensor) -> Tensor:
        """The loss of F: mean error over the draws of a settled positive, summed over members."""
        delay = batch.extra["delay"]
        usable = settled & (batch.label > 0.5) & delay.isfinite()
        chosen = usable.nonzero()[:, 0]
        positives, delay = batch.rows(chosen), delay[chosen]
        drawn = (bits(positives.sample_id, self.seed) % 2**24).float() / 2**24
        total = torch.zeros((), device=delay.device)
        for interval in range(_DRAWS):
            elapsed = (interval + drawn) / _DRAWS
            logits = self.arrived(positives, elapsed)
            arrived = (delay <= elapsed).float()[:, None].expand_as(logits)
            errors = functional.binary_cross_entropy_with_logits(logits, arrived, reduction="none")
            total = total + (seen[chosen] * errors).sum()
        return self.scale * total / _DRAWS


class DelayedFeedback(EnsembleMethod):
    """Importance 1 for settled rows, at most ``clip`` for open ones; at most 4 in the other forms.

    Attributes:
        form: ``fsiw``, ``es_dfm`` or ``fnw``.
        wait: c of ``es_dfm``, as a share of the label window.
        clip: largest importance under ``fsiw``.

    Helps:
        Where purchases arrive late and the newest rows are needed because preferences change:
        ``splits: {by: time, open_windows: train}``.

    Hurts:
        Where delays differ between old and new rows, and where few settled positives show the
        delay. Where purchases arrive at once, it has nothing to correct and only adds variance. The
        forms other than ``fsiw`` are made for a stream of rows: on a complete log they ignore what
        is known about settled negatives, and what may still arrive for open rows.

    Refuses:
        Training rows without an open window, or without a settled positive whose label has a known
        arrival time. A class so rare that some member of the ensemble is likely to see none of it.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "given x, labels are as late for new rows as for old ones"
    cost: ClassVar[str] = "2 E M F"

    method: Literal["delayed_feedback"] = "delayed_feedback"
    training: DelayTraining = DelayTraining()
    form: Literal["fsiw", "es_dfm", "fnw"] = "fsiw"
    wait: float = Field(default=0.1, gt=0, lt=1)
    clip: float = Field(default=20.0, gt=1)

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        used = {"fsiw": "clip", "es_dfm": "wait"}.get(self.form)
        self.refuse_unused(f"form: {self.form}", *[n for n in ("wait", "clip") if n != used])
        return self

    @property
    def soft(self) -> bool:  # type: ignore[override]
        """Unless ``form`` is ``fsiw``: a row may count as a negative and as a positive."""
        return self.form != "fsiw"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula of the form."""
        if self.form == "fsiw":
            return ShiftModel(self.clip)
        return SampledModel(self.wait if self.form == "es_dfm" else 0.0)


class DelayModel(ImportanceModel):
    """A formula over p and F."""

    def comes(self, outputs: EnsembleOutputs) -> Tensor:
        """p, float32 [B]."""
        return self.mean_unseen(outputs, outputs.probability)

    def arrived(self, outputs: EnsembleOutputs, elapsed: Tensor, when: str) -> Tensor:
        """F at the given elapsed times (shares of the window, [B]), float32 [B].

        Args:
            outputs: the ensemble outputs of the rows.
            elapsed: the times.
            when: a name for these times, under which the outputs are cached.
        """

        def probability(learner: Learner) -> Tensor:
            assert isinstance(learner, DelayLearner)
            arrived = learner.arrived
            return outputs.once(
                learner, f"arrived {when}", lambda: arrived(outputs.batch, elapsed).sigmoid()
            )

        return self.mean_unseen(outputs, probability)


class ShiftModel(DelayModel):
    """The formula of ``fsiw``.

    Args:
        clip: largest importance.
    """

    def __init__(self, clip: float) -> None:
        super().__init__()
        self.clip = clip

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The importance weights, float32 [B]."""
        batch = outputs.batch
        # A row without a window (unknown elapsed time) is settled.
        elapsed = batch.extra["elapsed"].nan_to_num(nan=1.0).clamp(0, 1)
        p, f = self.comes(outputs), self.arrived(outputs, elapsed, "by the cut")
        positive = (1 / f).clamp(max=self.clip)
        negative = (1 - p) / (1 - p * f).clamp(min=1e-6)
        weights = torch.where(batch.label > 0.5, positive, negative)
        return torch.where(elapsed < 1, weights, 1.0)


class SampledModel(DelayModel):
    """The formula of ``es_dfm``, and of ``fnw`` if nothing is waited for.

    Args:
        wait: c, as a share of the label window.
    """

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The sum for the positive and the negative, float32 [B]."""
        positive, negative = self._entered(outputs)
        return positive + negative

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """The positive's share of the importance; the recorded label if the importance is 0."""
        positive, negative = self._entered(outputs)
        total = positive + negative
        return torch.where(total > 0, positive / total, outputs.batch.label)

    def _entered(self, outputs: EnsembleOutputs) -> tuple[Tensor, Tensor]:
        """Importance of the positive and of the negative that a row counts as, float32 [B]."""
        batch = outputs.batch
        elapsed, delay = batch.extra["elapsed"], batch.extra["delay"]
        p, times = self.comes(outputs), torch.full_like(elapsed, self.wait)
        # No label has arrived at time 0.
        f = self.arrived(outputs, times, f"at {self.wait}") if self.wait else times
        scale = 1 + p * (1 - f)
        label = (batch.label > 0.5).float()
        late = (delay > self.wait).float()
        positive = scale * label
        negative = scale * (1 - p) / (1 - p * f).clamp(min=1e-6) * torch.maximum(1 - label, late)
        waited = (elapsed >= self.wait).float()
        # A row without a window is settled.
        settled = elapsed.isnan()
        return (
            torch.where(settled, label, positive * waited),
            torch.where(settled, 1 - label, negative * waited),
        )
