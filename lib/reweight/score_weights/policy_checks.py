"""Checks that a ranker can be trained on the weights of a method; each raises a ``WeightError``."""

import logging

from reweight.core.errors import WeightError
from reweight.score_weights.training_rows import Sums

_LOG = logging.getLogger(__name__)


def check_finite(method: str, sums: Sums) -> None:
    """Checks that importance is a finite number for every row."""
    if sums.bad:
        raise WeightError(
            f"the importance of '{method}' is not finite",
            expected="a finite number for every training row",
            got=f"{sums.bad} rows with null, NaN or infinity",
            fix="look at the loss curve, and lower the learning rate or scale the features",
        )


def check_mass(method: str, sums: Sums) -> None:
    """Checks that weights are not negative, and not all 0."""
    if sums.low < 0 or not sums.total > 0:
        raise WeightError(
            f"the importance of '{method}' gives no valid weights",
            expected="values >= 0 that are not all 0",
            got=f"minimum {sums.low:.4g}, sum {sums.total:.4g} over the training split",
            fix="set weighting.map to rank, which accepts values of any sign",
        )


def check_ess(method: str, share: float, *, warn: float, refuse: float) -> None:
    """Checks that enough effective samples are left, and warns if they are few."""
    advice = "raise it with weighting.mix below 1, weighting.temper below 1 or weighting.clip_ratio"
    if share < refuse:
        raise WeightError(
            f"the weights of '{method}' leave too few effective samples",
            expected=f"ESS of at least {refuse:.0%} of the training rows (weighting.ess_refuse)",
            got=f"{share:.1%}",
            fix=advice + ", or lower weighting.ess_refuse if this is intended",
        )
    if share < warn:
        _LOG.warning("'%s' has an ESS of %.1f%% of the rows: %s", method, 100 * share, advice)


def check_limit(method: str, limit: float, share: float) -> None:
    """Checks that clipping at a quantile leaves weights above 0."""
    if limit <= 0:
        raise WeightError(
            f"weighting.clip_quantile leaves '{method}' no weights",
            expected="a positive weight at that quantile",
            got=f"{limit:.4g} at {share}, since most importance is 0",
            fix="raise weighting.clip_quantile, or use weighting.clip_ratio instead",
        )
