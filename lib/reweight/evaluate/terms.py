"""What a row and a group add to the sums that metrics are made of: over columns and arrays."""

from dataclasses import dataclass
from typing import Generic

from reweight.core.arithmetic import Arithmetic, Value

# Width of a fine bin in log odds, and where the outermost bins start: ties within a bin change the
# AUC by less than 1e-5.
FINE, EDGE = 0.005, 20.0
# Predictions below this are raised to it, so that their logarithm is finite.
LOWEST = 1e-15
# What the metrics of a group are made of: rows, masses, ordered pairs, pairs of a row with itself,
# rows with a mass below 0, and gains.
GROUP_SUMS = ("n", "pos", "neg", "pairs", "own", "signed", "dcg", "ideal")


@dataclass(frozen=True)
class LossTerms(Generic[Value]):
    """A row's contributions to the sums, and its bin in the histogram.

    Attributes:
        p: the prediction, clipped so that its logarithms are finite.
        bin: fine bin of its log odds.
        loss: log loss, times the masses.
        square: squared error, times the masses.
    """

    p: Value
    bin: Value
    loss: Value
    square: Value


def loss_terms(
    arithmetic: Arithmetic[Value], probability: Value, positive: Value, negative: Value
) -> LossTerms[Value]:
    """Computes the terms of each row.

    Args:
        arithmetic: the operations on columns or arrays.
        probability: the predictions.
        positive: how much the row counts as a positive: 1 or 0 for a recorded label.
        negative: how much it counts as a negative.
    """
    p = arithmetic.clip(probability, LOWEST, 1 - 1e-12)
    logit = arithmetic.clip(arithmetic.log(p / (1 - p)), -EDGE, EDGE)
    return LossTerms(
        p=p,
        bin=arithmetic.floor(logit / FINE),
        loss=-positive * arithmetic.log(p) - negative * arithmetic.log1p(-p),
        square=positive * arithmetic.power(p - 1, 2.0) + negative * arithmetic.power(p, 2.0),
    )


def after_recalibration(
    arithmetic: Arithmetic[Value], q: Value, positive: Value, negative: Value
) -> dict[str, Value]:
    """The sums of rows, or of a bin of rows, with the recalibrated probability q."""
    terms = loss_terms(arithmetic, q, positive, negative)
    return {
        "ranking_log_loss": terms.loss,
        "ranking_brier": terms.square,
        "ranking_predicted": (positive + negative) * terms.p,
    }


def group_terms(
    arithmetic: Arithmetic[Value],
    n: Value,
    pos: Value,
    neg: Value,
    pairs: Value,
    own: Value,
    signed: Value,
    dcg: Value,
    ideal: Value,
) -> dict[str, Value]:
    """A group's contributions to GAUC and NDCG.

    Signed masses are those of labels only in their expected values, which a ratio of each group
    does not have. Two different rows of a group are independent, so sums over their pairs do:

        GAUC = sum_g sum_{i != j} pos_i neg_j [s_i > s_j] / sum_g (P_g N_g - sum_i pos_i neg_i)

    Args:
        arithmetic: the operations on columns or arrays.
        n: number of rows in the group.
        pos: its positive mass.
        neg: its negative mass.
        pairs: mass of its pairs of a positive above a negative, with ties half, also of a row with
            itself.
        own: mass of the pairs of a row with itself, sum_i pos_i neg_i.
        signed: number of rows with a mass below 0.
        dcg: its discounted cumulative gain.
        ideal: its highest possible gain.
    """
    has_both = (pos > 0) & (neg > 0)
    all_pairs = arithmetic.where(has_both, pos * neg, 1.0)
    has_both_classes = arithmetic.where(has_both, 1.0, 0.0)
    has_positives = arithmetic.where(ideal > 0, 1.0, 0.0)
    return {
        "gauc": arithmetic.where(has_both, pairs / all_pairs * n, 0.0),
        "gauc_rows": has_both_classes * n,
        "ndcg": arithmetic.where(ideal > 0, dcg / arithmetic.where(ideal > 0, ideal, 1.0), 0.0),
        "ndcg_groups": has_positives,
        "groups_left_out": 1 - has_both_classes,
        "pairs_in_order": pairs - own / 2,
        "pairs_of_rows": pos * neg - own,
        "signed": signed,
    }
