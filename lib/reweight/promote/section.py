"""The config section of the stage promote."""

from typing import Self

from pydantic import Field, model_validator

from reweight.core.section import RunId, Section


class Promotion(Section):
    """The section ``promotion``.

    Attributes:
        challenger: run whose chosen weights may go live; ``--challenger`` on the command line.
        against: run that has the live weights on the challenger's rows; by default the run whose
            weights are live. ``--against`` on the command line.
        horizon: on how many different sets of judged rows, as a rule days, in a row the challenger
            has to be better than the live weights.
        rollback: whether the version before the live one goes live again; ``--rollback`` on the
            command line.
        history: whether the decisions so far are shown, and none is made; ``--history`` on the
            command line.
    """

    challenger: RunId | None = None
    against: RunId | None = None
    horizon: int = Field(default=1, ge=1)
    rollback: bool = False
    history: bool = False

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        choices = {
            "challenger": self.challenger,
            "rollback": self.rollback,
            "history": self.history,
        }
        if len(chosen := [name for name, value in choices.items() if value]) > 1:
            raise ValueError(f"expected one of {list(choices)}, got {chosen}; remove all but one")
        return self
