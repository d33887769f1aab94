"""The rankers, one file each. The union below is the only list of them."""

from typing import Annotated, get_args

from pydantic import Field

from reweight.train_ranker.rankers.als import Als
from reweight.train_ranker.rankers.base import FittedRanker, Ranker, RankerJob
from reweight.train_ranker.rankers.deep import Deep
from reweight.train_ranker.rankers.gbt import Gbt
from reweight.train_ranker.rankers.lightgbm import LightGbm
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression
from reweight.train_ranker.rankers.random_forest import RandomForest
from reweight.train_ranker.rankers.xgboost import XGBoost

AnyRanker = Annotated[
    LogisticRegression | Gbt | RandomForest | XGBoost | LightGbm | Als | Deep,
    Field(discriminator="ranker"),
]

# Kind -> class.
RANKERS: dict[str, type[Ranker]] = {
    str(kind.model_fields["ranker"].default): kind for kind in get_args(get_args(AnyRanker)[0])
}

__all__ = ["RANKERS", "AnyRanker", "FittedRanker", "Ranker", "RankerJob"]
