"""Checks that position bias can be estimated, and that known propensities are valid."""

from collections.abc import Sequence

import torch
from torch import Tensor

from reweight.core.errors import TrainingError

# The largest share of label events that several samples may share.
_SHARED = 0.01
# Features that a message names.
_MOST_NAMED = 5


def check_positions(method: str, before: float, first: float, later: float) -> None:
    """Checks that there are rows at position 1 and at later positions.

    Args:
        method: the name of the method that needs positions.
        before: number of training rows at positions below 1.
        first: number at position 1.
        later: number at positions above 1.

    Raises:
        TrainingError: there are no positions, or only one, or they do not count from 1.
    """
    if before or not (first and later):
        raise TrainingError(
            f"'{method}' cannot tell positions apart",
            expected="training rows at position 1, which is looked at most, and at later positions",
            got=f"{before:.0f} rows below 1, {first:.0f} at 1, {later:.0f} above 1",
            fix="set sampling.keep.position to the position in the list, counted from 1",
        )


def check_propensities(method: str, bad: float, rows: float) -> None:
    """Checks that known propensities are probabilities above 0.

    Args:
        method: the name of the method that needs propensities.
        bad: number of training rows whose propensity is null, NaN, 0, negative or above 1.
        rows: number of training rows.

    Raises:
        TrainingError: there are rows with such a propensity.
    """
    if bad:
        raise TrainingError(
            f"'{method}' cannot use the propensities",
            expected="for each row the probability that it was looked at, above 0 and at most 1",
            got=f"{bad:.0f} of {rows:.0f} training rows with null, NaN or a number out of range",
            fix="correct sampling.keep.propensity, or set training.propensity to estimate",
        )


def check_shared(method: str, shared: int, events: int, keys: Sequence[str]) -> None:
    """Checks that a label event belongs to one sample, of which position bias is a model.

    Args:
        method: the name of the method that models position bias.
        shared: number of label events that make several samples positive.
        events: number of all label events that make a sample positive.
        keys: what links a label event to its samples.

    Raises:
        TrainingError: too many label events are shared.
    """
    if shared > _SHARED * events:
        raise TrainingError(
            f"'{method}' cannot tell which sample a label event belongs to",
            expected="label events that each make one sample positive, the one that was looked at "
            f"(at most {_SHARED:.0%} of them may make several positive)",
            got=f"{shared} of {events} label events ({shared / events:.1%}) make several samples "
            f"positive: each that it follows with the same {', '.join(keys)}",
            fix="add attribute: last to sampling.label, so that a label event counts for the last "
            "sample before it; or write the column that identifies the sample into "
            "sampling.label.keys, such as keys: [impression_id]",
        )


def check_features(method: str, explained: Tensor, names: Sequence[str] = ()) -> None:
    """Checks that no feature is a function of position: relevance would absorb the bias.

    Args:
        method: the name of the method that estimates position bias.
        explained: share of each feature's variance that lies between positions, [D].
        names: of the features, [D]; empty where they have none.

    Raises:
        TrainingError: for some feature this share is almost 1.
    """
    leaking = torch.nonzero(explained > 0.98).flatten().tolist()
    if leaking:
        named = [names[place] if names else f"feature_{place}" for place in leaking]
        shown = ", ".join(named[:_MOST_NAMED]) + (", ..." if len(named) > _MOST_NAMED else "")
        raise TrainingError(
            f"'{method}' cannot tell position bias from relevance",
            expected="features that do not reveal the position of a row",
            got=f"{len(leaking)} feature(s) that follow from it: {shown}",
            fix="leave the position out of the section features; sampling.keep.position is enough",
        )
