"""The config section of the stage explain."""

from pydantic import Field

from reweight.core.section import Section


class Explaining(Section):
    """The section ``explaining``.

    Attributes:
        rows: size of the hashed sample of the training split, about; one of a few rows could have
            none at all. Means over more rows are the same to three digits.
        steps: number of steps of the integral; twice as many take twice as long and leave a smaller
            remainder.
        sample_id: id of one sample to explain on its own, in addition to the table.
    """

    rows: int = Field(default=20_000, ge=100)
    steps: int = Field(default=16, ge=1)
    sample_id: int | None = None
