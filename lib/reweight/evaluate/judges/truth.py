"""`truth`: what people wanted in a simulated log, seen or not."""

from typing import ClassVar, Literal

from reweight.evaluate.judges.base import Judge, Known


class Truth(Judge):
    """Whether the user would want the item if it were seen; of people, not of bots."""

    says: ClassVar[str] = "what people wanted, which a simulation knows"
    reads_truth: ClassVar[bool] = True

    judge: Literal["truth"] = "truth"

    def expressions(self) -> dict[str, str]:
        """The columns of the table ``truth``."""
        given = super().expressions()
        where = "NOT bot" if self.where is None else f"NOT bot AND ({self.where})"
        return given | {"where": where, "label": self.label or "wanted"}

    def unusable(self, known: Known) -> str | None:
        """A real log has no truth."""
        if known.simulated:
            return None
        return (
            "only a simulated log has a truth, and the config has no section `simulation`; use "
            "trusted, with a better label, or random_traffic"
        )
