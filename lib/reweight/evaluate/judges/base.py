"""What a judge is: three expressions over rows that are not trained on.

Recorded labels share the faults that weights mend, so whether weights helped can be asked of other
judges. A judge says which rows count, with which label y and which row weight w. A row then counts
as a positive with the mass w y and as a negative with the mass w (1 - y).
"""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

from reweight.core.section import Section, Sql

# Faults, as the stage diagnose names them.
POSITION, DELAY = "position bias", "delayed labels"
BOTS, MISSING = "bursts and bots", "missing labels"


@dataclass(frozen=True)
class Known:
    """What a judge may know besides the samples.

    Attributes:
        propensities: method -> theta of rows without a position, then of positions 1, 2, ..., as
            estimated on training rows.
        simulated: whether the log is simulated, so that the truth is known.
    """

    propensities: Mapping[str, Sequence[float]] = field(default_factory=dict)
    simulated: bool = False


class Judge(Section, ABC):
    """A judge: which rows, which label, which row weight.

    Attributes:
        judge: its kind; by default its name in ``evaluation.judges``, or ``trusted`` if it has a
            ``label``.
        where: condition on the rows that count; by default all of validation and test.
        label: expression for the label, 0 to 1; a row without one does not count.
        weight: expression for the weight of a row, 0 or more; by default 1.
    """

    # What the page says of it, and the faults that its labels share.
    says: ClassVar[str]
    shares: ClassVar[frozenset[str]] = frozenset()
    # Columns beside those of the samples that it reads, from the table `truth`.
    reads_truth: ClassVar[bool] = False

    judge: str
    where: Sql | None = None
    label: Sql | None = None
    weight: Sql | None = None

    def expressions(self) -> dict[str, str]:
        """The expressions ``where``, ``label`` and ``weight``."""
        return {
            "where": self.where or "true",
            "label": self.label or "label",
            "weight": self.weight or "1.0",
        }

    def fitted(self, positives: float) -> Self:
        """The judge with all that depends on its number of positives among validation rows."""
        return self

    def factor(self, known: Known) -> str:
        """An expression that multiplies the label: 1 unless a judge corrects for something."""
        return "1.0"

    def unclipped(self, known: Known) -> str:
        """The factor without a clip, for judges that have one."""
        return self.factor(known)

    def unusable(self, known: Known) -> str | None:
        """Why the config or the run does not let it judge; None if it can."""
        return None
