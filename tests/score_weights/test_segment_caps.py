"""Caps on the weight of segments."""

import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reweight.core.errors import WeightError
from reweight.score_weights.segment_caps import factors


def capped(totals: dict[str, float], cap: float, none: float = 0.0) -> dict[str, float]:
    """Shares of the weight that segments have in the end."""
    return shared(totals, cap, none)[0]


def shared(totals: dict[str, float], cap: float, none: float) -> tuple[dict[str, float], float]:
    """The same, and the share of the whole weight that is left."""
    before = sum(totals.values()) + none
    found = factors("m", totals, before, cap)
    after = {name: total * found.get(name, 1.0) for name, total in totals.items()}
    whole = sum(after.values()) + none
    return {name: total / whole for name, total in after.items()}, whole / before


def test_one_large_segment_is_cut_to_its_share() -> None:
    assert capped({"a": 8, "b": 1, "c": 1}, 0.5) == pytest.approx({"a": 0.5, "b": 0.25, "c": 0.25})


def test_cutting_one_may_leave_another_too_large() -> None:
    shares = capped({"a": 60, "b": 29, "c": 11}, 0.4)
    assert shares == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.2})


def test_nothing_is_cut_below_the_cap() -> None:
    assert factors("m", {"a": 3, "b": 2}, 5, 0.6) == {}


def test_rows_of_no_segment_are_never_cut() -> None:
    assert capped({"a": 5}, 0.25, none=5) == pytest.approx({"a": 0.25})


@pytest.mark.parametrize("totals", [{"a": 3.0, "b": 1.0}, {"a": 1.0}])
def test_a_cap_that_cannot_hold_is_refused(totals: dict[str, float]) -> None:
    with pytest.raises(WeightError, match="cannot be shared") as caught:
        factors("m", totals, sum(totals.values()), 0.4)
    assert "raise weighting.segment_cap" in str(caught.value)


@given(
    st.lists(st.floats(0.01, 1e4), min_size=1, max_size=8),
    st.floats(0.05, 1.0),
    st.floats(0.0, 1e3),
)
def test_no_share_is_above_the_cap_and_the_order_stays(
    weights: list[float], cap: float, none: float
) -> None:
    totals = {str(i): w for i, w in enumerate(weights)}
    try:
        shares, left = shared(totals, cap, none)
    except WeightError:
        assert none == pytest.approx(0, abs=1e-9 * sum(weights)) and len(weights) * cap < 1 + 1e-9
        return
    # What is left is a difference of sums: the digits that it lost are noise.
    bound = 1 + 1e-9 + len(weights) * sys.float_info.epsilon / left
    assert max(shares.values()) <= cap * bound
    ordered = sorted(totals, key=lambda name: totals[name])
    kept = [shares[name] for name in ordered]
    assert all(a <= b * bound for a, b in pairwise(kept))
