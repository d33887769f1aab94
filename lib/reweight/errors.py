"""Named errors: each says what was expected, what came, and what to do about it."""


class ReweightError(Exception):
    """Something that the person who started the job can put right.

    Args:
        what: one line that names the thing that is wrong.
        expected: what would have been right.
        came: what was found instead.
        do: the next step for the user.
    """

    def __init__(self, what: str, *, expected: str, came: str, do: str) -> None:
        super().__init__(f"{what}\n  expected: {expected}\n  came:     {came}\n  to do:    {do}")


class ConfigError(ReweightError):
    """A config file that cannot be a run."""


class SetupError(ReweightError):
    """The machine or the Spark session lacks something (Java, Delta, slots)."""


class RunError(ReweightError):
    """A run that another process works on."""


class SourceError(ReweightError):
    """Raw input that is missing, empty, or not what the config says."""


class TableError(ReweightError):
    """A table that is missing, has another schema, or breaks a promise about its rows."""


class SampleError(ReweightError):
    """Samples that cannot be trained on: one class, an empty split, a feature without values."""


class WeightError(ReweightError):
    """Weights that no ranker should be given."""


class TrainingError(ReweightError):
    """Distributed training that could not start or did not end well."""


class RankError(TrainingError):
    """A rank that died, raised or hung: taking the training up again may go well."""
