"""`t_ce`: truncated cross-entropy: positives with the largest losses weigh 0, all other rows 1.

    importance_i = 0 if y_i = 1 and p(y_i | x_i) is among the smallest of the positives, else 1

Wang et al. 2021, "Denoising Implicit Feedback for Recommendation", who drop 5 to 20 %: spurious
positives are among those that fit worst. The share is of all training positives, not of those in a
batch.
"""

from typing import ClassVar, Literal

from pydantic import Field

from reweight.importance.base import ImportanceModel
from reweight.importance.training import TrainFacts
from reweight.importance.truncated import TruncatedMethod, TruncatedModel


class TCe(TruncatedMethod):
    """Importance 0 or 1.

    Attributes:
        drop: share of the training positives that weigh 0.

    Helps:
        Where a roughly known share of the positives is spurious: bots, accidental clicks.

    Hurts:
        It drops its share whether or not that many are wrong, and those are the positives that the
        ranker knows least about. Where positives are missing rather than spurious, it makes matters
        worse.

    Refuses:
        A class so rare that some member of the ensemble is likely to see none of it.
    """

    assumes: ClassVar[str] = "a known share of positives is spurious, and negatives are correct"

    method: Literal["t_ce"] = "t_ce"
    drop: float = Field(default=0.1, ge=0, lt=1)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """Drops the largest losses of positives only."""
        return TruncatedModel(self, (0.0, self.drop))
