"""Whether and when a label arrives: what `delayed_feedback` learns.

p(x) = P(the label arrives), F(t, x) = P(it has arrived by t | it arrives). With `undo`, p is the
chance that it arrives for good, and there are two more: r(x) = P(the label event is taken back) and
K(t, x) = P(it is there at t | it is taken back): it comes, and goes again.

There are two ways to learn p and F, and one for r and K:

`settled`: from rows whose label window has closed; F and K from their delays, at elapsed times
drawn for each.

`weibull`: from all rows, so that none has to be settled, which is all there is if labels may arrive
at any time. A delay d is known only if it is shorter than the age e of its row, so the delays that
are known are short ones, and the rows without a label say how many are still to come (Chapelle
2014, "Modeling Delayed Feedback in Display Advertising"):

    maximise  sum log(p f(d)) over arrived labels  +  sum log(1 - p F(e)) over the other rows,
              F(t) = 1 - exp(-(t / s)^k)

for k and s with one p for all rows, before the training, since that takes only counts of d and e.
Then members learn p(x) from the same sum. If rows are positive more often the newer they are,
delays look shorter than they are, and the weights correct less; if less often, they look longer.
Known delays alone, truncated at e (maximise sum log f(d) - log F(e)), do not depend on that, but
say little of longer ones: on the Olist funnel, two weeks before the first cut of
`conf/benchmark/olist_funnel.yaml`, they give a scale of 735 days, where the sum above gives 20.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional

from reweight.importance.batch import Batch
from reweight.importance.ensemble import Ensemble, EnsembleLearner, FoldsTraining
from reweight.importance.label_windows import SettledLearner, check_arrivals
from reweight.importance.membership import bits
from reweight.importance.thinning import thinned
from reweight.importance.training import Learner, TimeCounts, TrainFacts

# Elapsed times drawn for each settled positive, one from each of this many equal intervals.
_DRAWS = 4
# Makes the draws of a row independent of its folds.
_SEED_OFFSET = 7919
# Shorter times count as this long: the density of a Weibull distribution has no bound at 0.
SHORTEST = 1e-4
# Bins of counted times for each factor of e.
PER_E = 8
# Size of log (t / s)^k, so that nothing becomes 0 or infinite.
_LARGEST = 30.0


class DelayTraining(FoldsTraining):
    """Members that learn whether and when a label arrives, each trained on all folds but one.

    Attributes:
        delays: what they learn it from: ``settled``, rows whose label window has closed;
            ``weibull``, all rows, for labels that may arrive at any time (no
            ``sampling.label.window``).
        undo: whether they also learn whether and when a label event is taken back
            (``sampling.label.undo``); with ``delays: settled``.
    """

    delays: Literal["settled", "weibull"] = "settled"
    undo: bool = False

    @model_validator(mode="after")
    def _undoes_settled(self) -> Self:
        if self.undo and self.delays == "weibull":
            raise ValueError(
                "undo: whether a label stays is learnt from settled rows; with delays: weibull "
                "there are none; remove one of the two"
            )
        return self

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``delay`` and ``elapsed``; ``delays: settled`` adds ``mature``, and undo ``undone``."""
        needed = ("delay", "elapsed")
        settled = () if self.delays == "weibull" else ("mature",)
        return (*needed, *settled, *(("undone",) if self.undo else ()))

    @property
    def counts_times(self) -> bool:
        """With ``delays: weibull``."""
        return self.delays == "weibull"

    def build(self, facts: TrainFacts) -> Learner:
        """The members before training."""
        learner = WeibullLearner if self.delays == "weibull" else DelayLearner
        return learner(self, facts)


class DelayLearner(SettledLearner):
    """Two ensembles on the same folds: p from the label, F from the delay of the label.

    With ``undo`` two more: r from which label events are taken back, K from when they are there.
    Its log odds are those of p.
    """

    def __init__(self, training: DelayTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        edges = torch.linspace(0, 1, training.bins + 1).tolist() if training.bins else ()
        timed = {"dim": facts.dim + 1, "quantiles": (*facts.quantiles, tuple(edges))}
        with_time = facts.model_copy(update=timed if training.bins else {"dim": facts.dim + 1})
        self.arrival = _ensemble_on_folds(training, with_time)
        self.undo = training.undo
        if training.undo:
            self.taken_back = _ensemble_on_folds(training, facts)
            self.stay = _ensemble_on_folds(training, with_time)
        # A mean over positives, as p's loss is one over rows, so that both learn at the same rate.
        self.scale = facts.rows / facts.positives
        self.seed = facts.seed + _SEED_OFFSET

    def arrived(self, batch: Batch, elapsed: Tensor) -> Tensor:
        """Log odds of F at the given elapsed times (shares of the window, [B]), float32 [B, M]."""
        logits: Tensor = self.arrival(_with_times(batch, elapsed))
        return logits

    def undone(self, batch: Batch) -> Tensor:
        """Log odds of r, float32 [B, M]."""
        logits: Tensor = self.taken_back(batch)
        return logits

    def there(self, batch: Batch, elapsed: Tensor) -> Tensor:
        """Log odds of K at the given elapsed times (label windows, [B]), float32 [B, M]."""
        # Into [0, 1), since the time in which a label event may be taken back has any length.
        logits: Tensor = self.stay(_with_times(batch, elapsed / (1 + elapsed)))
        return logits

    def also(self, batch: Batch, seen: Tensor, settled: Tensor) -> Tensor:
        """The loss of F: mean error over the draws of a settled positive, summed over members.

        With ``undo`` those of r and K are added: K's is like that of F, over the settled rows whose
        label event was taken back.
        """
        delay = batch.extra["delay"]
        usable = settled & (batch.label > 0.5) & delay.isfinite()

        def arrived(chosen: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
            return self.arrived(batch.rows(chosen), drawn), delay[chosen] <= drawn

        total = self._over_draws(batch, seen, usable, arrived)
        if not self.undo:
            return total
        until, longest = batch.extra["undone"], batch.extra["elapsed"]
        back = settled & until.isfinite() & delay.isfinite()

        def present(chosen: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
            # A settled row has waited for as long as any label can change.
            elapsed = drawn * longest[chosen]
            is_present = (delay[chosen] <= elapsed) & (elapsed < until[chosen])
            return self.there(batch.rows(chosen), elapsed), is_present

        total = total + self._over_draws(batch, seen, back, present)
        errors = _errors(self.undone(batch), back)
        return total + (seen * errors * settled[:, None]).sum()

    def _over_draws(
        self,
        batch: Batch,
        seen: Tensor,
        usable: Tensor,
        outcomes_at: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        """The mean error over times drawn for each usable row, summed over rows and members.

        Args:
            batch: the rows.
            seen: how often each member sees each row, float32 [B, M].
            usable: which rows are used, bool [B].
            outcomes_at: takes the indices of the rows and a share of the longest time for each;
                gives log odds, float32 [b, M], and what was the case then, bool [b].
        """
        chosen = usable.nonzero()[:, 0]
        drawn = (bits(batch.sample_id[chosen], self.seed) % 2**24).float() / 2**24
        # A time in each of so many intervals, all of them in one pass through the network.
        intervals = torch.arange(_DRAWS, device=drawn.device)[:, None]
        chosen = chosen.repeat(_DRAWS)
        logits, outcome = outcomes_at(chosen, ((intervals + drawn) / _DRAWS).flatten())
        total = (seen[chosen] * _errors(logits, outcome)).sum()
        return self.scale * total / _DRAWS


def _ensemble_on_folds(training: DelayTraining, facts: TrainFacts) -> Ensemble:
    """An ensemble on the folds of the training, which reads no sequence."""
    return EnsembleLearner(training.model_copy(update={"network": "mlp"}), facts).ensemble


def _with_times(batch: Batch, times: Tensor) -> Batch:
    """The rows with a time as one more feature."""
    return replace(batch, features=torch.cat([batch.features, times[:, None]], dim=1))


def _errors(logits: Tensor, outcome: Tensor) -> Tensor:
    """The cross-entropy of each row under each member, float32 [B, M]."""
    target = outcome.float()[:, None].expand_as(logits)
    return functional.binary_cross_entropy_with_logits(logits, target, reduction="none")


class WeibullLearner(EnsembleLearner):
    """An ensemble for p, and the shape and the scale of one Weibull distribution for all rows.

    Its log odds are those of p.
    """

    law: Tensor

    def __init__(self, training: DelayTraining, facts: TrainFacts) -> None:
        super().__init__(training, facts)
        self.register_buffer("law", torch.tensor(weibull(facts.arrived, facts.waiting)))

    def arrived(self, batch: Batch, elapsed: Tensor) -> Tensor:
        """Log odds of F at the given elapsed times ([B]), float32 [B, 1]: for all members."""
        hazard = self._hazard(elapsed)
        return hazard + _log_arrived(hazard)

    def recorded(self, logits: Tensor, batch: Batch) -> Tensor:
        """Log odds of p F, float32 [B, M]."""
        elapsed = batch.extra["elapsed"]
        hazard = self._hazard(elapsed.nan_to_num(nan=1.0))
        arrived_logits = thinned(logits, _log_arrived(hazard), -hazard)
        # The label of a row without an elapsed time is settled.
        return torch.where(elapsed.isnan()[:, None], logits, arrived_logits)

    def _hazard(self, times: Tensor) -> Tensor:
        """(t / s)^k, float32 [B, 1]."""
        shape, scale = self.law
        powers = shape * (times.clamp(min=SHORTEST) / scale).log()
        hazard: Tensor = powers.clamp(-_LARGEST, _LARGEST).exp()
        return hazard[:, None]


def _log_arrived(hazard: Tensor) -> Tensor:
    """log(1 - e^-h)."""
    return (-torch.expm1(-hazard)).log()


def counted(times: NDArray[np.float64]) -> TimeCounts:
    """Times in bins of equal width on a logarithmic scale: mean time and number of rows of each."""
    logs = np.log(np.maximum(times[np.isfinite(times)], SHORTEST))
    bins, number = np.unique(np.floor(logs * PER_E), return_inverse=True)
    rows = np.bincount(number, minlength=len(bins))
    means = np.exp(np.bincount(number, logs, minlength=len(bins)) / rows)
    return tuple(zip(means.tolist(), rows.tolist(), strict=True))


def weibull(arrived: TimeCounts, waiting: TimeCounts) -> tuple[float, float]:
    """Shape and scale of the delays, by maximum likelihood as above.

    Args:
        arrived: delays of the labels that have arrived, and numbers of rows.
        waiting: ages of the other rows, likewise.

    Raises:
        TrainingError: no label has arrived.
    """
    # Here, since ranks without such a training need not wait for it.
    from scipy import optimize

    check_arrivals("delayed_feedback", len(arrived), 0)
    delays, arrivals = np.array(arrived).T
    ages, waiting_rows = np.array(waiting).reshape(-1, 2).T

    def loss(values: NDArray[np.float64]) -> float:
        shape, scale = np.exp(np.clip(values[:2], -_LARGEST, _LARGEST))
        log_p = -np.logaddexp(0, -values[2])
        logs = np.log(delays / scale)
        hazard = np.exp(np.clip(shape * logs, -_LARGEST, _LARGEST))
        density = np.log(shape / delays) + shape * logs - hazard
        by_now = -np.expm1(-np.exp(np.clip(shape * np.log(ages / scale), -_LARGEST, _LARGEST)))
        log_not_arrived = np.log1p(-np.exp(log_p) * by_now + 1e-12)
        return -float((arrivals * (log_p + density)).sum() + (waiting_rows * log_not_arrived).sum())

    share = arrivals.sum() / (arrivals.sum() + waiting_rows.sum())
    middle = np.average(np.log(delays), weights=arrivals)
    start = np.array([0.0, middle, np.log((share + 1e-3) / (1 - share + 1e-3))])
    options = {"maxiter": 2000, "xatol": 1e-6, "fatol": 1e-9}
    best = optimize.minimize(loss, start, method="Nelder-Mead", options=options).x
    shape, scale = np.exp(np.clip(best[:2], -_LARGEST, _LARGEST))
    return float(shape), float(scale)
