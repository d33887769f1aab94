"""`delayed_feedback`: corrects rows whose label window is open for labels that are yet to arrive.

Let e be the share of the label window that had passed when the training data were cut, or the age
of the row in days if there is no window; p(x) = P(the label arrives) and F(e, x) = P(it has arrived
by e | it arrives). There are four forms:

`fsiw`: the importance weights of Yasui et al. 2020, "A Feedback Shift Correction in Predicting
Conversion Rates under Delayed Feedback". They are 1 once the window has closed.

    y = 1:  1 / F(e, x)
    y = 0:  1 - p (1 - F) / (1 - p F)  =  (1 - p) / (1 - p F)  =  P(never | not by e, x)

`posterior`: soft labels with weight 1, as in the E step of Chapelle 2014, "Modeling Delayed
Feedback in Display Advertising". A row is positive with the probability

    y = 1:  1
    y = 0:  p (1 - F) / (1 - p F)  =  P(later | not by e, x)

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

A label event that is taken back later (``sampling.label.undo``) counts as positive until then. With
`training: {undo: true}` that is learnt too: r(x) = P(it is taken back) and K(e, x) = P(it is there
at e | it is taken back); p is then the chance of a label that stays. At e a row is positive with
the probability p F + r K = p A, where A = F + K r / p, so `fsiw` and `posterior` become

    fsiw       y = 1:  1 / A;     y = 0:  (1 - p) / (1 - p A)
    posterior  y = 1:  F / A;     y = 0:  p (1 - F) / (1 - p A)

A row is open until neither can happen any more.

Where label windows close, p and F are fitted on settled rows only, F at elapsed times drawn for
each settled positive. A label that may arrive at any time never settles as a negative: with
`training: {delays: weibull}` F is a Weibull distribution, fitted to the delays known at the cut and
to the ages of the rows without a label, and p follows from all rows. In both ways nothing is used
that was not known at the cut, and rows are scored by members that did not see them.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from reweight.importance.base import ImportanceModel
from reweight.importance.batch import Batch
from reweight.importance.delays import DelayLearner, DelayTraining, WeibullLearner
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.out_of_bag import EnsembleMethod
from reweight.importance.training import Learner, TrainFacts


class DelayedFeedback(EnsembleMethod):
    """Importance 1 for settled rows; for open ones at most ``clip``, 1 or 4, depending on the form.

    Attributes:
        form: ``fsiw``, ``posterior``, ``es_dfm`` or ``fnw``.
        wait: c of ``es_dfm``, as a share of the label window.
        clip: largest importance under ``fsiw``.

    Helps:
        Where purchases arrive late and the newest rows are needed because preferences change:
        ``splits: {by: time, open_windows: train}``.

    Hurts:
        Where delays differ between old and new rows, and where few positives show the delay. Where
        purchases arrive at once, it has nothing to correct and only adds variance. ``posterior``
        carries the old relation between features and label into the new rows. ``es_dfm`` and
        ``fnw`` are made for a stream of rows: on a complete log they ignore what is known about
        settled negatives, and what may still arrive for open rows.

    Refuses:
        Training rows without an open window, or without a settled positive (with ``delays:
        weibull`` any positive) whose label has a known arrival time. ``delays: settled`` without a
        label window, and ``weibull`` with one. A class so rare that some member of the ensemble is
        likely to see none of it. ``sampling.negatives``.
    """

    uses_label: ClassVar[bool] = True
    needs_all_negatives: ClassVar[bool] = True
    assumes: ClassVar[str] = "given x, labels are as late for new rows as for old ones"
    cost: ClassVar[str] = "2 E M F"

    method: Literal["delayed_feedback"] = "delayed_feedback"
    training: DelayTraining = DelayTraining()
    form: Literal["fsiw", "posterior", "es_dfm", "fnw"] = "fsiw"
    wait: float = Field(default=0.1, gt=0, lt=1)
    clip: float = Field(default=20.0, gt=1)

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        used = {"fsiw": "clip", "es_dfm": "wait"}.get(self.form)
        self.refuse_unused(f"form: {self.form}", *[n for n in ("wait", "clip") if n != used])
        if self.training.undo and self.form in ("es_dfm", "fnw"):
            raise ValueError(
                f"form: {self.form} counts a label event as it enters, whatever comes after; with "
                "training.undo write form: fsiw or form: posterior"
            )
        if self.training.delays == "weibull" and self.form in ("es_dfm", "fnw"):
            raise ValueError(
                f"form: {self.form} is for label windows that end; with training.delays: weibull "
                "write form: fsiw or form: posterior"
            )
        return self

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of ``training``."""
        return self.training.needs

    @property
    def soft(self) -> bool:  # type: ignore[override]
        """Unless ``form`` is ``fsiw``: a row may count as a negative and as a positive."""
        return self.form != "fsiw"

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """The formula of the form."""
        # Elapsed times are shares of a window, which is over at 1, or days without an end.
        end = math.inf if self.training.delays == "weibull" else 1.0
        if self.form == "fsiw":
            return ShiftModel(end, self.clip, undo=self.training.undo)
        if self.form == "posterior":
            return PosteriorModel(end, undo=self.training.undo)
        return SampledModel(end, self.wait if self.form == "es_dfm" else 0.0)


class DelayModel(ImportanceModel):
    """A formula over p and F.

    Args:
        end: the elapsed time at which all labels have arrived.
        undo: whether label events may be taken back.
    """

    def __init__(self, end: float, *, undo: bool = False) -> None:
        super().__init__()
        self.end, self.undo = end, undo

    def open(self, batch: Batch) -> Tensor:
        """Which rows are not settled, bool [B]; a row without an elapsed time is."""
        elapsed = batch.extra["elapsed"]
        if self.undo:
            return (batch.extra["mature"] < 0.5) & ~elapsed.isnan()
        return elapsed < self.end

    def at_open(
        self,
        outputs: EnsembleOutputs,
        formula: Callable[[EnsembleOutputs], Tensor],
        settled: Tensor,
    ) -> Tensor:
        """A formula at open rows and a value at settled ones, which are most, float32 [B]."""
        return outputs.at(self.open(outputs.batch), (self.end, self.undo), formula, settled)

    def now(self, outputs: EnsembleOutputs) -> tuple[Tensor, Tensor, Tensor]:
        """p, and F and A at the elapsed time of each row, float32 [B] each.

        Without ``undo``, F and A are the same.
        """
        unclamped = outputs.batch.extra["elapsed"].nan_to_num(nan=1.0)
        elapsed = unclamped.clamp(0, self.end)
        p, f = self.comes(outputs), self.arrived(outputs, elapsed, "by the cut")
        if not self.undo:
            return p, f, f
        f = torch.where(unclamped >= self.end, 1.0, f)
        return p, f, f + self._stays(outputs, unclamped) / p.clamp(min=1e-6)

    def _stays(self, outputs: EnsembleOutputs, elapsed: Tensor) -> Tensor:
        """r K, float32 [B]."""

        def probability(learner: Learner) -> Tensor:
            assert isinstance(learner, DelayLearner)

            def present_and_undone() -> Tensor:
                present = learner.there(outputs.batch, elapsed).sigmoid()
                return learner.undone(outputs.batch).sigmoid() * present

            return outputs.once(learner, "there, and taken back later", present_and_undone)

        return self.mean_unseen(outputs, probability)

    def comes(self, outputs: EnsembleOutputs) -> Tensor:
        """p, float32 [B]."""
        return self.mean_unseen(outputs, outputs.probability)

    def arrived(self, outputs: EnsembleOutputs, elapsed: Tensor, when: str) -> Tensor:
        """F at the given elapsed times ([B]), float32 [B].

        Args:
            outputs: the ensemble outputs of the rows.
            elapsed: the times.
            when: a name for these times, under which the outputs are cached.
        """

        def probability(learner: Learner) -> Tensor:
            assert isinstance(learner, DelayLearner | WeibullLearner)
            arrived = learner.arrived
            return outputs.once(
                learner, f"arrived {when}", lambda: arrived(outputs.batch, elapsed).sigmoid()
            )

        return self.mean_unseen(outputs, probability)


class ShiftModel(DelayModel):
    """The formula of ``fsiw``.

    Args:
        end: the elapsed time at which a row is settled.
        clip: largest importance.
        undo: whether label events may be taken back.
    """

    def __init__(self, end: float, clip: float, *, undo: bool = False) -> None:
        super().__init__(end, undo=undo)
        self.clip = clip

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """The importance weights, float32 [B]."""

        def of_open(rows: EnsembleOutputs) -> Tensor:
            p, _, a = self.now(rows)
            negative = (1 - p) / (1 - p * a).clamp(min=1e-6)
            return torch.where(rows.batch.label > 0.5, 1 / a, negative).clamp(max=self.clip)

        return self.at_open(outputs, of_open, torch.ones_like(outputs.batch.label))


class PosteriorModel(DelayModel):
    """The formula of ``posterior``."""

    def importance(self, outputs: EnsembleOutputs) -> Tensor:
        """1 for every row, float32 [B]."""
        return torch.ones_like(outputs.batch.label)

    def soft_label(self, outputs: EnsembleOutputs) -> Tensor:
        """The chance that the label has arrived or will, and stays, float32 [B]."""

        def of_open(rows: EnsembleOutputs) -> Tensor:
            label, (p, f, a) = rows.batch.label, self.now(rows)
            late = p * (1 - f) / (1 - p * a).clamp(min=1e-6)
            stays = f / a.clamp(min=1e-6) if self.undo else label
            # With `undo`, p and r come from networks of their own, and p A may exceed 1.
            return torch.where(label < 0.5, late, stays).clamp(max=1)

        return self.at_open(outputs, of_open, outputs.batch.label)


class SampledModel(DelayModel):
    """The formula of ``es_dfm``, and of ``fnw`` if nothing is waited for.

    Args:
        end: the elapsed time at which a row is settled.
        wait: c, as a share of the label window.
    """

    def __init__(self, end: float, wait: float) -> None:
        super().__init__(end)
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
