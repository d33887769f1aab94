"""Raking: weighted margins are the wanted ones, and the association is that of the rows."""

import numpy as np
import pytest
from crossed import Array, crossed, weights
from pydantic import ValidationError

from reweight.core.errors import TrainingError
from reweight.importance.methods.rake import Rake

COUNTS = [[0, 0], [60, 10], [30, 30], [50, 20]]
SEGMENTS = ("a", "b", "c")


def fitted(
    method: Rake, counts: list[list[int]] = COUNTS, targets: list[list[int]] | None = None
) -> tuple[Array, Array, Array]:
    """Weights of cells, and shares of the weighted rows by segment and by label."""
    found = weights(method, crossed(counts, targets), SEGMENTS[: len(counts) - 1])
    table = found * np.array(counts) / np.sum(counts)
    return found, table.sum(1), table.sum(0)


def by_hand(counts: list[list[int]], rows: Array, columns: Array) -> Array:
    """The fitted over the observed table, by a thousand plain steps."""
    table = np.array(counts, dtype=float)
    for _ in range(1000):
        table *= (rows / np.maximum(table.sum(1), 1e-300))[:, None]
        table *= columns / table.sum(0)
    return np.where(np.array(counts) > 0, table / np.maximum(counts, 1), 1)


def odds_ratios(table: Array) -> Array:
    odds: Array = table[:, 1] / table[:, 0]
    return odds[1:] / odds[:-1]


def test_margins_are_as_wanted_and_the_association_stays() -> None:
    method = Rake(segments={"c": 0.2, "a": 0.3, "b": 0.5}, positives=0.1)
    found, segments, labels = fitted(method)
    np.testing.assert_allclose(segments, [0, 0.3, 0.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(labels, [0.9, 0.1], rtol=1e-6)
    counts = np.array(COUNTS[1:])
    np.testing.assert_allclose(odds_ratios(found[1:] * counts), odds_ratios(counts), rtol=1e-5)
    total = np.sum(COUNTS)
    wanted = by_hand(COUNTS, total * np.array([0, 0.3, 0.5, 0.2]), total * np.array([0.9, 0.1]))
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_shares_of_all_segments_are_scaled_to_add_up_to_1() -> None:
    _, segments, _ = fitted(Rake(segments={"a": 0.3, "b": 0.3, "c": 0.6}))
    np.testing.assert_allclose(segments, [0, 0.25, 0.25, 0.5], rtol=1e-6)


def test_segments_that_are_not_named_share_the_rest_as_they_do_in_the_rows() -> None:
    _, segments, labels = fitted(Rake(segments={"b": 0.1}))
    np.testing.assert_allclose(segments, [0, 0.45, 0.1, 0.45], rtol=1e-6)
    # Of the labels nothing was said.
    np.testing.assert_allclose(labels, np.sum(COUNTS, axis=0) / np.sum(COUNTS), rtol=1e-6)


def test_rows_of_no_segment_keep_their_share() -> None:
    _, segments, _ = fitted(Rake(segments={"a": 0.5, "b": 0.5}), [[30, 10], [60, 20], [20, 60]])
    np.testing.assert_allclose(segments, [0.2, 0.4, 0.4], rtol=1e-6)


def test_a_label_rate_alone_leaves_the_segments_as_they_are() -> None:
    _, segments, labels = fitted(Rake(positives=0.6))
    np.testing.assert_allclose(segments, np.sum(COUNTS, axis=1) / np.sum(COUNTS), rtol=1e-6)
    np.testing.assert_allclose(labels, [0.4, 0.6], rtol=1e-6)
    assert Rake(positives=0.6).columns() == ("segment",)


def test_where_nothing_is_wanted_margins_are_those_of_the_target_rows() -> None:
    targets = [[0, 0], [2, 2], [9, 3], [1, 3]]
    found, segments, labels = fitted(Rake(), COUNTS, targets)
    np.testing.assert_allclose(segments, np.array([0, 4, 12, 4]) / 20, rtol=1e-6)
    np.testing.assert_allclose(labels, [0.6, 0.4], rtol=1e-6)
    # Margins alone: the target's own table is another.
    weighted = found * np.array(COUNTS)
    assert abs(weighted / weighted.sum() - np.array(targets) / 20).max() > 0.02
    assert Rake().columns() == ("segment", "target")


def test_a_segment_without_target_rows_weighs_0() -> None:
    found, segments, _ = fitted(Rake(), COUNTS, [[0, 0], [5, 2], [3, 6], [0, 0]])
    assert (found[3] == 0).all()
    assert segments[3] == 0
    assert (found[1:3] > 0).all()


def test_margins_that_are_as_wanted_already_weigh_1() -> None:
    found, _, _ = fitted(Rake(), COUNTS, [[rows // 10 for rows in row] for row in COUNTS])
    np.testing.assert_allclose(found, 1, rtol=1e-6)


def test_a_cell_without_rows_weighs_1_and_margins_are_met_without_it() -> None:
    counts = [[0, 0], [60, 10], [30, 30], [50, 0]]
    found, segments, labels = fitted(Rake(segments={"c": 0.3}, positives=0.3), counts)
    assert found[3, 1] == 1
    np.testing.assert_allclose(segments[3], 0.3, rtol=1e-6)
    np.testing.assert_allclose(labels[1], 0.3, rtol=1e-6)


def test_margins_that_zero_cells_forbid_are_an_error() -> None:
    # Segment a has negatives alone and b positives: the label rate is that of the segments.
    with pytest.raises(TrainingError, match="no weights with the desired margins") as caught:
        fitted(Rake(segments={"a": 0.5, "b": 0.5}, positives=0.3), [[0, 0], [40, 0], [0, 60]])
    assert "4 of 6 combinations" in str(caught.value)


def test_an_unknown_segment_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"\['d'\]") as caught:
        fitted(Rake(segments={"a": 0.5, "d": 0.1}))
    assert "['a', 'b', 'c']" in str(caught.value)


def test_shares_that_leave_nothing_to_the_others_are_an_error() -> None:
    with pytest.raises(TrainingError, match=r"none for \['c'\]"):
        fitted(Rake(segments={"a": 0.5, "b": 0.5}))


def test_a_share_of_rows_that_are_not_there_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"none of \[\"segment 'c'\"\]"):
        fitted(Rake(segments={"c": 0.5}), [[0, 0], [60, 10], [30, 30], [0, 0]])
    with pytest.raises(TrainingError, match=r"none of \['label 1'\]"):
        fitted(Rake(positives=0.5), [[0, 0], [60, 0], [30, 0]])


def test_margins_of_a_target_that_is_not_there_are_an_error() -> None:
    with pytest.raises(TrainingError, match="0 target rows of 200"):
        fitted(Rake())


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_outside_of_0_and_1_is_refused(share: float) -> None:
    for values in ({"segments": {"a": share}}, {"positives": share}):
        with pytest.raises(ValidationError, match=r"than [01]"):
            Rake.model_validate(values)
