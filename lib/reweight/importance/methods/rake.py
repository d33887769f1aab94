"""`rake`: weights of segment and label under which their margins are as wanted.

    w(g, y) = a_g b_y,    a_g = t_g / sum_y n_gy b_y,    b_y = t_y / sum_g n_gy a_g

Deming & Stephan 1940, "On a Least Squares Adjustment of a Sampled Frequency Table When the Expected
Marginal Totals are Known": iterative proportional fitting of the counts n_gy of the training rows
to wanted row counts t_g and t_y. The fitted table w n is the one nearest to n (in relative entropy)
with these margins: how label and segment go together stays as it is. A cell without training rows
weighs 1.

Wanted shares are of the rows that have a segment; rows of none keep their share. Segments that are
not named share what the named ones leave, in the proportions that they have; where all are named,
shares are scaled to add up to 1. A margin of which nothing is said stays as it is; where nothing is
said of either, both are those of the target rows.
"""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from reweight.core.errors import TrainingError
from reweight.importance.base import ImportanceMethod, ImportanceModel
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.segment_weights import SegmentWeightsModel
from reweight.importance.target import check_target
from reweight.importance.training import TrainFacts

_STEPS, _TOLERANCE = 1000, 1e-9

Share = Annotated[float, Field(gt=0, lt=1)]


class Rake(ImportanceMethod):
    """Importance of a cell is its fitted count over its count.

    Attributes:
        segments: wanted share of the rows of each segment.
        positives: wanted share of the rows with label 1.

    Helps:
        Where it is known what shares of segments and labels the ranker will meet, as after
        negatives were sampled or where one country is in the log too often.

    Hurts:
        Where the shares are right and something else is wrong. Wanted shares far from those of the
        log leave few effective samples.

    Refuses:
        Training rows without segments, or with more than 1,000 of them. Names of segments that the
        rows do not have, shares that leave nothing to the others, and margins that no weights give
        these rows. Without shares of its own, rows of which none is target, or all are.
    """

    uses_label: ClassVar[bool] = True
    assumes: ClassVar[str] = "the log has wrong shares of segments and labels, and nothing else"
    passes: ClassVar[int] = 1

    method: Literal["rake"] = "rake"
    segments: dict[str, Share] | None = Field(default=None, min_length=1)
    positives: Share | None = None

    @property
    def as_target(self) -> bool:
        """Whether the margins are those of the target rows."""
        return self.segments is None and self.positives is None

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """``segment``, and ``target`` where its rows say what is wanted."""
        return ("segment", "target") if self.as_target else ("segment",)

    def model(self, facts: TrainFacts) -> ImportanceModel:
        """A table of weights.

        Raises:
            TrainingError: segments that the training rows do not have, or shares of some segments
                that leave nothing to the others.
        """
        wanted, known = self.segments or {}, facts.segments
        if unknown := sorted({*wanted} - {*known}):
            raise TrainingError(
                f"'{self.name}' is to weigh segments that the training rows do not have",
                expected=f"segments among {list(known)}",
                got=str(unknown),
                fix="mend the names in `segments`, or leave them out",
            )
        if wanted and len(wanted) < len(known) and sum(wanted.values()) >= 1 - _TOLERANCE:
            raise TrainingError(
                f"the shares of '{self.name}' leave nothing to segments that are not named",
                expected="shares below 1 in all, or a share for every segment",
                got=f"{sum(wanted.values()):.4g} in all, and none for "
                f"{[name for name in known if name not in wanted]}",
                fix="name these segments too, or lower the shares",
            )
        return RakeModel(self, facts)


class RakeModel(SegmentWeightsModel):
    """w of the module.

    Attributes:
        targets: target rows of each cell, int64 [S + 1, 2].
        shares: wanted shares of the segments, 0 for those that are not named, float64 [S].
    """

    targets: Tensor
    shares: Tensor

    def __init__(self, method: Rake, facts: TrainFacts) -> None:
        super().__init__(facts)
        self.method, self.segments = method, facts.segments
        self.register_buffer("targets", torch.zeros_like(self.counts), persistent=False)
        shares = [(method.segments or {}).get(name, 0.0) for name in facts.segments]
        wanted = torch.tensor(shares, dtype=torch.float64)
        self.register_buffer("shares", wanted, persistent=False)

    def observe(self, outputs: EnsembleOutputs, split: str) -> None:
        """Counts training rows by cell, and those of the target."""
        super().observe(outputs, split)
        if split == "train" and self.method.as_target:
            self.targets += self.counted(outputs.batch, outputs.batch.extra["target"])

    def sums(self) -> list[Tensor]:
        """Both counts."""
        return [self.counts, self.targets]

    def weights(self, counts: Tensor) -> Tensor:
        """The fitted weights.

        Raises:
            TrainingError: wanted margins that no weights give these rows.
        """
        by_segment, by_label = self._wanted(counts)
        names = ["no segment", *[f"segment '{name}'" for name in self.segments]]
        empty = [
            name
            for level, wanted, rows in (
                (names, by_segment, counts.sum(1)),
                (["label 0", "label 1"], by_label, counts.sum(0)),
            )
            for name, bad in zip(level, ((wanted > 0) & (rows == 0)).tolist(), strict=True)
            if bad
        ]
        if empty:
            raise TrainingError(
                f"'{self.method.name}' is to weigh rows that are not there",
                expected="training rows of every segment and label that is to have a share",
                got=f"none of {empty}",
                fix="leave these segments out, or use rows of both labels",
            )
        return torch.where(counts > 0, raked(self.method.name, counts, by_segment, by_label), 1.0)

    def _wanted(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """t_g and t_y, float64 [S + 1] and [2]."""
        method, total, rows = self.method, counts.sum(), counts.sum(1)
        if method.as_target:
            check_target(method.name, self.targets.sum().item(), total.item())
            aim = self.targets * (total / self.targets.sum())
            return aim.sum(1), aim.sum(0)
        by_segment, by_label = rows, counts.sum(0)
        if method.segments is not None:
            # Of the rows that have a segment, those that are not named.
            left = torch.where(self.shares > 0, 0.0, rows[1:])
            if left.any():
                shares = self.shares + left / left.sum() * (1 - self.shares.sum())
            else:
                shares = self.shares / self.shares.sum()
            by_segment = torch.cat([rows[:1], shares * rows[1:].sum()])
        if method.positives is not None:
            by_label = total * counts.new_tensor([1 - method.positives, method.positives])
        return by_segment, by_label


def raked(name: str, counts: Tensor, by_segment: Tensor, by_label: Tensor) -> Tensor:
    """The weights a_g b_y under which counts have the wanted margins, float64 [G, 2].

    Args:
        name: of the method.
        counts: rows by segment and label, float64 [G, 2].
        by_segment: wanted sums over labels, float64 [G].
        by_label: wanted sums over segments, float64 [2].

    Raises:
        TrainingError: after the last step a margin is still wrong by more than the tolerance.
    """
    b = torch.ones_like(by_label)
    for _ in range(_STEPS):
        a = _ratio(by_segment, counts @ b)
        b = _ratio(by_label, a @ counts)
        # The margin of labels is right after its step.
        missed = ((a * (counts @ b) - by_segment).abs().max() / counts.sum()).item()
        if missed <= _TOLERANCE:
            return a[:, None] * b
    raise TrainingError(
        f"'{name}' finds no weights with the wanted margins",
        expected=f"margins right to {_TOLERANCE:g} of the rows within {_STEPS} steps",
        got=f"{missed:.2g} after the last, with {int((counts == 0).sum())} of {counts.numel()} "
        "cells of segment and label without rows",
        fix="want margins nearer to those of the rows, or join segments until each has both labels",
    )


def _ratio(wanted: Tensor, found: Tensor) -> Tensor:
    """wanted / found, and 0 where nothing is found: what is wanted there shows as missed."""
    return torch.where(found > 0, wanted / found, 0.0)
