"""`position`: the log judges itself, with each positive divided by the chance that it was seen.

    positive mass = w c / theta,    negative mass = w (1 - c / theta)

for a recorded label c at a place that is looked at with probability theta. Their expected values
are those of the label that would be recorded if everything were seen (Joachims, Swaminathan and
Schnabel 2017, "Unbiased Learning-to-Rank with Biased Feedback"). The negative mass of a positive is
below 0, which judging bears and fitting does not. c / theta is clipped, since propensities of
places that are hardly looked at are hardly known. What the clip takes is a bias that no interval
shows, so it must grow with the log: with the square root of the number of positives (Ionides 2008,
"Truncated Importance Sampling").
"""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field

from reweight.core.section import MethodName, Sql
from reweight.evaluate.judges.base import BOTS, DELAY, MISSING, Judge, Known

_LEAST_CLIP = 10.0


class Position(Judge):
    """Recorded labels, divided by the probability that the row was looked at.

    Attributes:
        propensity: expression for theta where it is known, such as ``1 / position`` or a kept
            column; in (0, 1]. By default it is that of a position model of this run, which was
            fitted on training rows alone.
        model: the method whose position model it is; by default the first one.
        clip: largest factor; by default the square root of the number of positives among the
            judge's validation rows, and at least 10.
    """

    says: ClassVar[str] = "labels divided by the probability that their position was looked at"
    shares: ClassVar[frozenset[str]] = frozenset({DELAY, BOTS, MISSING})

    judge: Literal["position"] = "position"
    propensity: Sql | None = None
    model: MethodName | None = None
    clip: float | None = Field(default=None, gt=1)

    def expressions(self) -> dict[str, str]:
        """Also the propensity."""
        known = {"propensity": self.propensity} if self.propensity else {}
        return super().expressions() | known

    @property
    def largest(self) -> float:
        """The clip; the least one before it is fitted."""
        return self.clip or _LEAST_CLIP

    def fitted(self, positives: float) -> Self:
        """With a clip, if the config does not give one."""
        clip = self.clip or max(self.largest, math.sqrt(positives))
        return self.model_copy(update={"clip": clip})

    def factor(self, known: Known) -> str:
        """1 / theta, clipped."""
        return f"least({self.largest}D, {self.unclipped(known)})"

    def unclipped(self, known: Known) -> str:
        """1 / theta."""
        return f"1D / ({self.propensity or self._estimated(known)})"

    def unusable(self, known: Known) -> str | None:
        """Without a propensity it needs a position model."""
        if self.propensity is None and self._name(known) not in known.propensities:
            wanted = f"'{self.model}'" if self.model else "with ipw_position or doubly_robust"
            return (
                f"it has no `propensity`, and the run has no fitted position model {wanted}; write "
                "propensity: 1 / position where it is known, or add {method: ipw_position} to "
                "importance"
            )
        return None

    def _name(self, known: Known) -> str | None:
        return self.model or next(iter(known.propensities), None)

    def _estimated(self, known: Known) -> str:
        """theta by position: element 1 of the array is for rows without one."""
        name = self._name(known)
        theta = known.propensities[name] if name else ()
        values = ", ".join(f"{value!r}D" for value in theta)
        last = len(theta) - 1
        place = (
            f"CASE WHEN position IS NULL THEN 0 ELSE greatest(1, least({last}, int(position))) END"
        )
        return f"element_at(array({values}), 1 + {place})"
