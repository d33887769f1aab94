"""The days that a call of a job asks for."""

from datetime import date
from typing import Self

from pydantic import model_validator

from reweight.core.section import Section

EPOCH = date(1970, 1, 1)


class AskedDays(Section):
    """Days of a section, UTC, which say nothing of what comes out of them.

    Attributes:
        day: one day (``--day``).
        begin: the first of several days (``--from``), in place of ``day``.
        end: the last of these days (``--to``).
    """

    day: date | None = None
    begin: date | None = None
    end: date | None = None

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.day and (self.begin or self.end):
            raise ValueError("expected `day` (--day), or `begin` and `end` (--from and --to)")
        if self.begin and self.end and self.begin > self.end:
            raise ValueError(f"expected the earlier day first; got {self.begin} to {self.end}")
        return self

    @property
    def span(self) -> tuple[date | None, date | None]:
        """The first and the last day; None where none is asked for."""
        return (self.day or self.begin, self.day or self.end)
