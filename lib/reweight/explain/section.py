"""What is explained of the importance of a run's rows."""

from pydantic import Field

from reweight.core.section import Section


class Explaining(Section):
    """The section ``explaining``.

    Attributes:
        rows: of the training split that are looked at, a hashed sample: means over more are the
            same to three digits.
        steps: of the integral; twice as many take twice as long and leave less of it over.
        sample_id: of one sample that is explained alone, beside the table.
    """

    rows: int = Field(default=20_000, ge=1)
    steps: int = Field(default=16, ge=1)
    sample_id: int | None = None
