"""The section ``evaluation``: how rankers are measured, and by which judges."""

from typing import Literal

from pydantic import Field

from reweight.core.section import Section
from reweight.evaluate.judges import Judges


class Evaluation(Section):
    """The section ``evaluation``.

    Attributes:
        ndcg_k: the cut-off rank of NDCG.
        buckets: number of buckets of groups, which the bootstrap resamples.
        replicates: number of resamples.
        confidence: level of the intervals.
        recalibration: what is taken out of a loss as its level: ``linear`` refits an intercept and
            a slope on the log odds, ``isotonic`` any monotone function.
        judges: name -> who says whether weights helped, in the order in which they are believed;
            ``recorded``, the labels of the log, is always the last unless it is listed.
        judge_positives: effective number of positives that a judge needs for a verdict.
        smallest_difference: share of the log loss of `uniform` that a difference must surely exceed
            to be called: its p-value is that of a smaller one.
        bins: number of bins of the coarse histogram.
        max_segments: number of segments shown, largest first; the rest are pooled as ``other``.
        min_positives: positives that a segment needs to count for the worst-group AUC and log loss,
            and rows of each label that it needs for intervals of its own.
    """

    ndcg_k: int = Field(default=10, ge=1)
    buckets: int = Field(default=200, ge=20)
    replicates: int = Field(default=1000, ge=100)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    recalibration: Literal["linear", "isotonic"] = "linear"
    judge_positives: int = Field(default=50, ge=1)
    judges: Judges = {}
    smallest_difference: float = Field(default=0.001, ge=0, lt=1)
    bins: int = Field(default=100, ge=10)
    max_segments: int = Field(default=10, ge=1)
    min_positives: int = Field(default=10, ge=1)
