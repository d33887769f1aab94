"""`settled`: labels as they are known now, of rows whose label window has closed."""

from typing import ClassVar, Literal

from reweight.evaluate.judges.base import BOTS, MISSING, POSITION, Judge


class Settled(Judge):
    """Final labels: of rows that were judged at a cut, with what arrived since."""

    says: ClassVar[str] = "final labels of rows whose label window has closed"
    shares: ClassVar[frozenset[str]] = frozenset({POSITION, BOTS, MISSING})

    judge: Literal["settled"] = "settled"

    def expressions(self) -> dict[str, str]:
        """Only rows that are settled."""
        given = super().expressions()
        return given | {"where": f"mature AND ({given['where']})"}
