"""Caps on the weight of segments: no segment gets more than a stated share of the total."""

from collections.abc import Mapping

from reweight.core.errors import WeightError


def factors(method: str, totals: Mapping[str, float], whole: float, cap: float) -> dict[str, float]:
    """The factors that keep each segment's share of the total weight at or below the cap.

    With C the set of segments that are cut, each to the share c of the new total,

        total after = (total of the others) / (1 - |C| c)

    C grows, largest segment first, until no other segment exceeds the share c of that total. The
    weights of the other segments do not change relative to each other.

    Args:
        method: name of the method, for errors.
        totals: weight of the largest segments, at least the 1 / c + 1 largest.
        whole: weight of all rows, including other segments and rows without a segment.
        cap: c, in (0, 1].

    Returns:
        segment -> factor below 1, for the segments that are cut.

    Raises:
        WeightError: too few segments to share the weight under the cap.
    """
    ordered = sorted(totals, key=lambda name: (-totals[name], name))
    rest, after = whole, whole
    for count, name in enumerate(ordered, start=1):
        if totals[name] <= cap * after:
            return {cut: cap * after / totals[cut] for cut in ordered[: count - 1]}
        rest -= totals[name]
        # The last digits of a difference of sums are noise.
        if count * cap >= 1 or rest <= 1e-12 * whole:
            break
        after = rest / (1 - count * cap)
    if rest > 1e-12 * whole and len(ordered) * cap < 1:
        return {cut: cap * after / totals[cut] for cut in ordered}
    raise WeightError(
        f"the weights of '{method}' cannot be shared under weighting.segment_cap",
        expected=f"rows outside the {len(ordered)} capped segment(s), to take up the rest",
        got=f"{len(ordered)} segment(s) with at most {cap:.4g} of the weight each",
        fix="raise weighting.segment_cap above 1 / number of segments, or set it to null",
    )
