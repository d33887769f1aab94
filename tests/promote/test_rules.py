"""Which challenger goes live, from predictions in memory."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from scipy.stats import norm
from tests.promote.arms import arms

from reweight.benchmark.conditions.metrics_in_memory import measured
from reweight.evaluate.section import Evaluation
from reweight.promote.decisions import (
    BETTER,
    KEPT,
    PROMOTED,
    ROLLED_BACK,
    UNIFORM,
    Decision,
    Judgement,
    Version,
    versions_so_far,
)
from reweight.promote.rules import LIVE, Judged, decided, judged

SEEDS = 20
EVALUATION = Evaluation(replicates=100, buckets=50, bins=20)
FACTS = {"judge": "recorded", "metric": "ranking_log_loss", "rows": 9, "rows_hash": "1", "seed": 0}
FIRST, MONDAY, TUESDAY = (Version(name, name, "density_ratio") for name in ("a", "b", "c"))


def judgement(seed: int, noises: dict[str, float], method: str = "density_ratio") -> Judged:
    """What is said of a method if the scores of each arm have so much noise."""
    predictions = arms(seed, noises)
    found = measured(predictions, EVALUATION, LIVE, seed)
    return judged(found, method, FACTS | {"rows_hash": str(seed), "seed": seed}, EVALUATION)


def decision_of(found: Judged, history: list[Decision] | None = None, horizon: int = 1) -> str:
    return decided(MONDAY, FIRST, found, history or [], horizon)[0]


def standard_errors(found: Judged) -> float:
    one = found.judgement
    assert one is not None
    assert one.low is not None
    assert one.high is not None
    return -one.estimate / ((one.high - one.low) / 3.92)


def test_worse_is_never_promoted_and_three_standard_errors_better_every_time() -> None:
    noises = {LIVE: 1.1, "uniform": 1.5, "worse": 1.4, "density_ratio": 0.1}
    for seed in range(SEEDS):
        found = measured(arms(seed, noises, 250), EVALUATION, LIVE, seed)
        worse, better = (judged(found, m, FACTS, EVALUATION) for m in ("worse", "density_ratio"))
        assert decision_of(worse) == KEPT
        assert standard_errors(better) >= 3
        assert decision_of(better) == PROMOTED


@pytest.mark.parametrize("methods", [1, 5, 15])
def test_just_three_standard_errors_are_enough_beside_other_methods(methods: int) -> None:
    names = ["density_ratio", "uniform", *[f"m{i}" for i in range(methods - 1)]]
    rows = []
    for name in names:
        z = -3.0 if name == "density_ratio" else 0.1
        numbers = {"value": z, "low": z - 1.96, "high": z + 1.96, "p": 2 * norm.sf(abs(z))}
        at = {"judge": "recorded", "split": "validation", "segment": None, "method": name}
        for metric in ("log_loss", "ranking_log_loss", "level_log_loss"):
            rows.append(at | {"name": metric, "kind": "difference"} | numbers)
    assert decision_of(judged(rows, "density_ratio", FACTS, EVALUATION)) == PROMOTED


def test_equal_weights_are_not_promoted() -> None:
    found = judgement(0, {LIVE: 0.3, "uniform": 0.5, "density_ratio": 0.3})
    assert found.judgement is not None
    assert found.judgement.estimate == 0
    assert decision_of(found) == KEPT


def test_live_weights_that_are_worse_than_uniform_ones_make_place_for_them() -> None:
    found = judgement(1, {LIVE: 0.6, "uniform": 0.1, "density_ratio": 0.6})
    word, reason, live = decided(MONDAY, FIRST, found, [], 1)
    assert (word, live.method) == (UNIFORM, "uniform")
    assert "Uniform weights are better" in reason


def test_with_nothing_to_trust_uniform_weights_are_live() -> None:
    word, reason, live = decided(MONDAY, None, Judged(None, why="No judge can tell."), [], 1)
    assert (word, reason, live) == (UNIFORM, "No judge can tell.", Version.uniform("b"))
    # Later, what is live stays.
    assert decided(MONDAY, FIRST, Judged(None, why=""), [], 1)[::2] == (KEPT, FIRST)


def row(
    word: str,
    live: Version,
    challenger: Version | None,
    rows: str = "1",
    outcome: str = BETTER,
    before: Version | None = None,
) -> Decision:
    before = live if word == KEPT else before
    said = Judgement("recorded", "log_loss", outcome, -0.1, -0.2, -0.05, 1e-4, 0.95, 9, rows, 0)
    when = datetime(2026, 1, 5, tzinfo=UTC)
    return Decision(1, when, "ann", word, "", challenger, before, live, challenger and said)


def better(rows: str) -> Judged:
    return Judged(replace(row(KEPT, FIRST, MONDAY).judgement, rows_hash=rows))  # type: ignore[type-var]


def test_a_horizon_counts_different_rows_in_a_row() -> None:
    again = replace(MONDAY, run="b_on_tuesday")
    history = [row(KEPT, FIRST, MONDAY, "1"), row(KEPT, FIRST, again, "2")]
    assert decided(again, FIRST, better("3"), history, 3)[0] == PROMOTED
    word, reason, live = decided(again, FIRST, better("2"), history, 3)
    assert (word, live) == (KEPT, FIRST)
    assert "better on 2 of 3 sets of rows" in reason
    # Other challengers do not count, and a day without a difference starts anew.
    others = [*history, row(KEPT, FIRST, TUESDAY, "4", "worse")]
    assert decided(again, FIRST, better("3"), others, 3)[0] == PROMOTED
    missed = [history[0], row(KEPT, FIRST, again, "2", "worse")]
    assert decided(again, FIRST, better("3"), missed, 2)[0] == KEPT
    # So do other live weights.
    assert decided(again, TUESDAY, better("3"), history, 2)[0] == KEPT


def test_a_horizon_does_not_count_what_was_judged_against_other_weights() -> None:
    uniform = Version.uniform("b")
    # Better than the live weights, as uniform ones are, which take their place.
    found = replace(better("1"), uniform=True)
    history = [row(PROMOTED, FIRST, FIRST, "0", before=uniform)]
    word, _, live = decided(MONDAY, FIRST, found, history, 2)
    assert (word, live) == (UNIFORM, uniform)
    history.append(row(word, live, MONDAY, "1", before=FIRST))
    word, reason, _ = decided(MONDAY, live, better("2"), history, 2)
    assert word == KEPT
    assert "better on 1 of 2 sets of rows" in reason
    history.append(row(word, live, MONDAY, "2"))
    word, reason, _ = decided(MONDAY, live, better("3"), history, 2)
    assert word == PROMOTED
    assert "better on 2 sets of rows in a row" in reason


def test_a_horizon_counts_a_first_decision_as_judged_against_uniform_weights() -> None:
    first = row(UNIFORM, Version.uniform("b"), MONDAY, "1")
    assert first.before is None
    assert decided(MONDAY, first.live, better("2"), [first], 2)[0] == PROMOTED
    # Other weights went live at once: nothing was judged against them.
    first = row(PROMOTED, FIRST, FIRST, "1")
    assert decided(MONDAY, FIRST, better("2"), [first], 2)[0] == KEPT


def test_after_a_rollback_the_same_rows_promote_nothing() -> None:
    history = [
        row(PROMOTED, FIRST, FIRST),
        row(PROMOTED, MONDAY, MONDAY, "2"),
        row(ROLLED_BACK, FIRST, None),
    ]
    assert decided(MONDAY, FIRST, better("2"), history, 1)[0] == KEPT
    assert decided(MONDAY, FIRST, better("3"), history, 1)[0] == PROMOTED


def test_rollbacks_go_back_version_by_version() -> None:
    history = [row(PROMOTED, v, v) for v in (FIRST, MONDAY, TUESDAY)]
    newer = replace(TUESDAY, run="later")
    history.append(row(KEPT, newer, MONDAY))
    assert versions_so_far(history) == [FIRST, MONDAY, newer]
    history.append(row(ROLLED_BACK, MONDAY, None))
    assert versions_so_far(history) == [FIRST, MONDAY]
    history.append(row(ROLLED_BACK, FIRST, None))
    assert versions_so_far(history) == [FIRST]


@pytest.mark.parametrize("challenger", [replace(FIRST, run="today"), Version.uniform("x")])
def test_what_is_live_already_is_not_judged(challenger: Version) -> None:
    live = FIRST if challenger.method != "uniform" else Version.uniform("a")
    word, reason, after = decided(challenger, live, Judged(None), [], 1)
    assert (word, after) == (KEPT, challenger)
    assert "live already" in reason


def test_a_run_that_made_its_weights_again_has_another_version() -> None:
    one, other = (replace(MONDAY, key=key) for key in ("k1", "k2"))
    assert one.is_same(replace(one, run="b_on_tuesday", key="k9 k1"))
    assert not one.is_same(other)
    assert not one.is_same(replace(other, run="b_on_tuesday", key="k9 k2"))
    # Earlier versions of the library wrote no keys.
    assert one.is_same(MONDAY)
    assert MONDAY.is_same(one)
    word, reason, _ = decided(other, one, better("2"), [row(PROMOTED, one, one, "1")], 1)
    assert word == PROMOTED
    assert "live already" not in reason


def test_a_version_is_left_while_its_run_has_the_weights_that_were_judged() -> None:
    one = replace(MONDAY, run="b_on_tuesday", key="k9 k1")
    assert one.is_left("k9")
    assert not one.is_left("k1")
    assert not one.is_left(None)
    assert MONDAY.is_left("k9")
    assert replace(Version.uniform("b"), key="k1").is_left("k2")


def test_a_row_of_an_earlier_version_of_the_library_has_no_keys() -> None:
    one = row(PROMOTED, replace(MONDAY, key="k1"), replace(MONDAY, key="k1"))
    written = one.row() | {"decided_at": int(one.decided_at.timestamp() * 1e6)}
    assert Decision.of(written) == one
    older = {name: value for name, value in written.items() if not name.endswith("_key")}
    assert Decision.of(older).live == MONDAY


def test_a_decision_is_the_row_that_it_was_written_as() -> None:
    for one in (row(PROMOTED, MONDAY, MONDAY), row(ROLLED_BACK, FIRST, None)):
        micros = int(one.decided_at.timestamp() * 1e6)
        assert Decision.of(one.row() | {"decided_at": micros}) == one
