"""What rankers outside the JVM share: all fits of a kind are applied in one pass through Python."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame

from reweight.core.session_kind import check_sent
from reweight.train_ranker.in_python import Predict, inputs_of, matrix_of, with_predictions
from reweight.train_ranker.rankers.base import FittedRanker

# Takes float32 [B, D + fields], gives the log odds, float64 [B].
Score = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True)
class AppliedTogether(FittedRanker):
    """A fitted ranker whose ``with_margins`` is one pass for all fits."""

    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds the log odds."""
        return self.with_margins(rows, {column: self})


@dataclass(frozen=True)
class FittedBooster(AppliedTogether):
    """Fitted trees of a package.

    Attributes:
        model: the booster in the package's own format.
        fields: number of categorical fields.
        trees: how many there are, in words.
    """

    model: bytes
    fields: int
    trees: str = ""

    @property
    def outcome(self) -> str:
        """The number of trees."""
        return self.trees

    @abstractmethod
    def loaded(self) -> Score:
        """What scores rows; called in a task."""

    @classmethod
    def with_margins(cls, rows: DataFrame, fitted: Mapping[str, Self]) -> DataFrame:
        """Adds the log odds of several models, in one pass through Python."""
        models = tuple(fitted.values())
        size = sum(len(ranker.model) for ranker in models)
        check_sent(rows.sparkSession, size, "the boosters of a ranker")

        def load() -> Predict:
            scores = [ranker.loaded() for ranker in models]

            def predict(inputs: Iterable[Any]) -> list[NDArray[np.float64]]:
                matrix = matrix_of(inputs)
                return [score(matrix) for score in scores]

            return predict

        # Of one run, and so with the same fields.
        (fields,) = {ranker.fields for ranker in models}
        return with_predictions(rows, [inputs_of(fields)], list(fitted), load)
