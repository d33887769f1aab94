"""`random_traffic`: rows that were shown at random, where a position tells nothing of its item."""

from typing import ClassVar, Literal

from reweight.core.section import Sql
from reweight.evaluate.judges.base import BOTS, DELAY, MISSING, Judge


class RandomTraffic(Judge):
    """Recorded labels of rows that were shown at random.

    The stage tells whether features separate these rows from the others: if they do, the rows were
    not drawn at random.
    """

    says: ClassVar[str] = "labels of rows that were shown at random"
    shares: ClassVar[frozenset[str]] = frozenset({DELAY, BOTS, MISSING})

    judge: Literal["random_traffic"] = "random_traffic"
    where: Sql
