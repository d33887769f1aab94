"""`recorded`: the labels of the log, with all its faults."""

from typing import ClassVar, Literal

from reweight.evaluate.judges.base import BOTS, DELAY, MISSING, POSITION, Judge


class Recorded(Judge):
    """Labels as the log recorded them; always there, and the last to be believed."""

    says: ClassVar[str] = "labels as the log recorded them"
    shares: ClassVar[frozenset[str]] = frozenset({POSITION, DELAY, BOTS, MISSING})

    judge: Literal["recorded"] = "recorded"
