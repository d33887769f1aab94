"""`reweighing`: weights under which label and segment are independent on the training rows.

    w(g, y) = P(g) P(y) / P(g, y) = n_g n_y / (n n_gy)

Kamiran & Calders 2012, "Data Preprocessing Techniques for Classification without Discrimination".
The shares of segments and of labels do not change. Rows without a segment form one more group; a
combination of segment and label without training rows gets weight 1.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.segment_weights import SegmentWeightsModel
from reweight.importance.training import RowCounts, TrainFacts


class Reweighing(ImportanceMethod):
    """Importance > 0, one number for each segment and label.

    Helps:
        Where label rates of segments differ because of the log, for example because one segment is
        observed for longer.

    Hurts:
        Where segments truly differ: it takes the label rate of a segment for an artefact of the
        log, so that true differences are unlearnt as well.

    Refuses:
        Training rows without segments, or with more than 1,000 segments.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "label rates of segments differ because of the log, not in truth"
    needs: ClassVar[tuple[str, ...]] = ("segment",)
    passes: ClassVar[int] = 1

    method: Literal["reweighing"] = "reweighing"

    def known_importance(self, facts: TrainFacts, counts: RowCounts) -> Tensor | None:
        """The table of weights."""
        return _Independent(facts).known(counts)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A table of weights by segment and label."""
        return _Independent(facts)


class _Independent(SegmentWeightsModel):
    def weights(self, counts: Tensor) -> Tensor:
        expected = counts.sum(1, keepdim=True) * counts.sum(0) / counts.sum()
        return torch.where(counts > 0, expected / counts, 1.0)
