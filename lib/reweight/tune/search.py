"""The search over k or lambda, its candidates, and the published loop over k."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from reweight.core.section import Name, Section
from reweight.importance.methods.importance_mlp import ImportanceMlp
from reweight.train_ranker.rankers.base import Ranker

# Search -> the setting of the method.
_SETTINGS = {"lambda": "lambda_", "k": "k"}


class Tuning(Section):
    """The section ``tuning``.

    Attributes:
        method: name of the ``importance_mlp`` in ``importance`` to tune.
        search: ``lambda`` or ``k`` tries ``values`` and picks the lowest log loss of the ranker on
            validation rows; ``legacy`` is the published loop over k on macro precision.
        values: candidates of the search, all different, best in logarithmic steps.
        rounds: number of rounds of the legacy loop.
        threshold: macro precision below which the legacy loop lowers k.
    """

    method: Name = "importance_mlp_reference"
    search: Literal["lambda", "k", "legacy"] = "lambda"
    values: tuple[FiniteFloat, ...] = Field(default=(0.0001, 0.001, 0.01, 0.1, 1.0), min_length=1)
    rounds: int = Field(default=5, ge=1, le=50)
    threshold: float = Field(default=0.8, ge=0, le=1)

    @model_validator(mode="after")
    def _is_used(self) -> "Tuning":
        others = ("values",) if self.search == "legacy" else ("rounds", "threshold")
        self.refuse_unused(f"search: {self.search}", *others)
        return self

    @model_validator(mode="after")
    def _are_candidates(self) -> "Tuning":
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"values: expected each candidate once; got {list(self.values)}")
        for value in self.values if self.search != "legacy" else ():
            try:
                ImportanceMlp.model_validate({self.search: value})
            except ValidationError as error:
                wrong = error.errors()[0]["msg"]
                raise ValueError(f"values: {wrong} ({self.search}); got {value:g}") from error
        return self

    def candidates(self, method: ImportanceMlp) -> tuple[ImportanceMlp, ...]:
        """The method with each of the values; as it is for the loop, which chooses them itself."""
        if self.search == "legacy":
            return (candidate(method),)
        return tuple(candidate(method, **{_SETTINGS[self.search]: v}) for v in self.values)


def candidate(method: ImportanceMlp, **changes: float) -> ImportanceMlp:
    """The method with other hyperparameters, named after them: different ones differ in name."""
    changed = method.model_copy(update=changes)
    return changed.model_copy(
        update={"name": f"k{_as_name(changed.k)}_lambda{_as_name(changed.lambda_)}"}
    )


def _as_name(value: float) -> str:
    """All digits of a number, as part of a name."""
    digits = repr(float(value)).removesuffix(".0")
    return digits.replace(".", "_").replace("-", "minus").replace("+", "")


def deciding(ranker: Ranker, method: str, candidates: Sequence[str]) -> Ranker:
    """The ranker that decides, which recalibrates the candidates as it would the method."""
    if method not in ranker.recalibrate:
        return ranker
    return ranker.model_copy(update={"recalibrate": tuple(candidates)})


class Trial(Section):
    """The result of one candidate.

    Attributes:
        k: scale of the weight.
        lambda_: strength of the penalty.
        log_loss: log loss of the ranker on the judge's validation rows.
        macro_precision: macro precision of the ranker on them, at 0.5.
        ess_share: effective sample size of the weights, as a share of the training rows.
    """

    k: float
    lambda_: float
    log_loss: float
    macro_precision: float
    ess_share: float

    def __str__(self) -> str:
        """One line for the console."""
        return (
            f"k {self.k:.4g}, lambda {self.lambda_:.4g}: log loss {self.log_loss:.5f}, "
            f"macro precision {self.macro_precision:.4f}, ESS {self.ess_share:.1%}"
        )


def legacy_loop(k: float, tuning: Tuning, try_k: Callable[[float], Trial]) -> list[Trial]:
    """The published loop: k x 0.9 below the threshold, else k x 1.1; f is retrained each time.

    Args:
        k: the initial value.
        tuning: the section ``tuning``.
        try_k: trains and evaluates one k.
    """
    trials = []
    for _ in range(tuning.rounds):
        trial = try_k(k)
        trials.append(trial)
        k *= 0.9 if trial.macro_precision < tuning.threshold else 1.1
    return trials


def best(trials: Sequence[Trial]) -> Trial:
    """The trial with the lowest validation log loss; the first of equal ones.

    One without a log loss is never the best of several.
    """
    return min(trials, key=lambda trial: math.inf if math.isnan(trial.log_loss) else trial.log_loss)
