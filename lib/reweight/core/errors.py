"""Named errors: each says what is wrong, what was expected, what it got, and how to fix it."""

from typing import Any


class ReweightError(Exception):
    """A problem that the user who started the job can fix.

    Args:
        what: one line that names the problem.
        expected: what would have been right.
        got: what there was instead.
        fix: the next step for the user.

    Attributes:
        what: as given.
        expected: as given.
        got: as given.
        fix: as given.
    """

    def __init__(self, what: str, *, expected: str, got: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.expected, self.got, self.fix = what, expected, got, fix

    def __str__(self) -> str:
        return (
            f"{self.what}\n  expected: {self.expected}\n  got:      {self.got}"
            f"\n  fix:      {self.fix}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the error by its fields, since errors of tasks and ranks cross processes."""
        return _rebuilt, (type(self), self.what, self.expected, self.got, self.fix)


def _rebuilt(
    kind: type[ReweightError], what: str, expected: str, got: str, fix: str
) -> ReweightError:
    return kind(what, expected=expected, got=got, fix=fix)


class ConfigError(ReweightError):
    """A config that does not describe a valid run."""


class SetupError(ReweightError):
    """The machine or the Spark session lacks something (Java, Delta, slots)."""


class RunError(ReweightError):
    """A run that does not exist, lacks something, or is in use by another process."""


class SourceError(ReweightError):
    """Raw input that is missing, empty, or not what the config says."""


class TableError(ReweightError):
    """A table that is missing, has another schema, or holds rows that break a constraint."""


class SampleError(ReweightError):
    """Samples that cannot be trained on: one class, an empty split, a feature without values."""


class WeightError(ReweightError):
    """Weights that no ranker should be trained on."""


class EvaluationError(ReweightError):
    """A judge that cannot judge: no rows, one class, values out of range."""


class PromotionError(ReweightError):
    """Weights that cannot be compared with the live ones, or no version to go back to."""


class MonitoringError(ReweightError):
    """Days that cannot be compared with the reference window."""


class ServingError(ReweightError):
    """A scorer that cannot be exported or loaded, or a row that does not fit it."""


class TrainingError(ReweightError):
    """Distributed training that could not start or did not finish."""


class RankError(TrainingError):
    """A rank that died, raised or hung: resuming the training may succeed."""
