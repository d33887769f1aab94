"""The rankers, one file each. The union below is the only list of them."""

from typing import Annotated, get_args

from pydantic import Field

from reweight.train_ranker.rankers.base import FittedRanker, Ranker, RankerJob
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

# In a union of one member there is nothing to discriminate.
AnyRanker = Annotated[LogisticRegression, Field()]

# Kinds of rankers.
RANKERS = tuple(
    str(kind.model_fields["ranker"].default)
    for kind in (get_args(get_args(AnyRanker)[0]) or get_args(AnyRanker)[:1])
)

__all__ = ["RANKERS", "AnyRanker", "FittedRanker", "Ranker", "RankerJob"]
