"""`trusted`: a second, better label where there is one."""

from typing import ClassVar, Literal

from reweight.core.section import Sql
from reweight.evaluate.judges.base import Judge


class Trusted(Judge):
    """A better label of some rows: a reviewer's, a rating, not returned after 60 days.

    Attributes:
        label: expression for it, such as ``rating >= 5``; null where it is unknown.
    """

    says: ClassVar[str] = "a better label of the rows that have one"

    judge: Literal["trusted"] = "trusted"
    label: Sql
