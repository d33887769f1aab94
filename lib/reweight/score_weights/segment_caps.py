"""Caps on the weight of segments: no segment gets more than a stated share of the total."""

from collections.abc import Mapping

from reweight.core.errors import WeightError


def factors(method: str, totals: Mapping[str, float], whole: float, cap: float) -> dict[str, float]:
    """By what the weights of each segment are multiplied so that none has more than its share.

    With C the segments that are cut, each to the share c of what is left,

        total after = (total of the others) / (1 - |C| c)

    C is grown, largest first, until nothing outside of it has more than c of that. The others keep
    their weights among each other.

    Args:
        method: its name, for errors.
        totals: weight of the largest segments, at least of the 1 / c + 1 largest.
        whole: weight of all rows, those of other segments and of none among them.
        cap: c, in (0, 1].

    Returns:
        segment -> factor below 1, of those that are cut.

    Raises:
        WeightError: so few segments that they cannot share the weight under the cap.
    """
    ordered = sorted(totals, key=lambda name: (-totals[name], name))
    rest, after = whole, whole
    for count, name in enumerate(ordered, start=1):
        if totals[name] <= cap * after:
            return {cut: cap * after / totals[cut] for cut in ordered[: count - 1]}
        rest -= totals[name]
        # Of a difference of sums some digits are noise.
        if count * cap >= 1 or rest <= 1e-12 * whole:
            break
        after = rest / (1 - count * cap)
    if rest > 1e-12 * whole and len(ordered) * cap < 1:
        return {cut: cap * after / totals[cut] for cut in ordered}
    raise WeightError(
        f"the weights of '{method}' cannot be shared under weighting.segment_cap",
        expected=f"rows beside the {len(ordered)} segment(s) that the cap cuts, to hold the rest",
        got=f"{len(ordered)} segment(s) of at most {cap:.4g} of the weight each",
        fix="raise weighting.segment_cap above 1 / number of segments, or set it to null",
    )
