"""Scores rows outside Spark: the scorer that the stage ``export`` writes."""

from reweight.serving.scorer import Score, Scorer, Scores

__all__ = ["Score", "Scorer", "Scores"]
