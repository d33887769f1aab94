"""Methods that a run goes on without: a stage refused them, for a reason that is recorded."""

import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from reweight.core.baselines import BASELINE
from reweight.core.errors import ReweightError, TrainingError
from reweight.core.files import write_json
from reweight.core.run_folder import RunFolder

_LOG = logging.getLogger(__name__)

# The stages that can refuse a method, in the order of the pipeline.
_STAGES = ("fit_importance", "score_weights", "train_ranker")


class Named(Protocol):
    """What has the name of a method."""

    @property
    def name(self) -> str:
        """The name."""


Item = TypeVar("Item", bound=Named)


class Refusals:
    """Collects errors that concern one method alone, so that the others can go on.

    Args:
        strict: whether an error is raised at once instead.
        needs_baseline: whether an error of the baseline is raised too.

    Attributes:
        errors: method -> why it was refused.
    """

    def __init__(self, *, strict: bool = True, needs_baseline: bool = True) -> None:
        self.strict, self.needs_baseline = strict, needs_baseline
        self.errors: dict[str, ReweightError] = {}

    @contextmanager
    def about(self, method: str) -> Iterator[None]:
        """Collects the errors of a block that concern one method."""
        try:
            yield
        except ReweightError as error:
            self.add(method, error)

    def add(self, method: str, error: ReweightError) -> None:
        """Collects an error, or raises it: most results need the baseline."""
        if self.strict or (self.needs_baseline and method == BASELINE):
            raise error
        if method not in self.errors:
            self.errors[method] = error
            _LOG.warning("'%s' is left out: %s", method, reason(error))

    def remaining(self, methods: Sequence[Item]) -> tuple[Item, ...]:
        """The methods that were not refused.

        Raises:
            ReweightError: only the baseline is left.
        """
        not_refused = tuple(method for method in methods if method.name not in self.errors)
        if self.errors and all(method.name == BASELINE for method in not_refused):
            raise _none_left(self.errors)
        return not_refused

    def reasons(self) -> dict[str, str]:
        """Method -> why it was refused, as one line."""
        return {method: reason(error) for method, error in self.errors.items()}

    def summary(self) -> dict[str, dict[str, str]]:
        """What a stage's summary says of the refused methods: nothing if there are none."""
        return {"left out": self.reasons()} if self.errors else {}


class Combining(Named, Protocol):
    """What may combine methods."""

    def combines(self) -> tuple[str, ...]:
        """Names of the methods that it combines."""


def refuse_combinations(methods: Sequence[Combining], refusals: Refusals) -> None:
    """Refuses methods that combine refused ones."""
    for method in methods:
        if lost := [part for part in method.combines() if part in refusals.errors]:
            error = TrainingError(
                f"'{method.name}' combines methods that are left out",
                expected="all of its parts",
                got=f"none of {lost}",
                fix="fix these methods, or name others",
            )
            refusals.add(method.name, error)


def reason(error: ReweightError) -> str:
    """An error as one line."""
    text = f"{error.what} (expected: {error.expected}; got: {error.got}; fix: {error.fix})"
    return " ".join(text.split())


def _none_left(errors: Mapping[str, ReweightError]) -> ReweightError:
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    return type(first)(
        "no method is left: each was refused",
        expected=f"a method besides {BASELINE} that fits the data",
        got="".join(f"\n    {error.what}: {error.got}" for error in errors.values()),
        fix="".join(f"\n    {method}: {error.fix}" for method, error in errors.items()),
    )


def record_left_out(folder: RunFolder, stage: str, reasons: Mapping[str, str]) -> None:
    """Records the methods that a stage refused; later stages have to decide again."""
    earlier = _STAGES[: _STAGES.index(stage)]
    recorded = {name: refusals for name, refusals in _recorded(folder).items() if name in earlier}
    write_json(folder.left_out, recorded | ({stage: dict(reasons)} if reasons else {}))


def left_out(folder: RunFolder, *, before: str | None = None) -> dict[str, str]:
    """The methods that a run goes on without, each with the reason.

    Args:
        folder: of the run.
        before: only those that stages before this one refused; all by default.
    """
    stages = _STAGES[: _STAGES.index(before)] if before else _STAGES
    recorded = _recorded(folder)
    return {m: why for stage in stages for m, why in recorded.get(stage, {}).items()}


def refused_by(folder: RunFolder, stage: str) -> dict[str, str]:
    """The methods that one stage refused, each with the reason."""
    return dict(_recorded(folder).get(stage, {}))


def without(methods: Sequence[Item], names: Collection[str]) -> tuple[Item, ...]:
    """The methods that are not among the names."""
    return tuple(method for method in methods if method.name not in names)


def _recorded(folder: RunFolder) -> dict[str, dict[str, str]]:
    path = folder.left_out
    recorded: dict[str, dict[str, str]] = json.loads(path.read_text()) if path.exists() else {}
    return recorded
