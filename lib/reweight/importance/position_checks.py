"""What position bias can be learnt from, and known propensities that can be used."""

import torch
from torch import Tensor

from reweight.core.errors import TrainingError


def check_positions(method: str, before: float, first: float, later: float) -> None:
    """Demands that rows stand at position 1 and at later ones.

    Args:
        method: that needs them.
        before: training rows at positions below 1.
        first: at position 1.
        later: at positions above 1.

    Raises:
        TrainingError: there are no positions, or one alone, or they do not count from 1.
    """
    if before or not (first and later):
        raise TrainingError(
            f"'{method}' cannot tell positions apart",
            expected="training rows at position 1, the place looked at most, and at later ones",
            got=f"{before:.0f} rows below 1, {first:.0f} at 1, {later:.0f} above 1",
            fix="set sampling.keep.position to the place in the list, counted from 1",
        )


def check_propensities(method: str, bad: float, rows: float) -> None:
    """Demands known propensities that are probabilities above 0.

    Args:
        method: that needs them.
        bad: training rows with one that is null, NaN, 0, negative or above 1.
        rows: training rows.

    Raises:
        TrainingError: there are such rows.
    """
    if bad:
        raise TrainingError(
            f"'{method}' cannot use the propensities",
            expected="a probability of being looked at, above 0 and at most 1, for each row",
            got=f"{bad:.0f} of {rows:.0f} training rows with null, NaN or a number outside of it",
            fix="mend sampling.keep.propensity, or set training.propensity to estimate",
        )


def check_features(method: str, explained: Tensor) -> None:
    """Demands that no feature is a function of position: relevance would take in the bias.

    Args:
        method: that needs it.
        explained: share of each feature's variance that lies between positions, [D].

    Raises:
        TrainingError: for some feature it is all but 1.
    """
    telling = torch.nonzero(explained > 0.98).flatten().tolist()
    if telling:
        raise TrainingError(
            f"'{method}' cannot tell position bias from relevance",
            expected="features that do not say at which position a row stood",
            got=f"{len(telling)} feature(s) that follow from it, as number {telling[0]}, counted "
            "from 0",
            fix="leave the position out of the section features: sampling.keep.position is enough",
        )
