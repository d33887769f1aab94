"""What a challenger has to show before its weights go live.

A difference is that of the loss that decides, challenger less live, on the same validation rows,
with the paired interval and the corrections of the stage evaluate. The challenger goes live if the
difference is called better, and its whole interval is below 0, on ``horizon`` different sets of
rows in a row. Else the live weights stay, unless uniform ones are better than they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reweight.core.baselines import BASELINE
from reweight.evaluate import verdict
from reweight.evaluate.comparison import Row
from reweight.evaluate.section import Evaluation
from reweight.promote.decisions import (
    BETTER,
    KEPT,
    PROMOTED,
    UNIFORM,
    WORSE,
    Decision,
    Judgement,
    Version,
)

# The arm of the live weights; no method has such a name.
LIVE = "the live weights"
_OUTCOMES = {verdict.HELPS: BETTER, verdict.HURTS: WORSE}


@dataclass(frozen=True)
class Judged:
    """What a judge says of a challenger.

    Attributes:
        judgement: the challenger less the live weights; None if no judge can tell.
        uniform: whether uniform weights are better than the live ones.
        why: why there is no judgement.
    """

    judgement: Judgement | None
    uniform: bool = False
    why: str = ""


def judged(
    rows: Sequence[Row],
    method: str,
    facts: Mapping[str, Any],
    evaluation: Evaluation,
) -> Judged:
    """What a judge says, from metrics of validation rows.

    Args:
        rows: the output of ``comparison.measure`` with ``LIVE`` as the baseline, for the methods
            of the challenger's run.
        method: the challenger's method.
        facts: ``judge``, ``metric``, ``rows``, ``rows_hash`` and ``seed``.
        evaluation: the section ``evaluation`` of the challenger's run.
    """
    judge, metric = facts["judge"], facts["metric"]
    outcomes = verdict.compared(rows, judge, "validation", metric)
    outcome = outcomes[method]
    word = _OUTCOMES.get(outcome["outcome"], verdict.NO_DIFFERENCE)
    cell = next(
        row
        for row in rows
        if (row["judge"], row["method"], row["name"], row["kind"], row["segment"])
        == (judge, method, metric, "difference", None)
    )
    if word == BETTER and not (cell["high"] is not None and cell["high"] < 0):
        word = verdict.NO_DIFFERENCE
    judgement = Judgement(
        outcome=word,
        estimate=cell["value"],
        low=cell["low"],
        high=cell["high"],
        p=outcome["p"],
        confidence=evaluation.confidence,
        **facts,
    )
    return Judged(judgement, outcomes[BASELINE]["outcome"] == verdict.HELPS)


def decided(
    challenger: Version,
    live: Version | None,
    found: Judged,
    history: Sequence[Decision],
    horizon: int,
) -> tuple[str, str, Version]:
    """The decision, its reason, and the version that is live after it.

    Args:
        challenger: the weights that want to go live.
        live: the live weights, over the rows on which they were judged; None before the first
            decision.
        found: the output of ``judged``.
        history: the decisions so far, oldest first.
        horizon: number of sets of rows on which the challenger has to be better.
    """
    stays = live or Version.uniform(challenger.run)
    kept = KEPT if live else UNIFORM
    if challenger.is_same(stays):
        return kept, f"{challenger} is live already.", challenger
    judgement = found.judgement
    if judgement is None:
        return kept, found.why, stays
    summary = _judgement_line(judgement)
    if judgement.outcome == BETTER and challenger.method != BASELINE:
        if _promoted_before(history, challenger, judgement.rows_hash):
            return kept, f"{summary} The same rows promoted it before it was replaced.", stays
        times = _times_better(history, challenger, stays, judgement.rows_hash)
        if times >= horizon:
            more = f" It was better on {times} sets of rows in a row." if horizon > 1 else ""
            return PROMOTED, summary + more, challenger
        summary += (
            f" So far it was better on {times} of {horizon} sets of rows (promotion.horizon)."
        )
    if found.uniform and stays.method != BASELINE:
        text = f"{summary} Uniform weights are better than the live ones."
        return UNIFORM, text, Version.uniform(challenger.run)
    return kept, summary, stays


def _judgement_line(judgement: Judgement) -> str:
    low, high = (
        "unknown" if end is None else f"{end:+.5f}" for end in (judgement.low, judgement.high)
    )
    return (
        f"By {judgement.judge} on {judgement.rows:,} validation rows: {judgement.outcome}; "
        f"{verdict.LOSSES[judgement.metric]} {judgement.estimate:+.5f} [{low}, {high}], "
        f"p {judgement.p:.2g}."
    )


def _times_better(
    history: Sequence[Decision], challenger: Version, live: Version, rows_hash: str
) -> int:
    """On how many sets of rows in a row the challenger was better, with those of now."""
    sets = {rows_hash}
    for decision in reversed(history):
        # It was judged against what was live before it; before the first one, uniform weights were.
        if not live.is_same(decision.before or Version.uniform(decision.live.run)):
            break
        judgement = decision.judgement
        if judgement is None or not challenger.is_same(decision.challenger):
            continue
        if judgement.outcome != BETTER or decision.decision == PROMOTED:
            break
        sets.add(judgement.rows_hash)
    return len(sets)


def _promoted_before(history: Sequence[Decision], challenger: Version, rows_hash: str) -> bool:
    return any(
        decision.decision == PROMOTED
        and challenger.is_same(decision.challenger)
        and decision.judgement is not None
        and decision.judgement.rows_hash == rows_hash
        for decision in history
    )
