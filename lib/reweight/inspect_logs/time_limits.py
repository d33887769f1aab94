"""Where the times of a sample begin and end, by the rule that ``clean_logs`` has."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reweight.clean_logs.times import Group, seen_span

_DAY = 86400
_LATEST = 4_102_444_800  # 2100


@dataclass(frozen=True)
class Limits:
    """The times of a sample.

    Attributes:
        first: the first plausible time, seconds since 1970; None if there is none.
        last: the last one.
        before: times before the log, the earliest first.
        after: times after the log.
    """

    first: float | None
    last: float | None
    before: tuple[float, ...]
    after: tuple[float, ...]


def limits(seconds: Iterable[float]) -> Limits:
    """Where the times begin and end, and those that are far from the rest."""
    ordered = sorted(seconds)
    plausible = [s for s in ordered if 0 <= s < _LATEST]
    days = Counter(int(s // _DAY) for s in plausible)
    span = seen_span([Group("log", (), day, n, n) for day, n in days.items()])
    inside = [s for s in plausible if span.holds(int(s // _DAY))]
    if not inside:
        return Limits(None, None, (), ())
    return Limits(
        inside[0],
        inside[-1],
        tuple(s for s in ordered if s < inside[0]),
        tuple(s for s in ordered if s > inside[-1]),
    )
