"""`rake`: weights by segment and label under which both margins match given shares.

    w(g, y) = a_g b_y,    a_g = t_g / sum_y n_gy b_y,    b_y = t_y / sum_g n_gy a_g

Deming & Stephan 1940, "On a Least Squares Adjustment of a Sampled Frequency Table When the Expected
Marginal Totals are Known": iterative proportional fitting of the counts n_gy of the training rows
to desired row counts t_g and t_y. The fitted table w n is the one closest to n (in relative
entropy) with these margins: the association of label and segment is unchanged. A combination of
segment and label without training rows gets weight 1.

Desired shares are of the rows that have a segment; rows without one keep their share. Segments that
are not named share what the named ones leave, in their current proportions; if all are named,
shares are scaled to sum to 1. A margin without desired shares stays as it is; if neither has any,
both are those of the target rows.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.core.section import Text
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.segment_weights import SegmentWeightsModel
from reweight.importance.target import check_target
from reweight.importance.training import RowCounts, TrainFacts

_STEPS, _TOLERANCE = 1000, 1e-9

Share = Annotated[float, Field(gt=0, lt=1)]


class Rake(ImportanceMethod):
    """Importance is the fitted count of a segment and label over its actual count.

    Attributes:
        segments: desired share of the rows of each segment.
        positives: desired share of the rows with label 1.

    Helps:
        Where the shares of segments and labels that the ranker will meet are known, for example
        after negatives were sampled, or if one country is overrepresented in the log.

    Hurts:
        Where the shares are right and something else is wrong. Desired shares far from those of the
        log leave few effective samples.

    Refuses:
        Training rows without segments, or with more than 1,000 segments. Segment names that the
        rows do not have, shares that leave nothing for the other segments, and margins that no
        weights can give these rows. If no shares are set, training rows of which none, or all, are
        target rows.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "the log has wrong shares of segments and labels, and no other fault"
    passes: ClassVar[int] = 1

    method: Literal["rake"] = "rake"
    segments: dict[Text, Share] | None = Field(default=None, min_length=1)
    positives: Share | None = None

    @property
    def as_target(self) -> bool:
        """Whether the margins are those of the target rows."""
        return self.segments is None and self.positives is None

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``segment``, and ``target`` if the target rows give the margins."""
        return ("segment", "target") if self.as_target else ("segment",)

    def known_importance(self, facts: TrainFacts, counts: RowCounts) -> Tensor | None:
        """The table of weights; refuses margins that no weights can give these rows."""
        return RakeModel(self, facts).known(counts)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A table of weights.

        Raises:
            TrainingError: segments that the training rows do not have, or shares of some segments
                that leave nothing for the others.
        """
        shares, segments = self.segments or {}, facts.segments
        if unknown := sorted({*shares} - {*segments}):
            raise TrainingError(
                f"'{self.name}' names segments that the training rows do not have",
                expected=f"segments among {list(segments)}",
                got=str(unknown),
                fix="correct the names in `segments`, or leave them out",
            )
        if shares and len(shares) < len(segments) and sum(shares.values()) >= 1 - _TOLERANCE:
            raise TrainingError(
                f"the shares of '{self.name}' leave nothing for segments that are not named",
                expected="shares that sum to less than 1, or a share for every segment",
                got=f"a sum of {sum(shares.values()):.4g}, and none for "
                f"{[name for name in segments if name not in shares]}",
                fix="name these segments too, or lower the shares",
            )
        return RakeModel(self, facts)


class RakeModel(SegmentWeightsModel):
    """w of the module.

    Attributes:
        targets: target rows by segment and label, int64 [S + 1, 2].
        shares: desired shares of the segments, 0 for those that are not named, float64 [S].
    """

    targets: Tensor
    shares: Tensor

    def __init__(self, method: Rake, facts: TrainFacts) -> None:
        super().__init__(facts)
        self.method, self.segments = method, facts.segments
        self.register_buffer("targets", torch.zeros_like(self.counts), persistent=False)
        shares = [(method.segments or {}).get(name, 0.0) for name in facts.segments]
        self.register_buffer("shares", torch.tensor(shares, dtype=torch.float64), persistent=False)

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts training rows, and target rows among them, by segment and label."""
        super().observe(outputs, split)
        if split == "train" and self.method.as_target:
            self.targets += self.counted(outputs.batch, outputs.batch.extra["target"])

    def known(self, counts: RowCounts) -> Tensor | None:
        """The weights by the counts of the training rows and of the target rows."""
        if counts.targets is not None:
            self.targets.copy_(counts.targets)
        return super().known(counts)

    def sums(self) -> list[Tensor]:
        """Both counts."""
        return [self.counts, self.targets]

    def weights(self, counts: Tensor) -> Tensor:
        """The fitted weights.

        Raises:
            TrainingError: margins that no weights can give these rows.
        """
        by_segment, by_label = self._margins(counts)
        names = ["no segment", *[f"segment '{name}'" for name in self.segments]]
        empty = [
            name
            for level, margin, rows in (
                (names, by_segment, counts.sum(1)),
                (["label 0", "label 1"], by_label, counts.sum(0)),
            )
            for name, is_empty in zip(level, ((margin > 0) & (rows == 0)).tolist(), strict=True)
            if is_empty
        ]
        if empty:
            raise TrainingError(
                f"'{self.method.name}' gives a share to segments or labels without rows",
                expected="training rows of every segment and label with a desired share",
                got=f"none of {empty}",
                fix="leave these segments out, or use rows with both labels",
            )
        return torch.where(counts > 0, raked(self.method.name, counts, by_segment, by_label), 1.0)

    def _margins(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """t_g and t_y, float64 [S + 1] and [2]."""
        method, total, rows = self.method, counts.sum(), counts.sum(1)
        if method.as_target:
            check_target(method.name, self.targets.sum().item(), total.item())
            desired = self.targets * (total / self.targets.sum())
            return desired.sum(1), desired.sum(0)
        by_segment, by_label = rows, counts.sum(0)
        if method.segments is not None:
            # The rows of segments that are not named.
            unnamed = torch.where(self.shares > 0, 0.0, rows[1:])
            if unnamed.any():
                shares = self.shares + unnamed / unnamed.sum() * (1 - self.shares.sum())
            else:
                shares = self.shares / self.shares.sum()
            by_segment = torch.cat([rows[:1], shares * rows[1:].sum()])
        if method.positives is not None:
            by_label = total * counts.new_tensor([1 - method.positives, method.positives])
        return by_segment, by_label


def raked(name: str, counts: Tensor, by_segment: Tensor, by_label: Tensor) -> Tensor:
    """The weights a_g b_y under which counts have the desired margins, float64 [G, 2].

    Args:
        name: of the method.
        counts: rows by segment and label, float64 [G, 2].
        by_segment: desired sums over labels, float64 [G].
        by_label: desired sums over segments, float64 [2].

    Raises:
        TrainingError: after the last step a margin is still off by more than the tolerance.
    """
    b = torch.ones_like(by_label)
    for _ in range(_STEPS):
        a = _ratio(by_segment, counts @ b)
        b = _ratio(by_label, a @ counts)
        # The label margin is exact after its own step.
        error = ((a * (counts @ b) - by_segment).abs().max() / counts.sum()).item()
        if error <= _TOLERANCE:
            return a[:, None] * b
    raise TrainingError(
        f"'{name}' finds no weights with the desired margins",
        expected=f"margins within {_TOLERANCE:g} of the rows after at most {_STEPS} steps",
        got=f"an error of {error:.2g} after the last step, with {int((counts == 0).sum())} of "
        f"{counts.numel()} combinations of segment and label without rows",
        fix="set margins closer to those of the rows, or merge segments until each has both labels",
    )


def _ratio(desired: Tensor, current: Tensor) -> Tensor:
    """desired / current, and 0 where current is 0: rows desired there show up as an error."""
    return torch.where(current > 0, desired / current, 0.0)
