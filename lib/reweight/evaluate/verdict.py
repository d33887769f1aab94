"""Metrics by judge -> which weights help, by whom, and which to ship.

Weights help if they rank better than uniform ones: a lower loss after the recalibration of both. A
loss that only differs in its level is repaired by two numbers, with no weights at all. Differences
are tested with Holm's correction for the number of methods, times that of rankers, and Bonferroni's
for that of judges.

The choice is made on validation rows, by the first judge that can tell. Test rows only confirm it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reweight.core.baselines import BASELINE, CONTROL, RECALIBRATED
from reweight.core.multiple_tests import holm
from reweight.evaluate.comparison import Row
from reweight.evaluate.judges import Judge
from reweight.evaluate.section import Evaluation

Values = dict[str, Any]

_LEVEL = 0.05
HELPS, HURTS, LEVEL = "helps", "hurts", "hurts the level"
NO_DIFFERENCE = "no significant difference"
_RANKING, _OFF = "ranking_log_loss", "level_log_loss"


def verdicts(
    rows: Sequence[Row],
    judges: Mapping[str, Judge],
    evaluation: Evaluation,
    others: Sequence[Row] = (),
) -> dict[str, Values]:
    """What each judge says of one ranker, in the order in which they are believed.

    Args:
        rows: the output of ``comparison.measure`` for the ranker.
        judges: name -> judge.
        evaluation: the section ``evaluation``.
        others: that of the run's other rankers, whose differences count in the correction.

    Returns:
        Judge -> ``kind``, ``says``, ``rows``, ``effective_positives``, ``able`` (with the
        ``reason`` why not), ``text``, and by split the outcome of each method.
    """
    cells = _cells(rows)
    facts = {name: _facts(cells, name, judge, evaluation) for name, judge in judges.items()}
    able = sum(fact["able"] for fact in facts.values())
    for name, fact in facts.items():
        for split in ("validation", "test"):
            fact[split] = _outcomes(cells, name, split, able, others) if fact["able"] else {}
        fact["text"] = _sentence(name, fact)
    return facts


def decision(rows: Sequence[Row], said: Mapping[str, Values]) -> Values:
    """Which weights to ship, chosen on validation rows and confirmed, or not, on test rows.

    Args:
        rows: the output of ``comparison.measure``.
        said: the output of ``verdicts``.
    """
    judge = leading(said)
    if judge is None:
        return {
            "weights": BASELINE,
            "judge": None,
            "confirmed": None,
            "text": f"Ship {BASELINE} weights: no judge has enough positives to tell.",
        }
    cells = _cells(rows)
    outcomes = said[judge]["validation"]
    better = [m for m, o in outcomes.items() if o["outcome"] == HELPS and m != CONTROL]
    if not better:
        text = f"Ship {BASELINE} weights: by {judge}, no method ranks validation rows better."
        return {"weights": BASELINE, "judge": judge, "confirmed": None, "text": text}
    chosen = min(better, key=lambda m: cells[judge, "validation", m, _RANKING, "value"]["value"])
    outcome = said[judge]["test"][chosen]["outcome"]
    numbers = {
        split: {
            name: _numbers(cells, judge, split, chosen, name) for name in (_RANKING, _OFF, "auc")
        }
        for split in ("validation", "test")
    }
    confirmed = outcome == HELPS
    text = f"Ship the weights of {chosen}: chosen on validation rows by {judge}, "
    text += "and confirmed on test rows." if confirmed else f"but on test rows: {outcome}."
    if outcome in (HURTS, NO_DIFFERENCE):
        text = text.replace("Ship the weights", "Do not ship the weights yet")
    if said[judge]["test"][chosen]["level"] == "worse":
        text += " Refit the intercept of its ranker (ranking.recalibrate): its level is off."
    return {
        "weights": chosen,
        "judge": judge,
        "confirmed": confirmed,
        "text": text,
        **numbers,
    }


def leading(said: Mapping[str, Values]) -> str | None:
    """The first judge that can tell."""
    return next((name for name, fact in said.items() if fact["able"]), None)


def disagreements(
    said: Mapping[str, Values], judges: Mapping[str, Judge], visible: Collection[str] | None
) -> list[str]:
    """Why other judges say something else than the first one: a sentence for each.

    Args:
        said: the output of ``verdicts``.
        judges: name -> judge.
        visible: the mechanisms that ``diagnose`` sees in the log; None if it was not asked.
    """
    first = leading(said)
    if first is None:
        return []
    sentences = []
    for name, fact in said.items():
        if name == first or not fact["able"]:
            continue
        differ = [
            m
            for m, outcome in fact["test"].items()
            if (outcome["outcome"] == HELPS) != (said[first]["test"][m]["outcome"] == HELPS)
        ]
        shared = judges[name].shares - judges[first].shares
        if differ:
            why = _why(name, sorted(shared), visible)
            sentences.append(f"{name} disagrees with {first} on {', '.join(differ)}: {why}.")
    return sentences


def _why(name: str, shared: Sequence[str], visible: Collection[str] | None) -> str:
    if not shared:
        return "they see different rows, and neither shares a fault that the other does not"
    if visible is None:
        return f"its labels share {_listed(shared)}, if the log has any; jobs/diagnose.py tells"
    seen = [mechanism for mechanism in shared if mechanism in visible]
    if not seen:
        return f"its labels would share {_listed(shared)}, of which diagnose finds none"
    return f"its labels share the {_listed(seen)} that diagnose finds in this log"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _cells(rows: Sequence[Row]) -> dict[tuple[str, str, str, str, str], Row]:
    return {
        (r["judge"], r["split"], r["method"], r["name"], r["kind"]): r
        for r in rows
        if r["segment"] is None
    }


def _facts(cells: Any, name: str, judge: Judge, evaluation: Evaluation) -> Values:
    facts: Values = {"kind": judge.judge, "says": judge.says, "able": True}
    for split in ("test", "validation"):
        counts = {
            key: (cells.get((name, split, BASELINE, key, "value")) or {}).get("value") or 0.0
            for key in ("rows", "positives", "effective_positives")
        }
        if split == "test":
            facts |= counts
        if counts["effective_positives"] < evaluation.judge_positives:
            facts["able"] = False
            facts["reason"] = (
                f"{counts['effective_positives']:.0f} effective positives in {split}, fewer than "
                f"evaluation.judge_positives: {evaluation.judge_positives}"
            )
    return facts


def _outcomes(
    cells: Any, judge: str, split: str, judges: int, others: Sequence[Row]
) -> dict[str, Values]:
    """Method -> its outcome, and what ranking and level contribute."""
    methods = [
        method
        for (own, part, method, name, kind) in cells
        if (own, part, name, kind) == (judge, split, _RANKING, "difference")
        and method != RECALIBRATED
    ]
    parts = {}
    for name in (_RANKING, _OFF):
        rows = [cells[judge, split, method, name, "difference"] for method in methods]
        family = [*rows, *_differences(others, judge, split, name)]
        known = [1.0 if row["p"] is None else row["p"] for row in family]
        corrected = [min(1.0, judges * p) for p in holm(known)[: len(rows)]]
        parts[name] = [
            {"difference": row["value"], "p": p, "word": _word(row["value"], p)}
            for row, p in zip(rows, corrected, strict=True)
        ]
    outcomes = {}
    for method, ranking, level in zip(methods, parts[_RANKING], parts[_OFF], strict=True):
        outcome = {"better": HELPS, "worse": HURTS}.get(ranking["word"], NO_DIFFERENCE)
        if outcome == NO_DIFFERENCE and level["word"] == "worse":
            outcome = LEVEL
        outcomes[method] = {
            "outcome": outcome,
            "ranking": ranking["word"],
            "level": level["word"],
            "difference": ranking["difference"],
            "p": ranking["p"],
        }
    return outcomes


def _differences(rows: Sequence[Row], judge: str, split: str, name: str) -> list[Row]:
    """The rows with a metric's differences of all methods to the baseline."""
    wanted = (judge, split, name, "difference", None)
    keys = ("judge", "split", "name", "kind", "segment")
    return [
        row
        for row in rows
        if tuple(row[key] for key in keys) == wanted and row["method"] != RECALIBRATED
    ]


def _word(difference: float | None, p: float) -> str:
    if difference is None or not p < _LEVEL:
        return NO_DIFFERENCE
    return "better" if difference < 0 else "worse"


def _sentence(name: str, fact: Values) -> str:
    lead = f"{name} ({fact['says']})"
    if not fact["able"]:
        return f"{lead} cannot tell: {fact['reason']}."
    by_outcome: dict[str, list[str]] = {}
    for method, outcome in fact["test"].items():
        by_outcome.setdefault(outcome["outcome"], []).append(method)
    parts = [
        text + ", ".join(by_outcome[outcome])
        for outcome, text in (
            (HELPS, "help: "),
            (HURTS, "hurt: "),
            (LEVEL, "hurt the level alone, which recalibration repairs: "),
            (NO_DIFFERENCE, "no significant difference: "),
        )
        if outcome in by_outcome
    ]
    if HELPS not in by_outcome:
        parts.insert(0, "no method helps")
    text = f"{lead}: {'; '.join(parts)}."
    control = fact["test"].get(CONTROL, {}).get("ranking", NO_DIFFERENCE)
    if control != NO_DIFFERENCE:
        # Intervals cover the choice of test rows only; the control also shows training noise.
        moved = fact["test"][CONTROL]["difference"]
        text += f" Weights drawn at random ({CONTROL}) change the ranking loss by {moved:+.4f}:"
        text += " smaller differences may be chance."
    return text


def _numbers(cells: Any, judge: str, split: str, method: str, name: str) -> Values:
    row = cells[judge, split, method, name, "difference"]
    return {key: row[key] for key in ("value", "low", "high", "p")}
