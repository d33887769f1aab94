"""Metrics by judge -> which weights help, by whom, and which to ship.

Weights help if they rank better than uniform ones: a lower loss after the recalibration of both. A
loss that only differs in its level is repaired by two numbers, with no weights at all. Differences
are tested with Holm's correction for the number of methods, times that of rankers, and Bonferroni's
for that of judges. Only those are called that are surely larger than
``evaluation.smallest_difference``, and larger than what random weights make: intervals cover the
choice of test rows only, and that control also shows the noise of training. The control itself
neither helps nor hurts.

A recalibration needs labels of validation rows. Where open labels have no window, these arrive only
when the weights have long been in use: there the whole loss decides.

The choice is made on validation rows, by the first judge that can tell. Test rows only confirm it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from reweight.core.baselines import BASELINE, CONTROL, RECALIBRATED
from reweight.core.multiple_tests import holm
from reweight.evaluate.bootstrap import TOO_FEW
from reweight.evaluate.comparison import Row
from reweight.evaluate.judges import Judge
from reweight.evaluate.section import Evaluation

Values = dict[str, Any]

_LEVEL = 0.05
HELPS, HURTS, LEVEL = "helps", "hurts", "hurts the level"
NO_DIFFERENCE, NOISE = "no significant difference", "control"
RANKING, WHOLE, _OFF = "ranking_log_loss", "log_loss", "level_log_loss"

# The losses that can decide, and what they are called.
LOSSES = {RANKING: "ranking loss", WHOLE: "log loss"}


def verdicts(
    rows: Sequence[Row],
    judges: Mapping[str, Judge],
    evaluation: Evaluation,
    decides: str = RANKING,
    others: Sequence[Row] = (),
) -> dict[str, Values]:
    """What each judge says of one ranker, in the order in which they are believed.

    Args:
        rows: the output of ``comparison.measure`` for the ranker.
        judges: name -> judge.
        evaluation: the section ``evaluation``.
        decides: the loss that decides, ``RANKING`` or ``WHOLE``.
        others: that of the run's other rankers, whose differences count in the correction.

    Returns:
        Judge -> ``kind``, ``says``, ``decides``, ``rows``, ``effective_positives``,
        ``effective_buckets``, ``able`` (with the ``reason`` why not), ``text``, and by split the
        outcome of each method.
    """
    cells = _cells(rows)
    facts = {
        name: _facts(cells, name, judge, evaluation) | {"decides": decides}
        for name, judge in judges.items()
    }
    able = sum(fact["able"] for fact in facts.values())
    for name, fact in facts.items():
        for split in ("validation", "test"):
            fact[split] = (
                _outcomes(cells, (name, split), decides, able, others) if fact["able"] else {}
            )
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
            "text": f"Ship {BASELINE} weights: no judge has enough positives and groups to tell.",
        }
    cells, decides = _cells(rows), said[judge]["decides"]
    outcomes = said[judge]["validation"]
    better = [m for m, o in outcomes.items() if o["outcome"] == HELPS]
    if not better:
        done = {RANKING: "ranks", WHOLE: "predicts"}[decides]
        text = f"Ship {BASELINE} weights: by {judge}, no method {done} validation rows better."
        return {"weights": BASELINE, "judge": judge, "confirmed": None, "text": text}
    chosen = min(better, key=lambda m: cells[judge, "validation", m, decides, "value"]["value"])
    outcome = said[judge]["test"][chosen]["outcome"]
    numbers = {
        split: {
            name: _numbers(cells, judge, split, chosen, name)
            for name in dict.fromkeys((decides, RANKING, _OFF, "auc"))
        }
        for split in ("validation", "test")
    }
    confirmed = outcome == HELPS
    lead = "Ship the weights" if confirmed else "Do not ship the weights yet"
    text = f"{lead} of {chosen}: chosen on validation rows by {judge}, "
    text += "and confirmed on test rows." if confirmed else f"but on test rows: {outcome}."
    # Where the whole loss decides, no label is there in time to refit it.
    if decides == RANKING and said[judge]["test"][chosen]["level"] == "worse":
        text += " Refit the intercept of its ranker (`recalibrate`): its level is off."
    return {
        "weights": chosen,
        "judge": judge,
        "confirmed": confirmed,
        "text": text,
        **numbers,
    }


def compared(rows: Sequence[Row], judge: str, split: str, decides: str) -> dict[str, Values]:
    """What one judge says of each method against the baseline of the rows, by method.

    Args:
        rows: the output of ``comparison.measure``.
        judge: name of the judge.
        split: ``validation`` or ``test``.
        decides: the loss that decides.

    Returns:
        Method -> ``outcome``, ``difference`` and ``p``, corrected for the number of methods.
    """
    return _outcomes(_cells(rows), (judge, split), decides, 1, ())


def leading(said: Mapping[str, Values]) -> str | None:
    """The first judge that can tell."""
    return next((name for name, fact in said.items() if fact["able"]), None)


def disagreements(
    said: Mapping[str, Values], judges: Mapping[str, Judge], visible: Collection[str] | None
) -> list[str]:
    """Why other judges say something else than the first one: a sentence for each and each reason.

    Judges disagree on a method if their differences have opposite signs and one of them is
    significant. Of the same sign, one that is not significant only lacks the rows to confirm.

    Args:
        said: the output of ``verdicts``.
        judges: name -> judge.
        visible: the faults that ``diagnose`` sees in the log; None if it was not asked.
    """
    first = leading(said)
    if first is None:
        return []
    sentences = []
    for name, fact in said.items():
        if name == first or not fact["able"]:
            continue
        differ: list[str] = []
        unconfirmed: dict[tuple[str, str], list[str]] = {}
        for method, other in fact["test"].items():
            one = said[first]["test"][method]
            sure, other_sure = (o["outcome"] in (HELPS, HURTS) for o in (one, other))
            if not (sure or other_sure):
                continue
            if (one["difference"] or 0.0) * (other["difference"] or 0.0) < 0:
                differ.append(method)
            elif sure != other_sure:
                pair = (name, first) if sure else (first, name)
                unconfirmed.setdefault(pair, []).append(method)
        if differ:
            why = _why((name, first), judges, visible)
            sentences.append(f"{name} disagrees with {first} on {', '.join(differ)}: {why}.")
        sentences += [
            f"{weaker} cannot confirm what {surer} says of {', '.join(methods)}: its own "
            "difference is not significant."
            for (weaker, surer), methods in unconfirmed.items()
        ]
    return sentences


def _why(
    names: tuple[str, str], judges: Mapping[str, Judge], visible: Collection[str] | None
) -> str:
    """The faults that the labels of one of two judges share and those of the other do not."""
    both = frozenset.intersection(*[judges[name].shares for name in names])
    reasons = [
        _fault(name, sorted(shared), visible)
        for name in names
        if (shared := judges[name].shares - both)
    ]
    if not reasons:
        return "they see different rows, and neither shares a fault that the other does not"
    return "; ".join(reasons)


def _fault(name: str, shared: Sequence[str], visible: Collection[str] | None) -> str:
    labels = f"the labels of {name}"
    if visible is None:
        return f"{labels} share {_listed(shared)}, if the log has any; jobs/diagnose.py tells"
    seen = [mechanism for mechanism in shared if mechanism in visible]
    if not seen:
        return f"{labels} would share {_listed(shared)}, of which diagnose finds none"
    return f"{labels} share the {_listed(seen)} that diagnose finds in this log"


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
            for key in ("rows", "positives", "effective_positives", "effective_buckets")
        }
        if split == "test":
            facts |= counts
        if reason := _unable(split, counts, evaluation):
            facts |= {"able": False, "reason": reason}
    return facts


def _unable(split: str, counts: Mapping[str, float], evaluation: Evaluation) -> str | None:
    """Why a judge with such rows of a split cannot tell; None if it can."""
    positives, buckets = counts["effective_positives"], counts["effective_buckets"]
    if positives < evaluation.judge_positives:
        return (
            f"{positives:.0f} effective positives in {split}, fewer than "
            f"evaluation.judge_positives: {evaluation.judge_positives}"
        )
    if buckets <= TOO_FEW:
        return (
            f"the {split} rows show no more than {buckets:.1f} groups of equal size would, which "
            "is too few to tell how groups vary (sampling.group)"
        )
    return None


def _outcomes(
    cells: Any,
    at: tuple[str, str],
    decides: str,
    judges: int,
    others: Sequence[Row],
) -> dict[str, Values]:
    """Method -> its outcome, and what ranking and level contribute, for a judge and a split."""
    methods = [
        method
        for (*own, method, name, kind) in cells
        if (tuple(own), name, kind) == (at, decides, "difference") and method != RECALIBRATED
    ]
    parts = {}
    for name in dict.fromkeys((decides, RANKING, _OFF)):
        rows = {m: cells[*at, m, name, "difference"] for m in methods}
        beside = _differences(others, *at, name)
        parts[name] = _called(rows, beside, judges)
    outcomes = {}
    for method in methods:
        decided, level = parts[decides][method], parts[_OFF][method]["word"]
        outcome = {"better": HELPS, "worse": HURTS}.get(decided["word"], NO_DIFFERENCE)
        if outcome == NO_DIFFERENCE and level == "worse":
            outcome = LEVEL
        if method == CONTROL:
            outcome = NOISE
        outcomes[method] = {
            "outcome": outcome,
            "ranking": parts[RANKING][method]["word"],
            "level": level,
            "difference": decided["difference"],
            "p": decided["p"],
        }
    return outcomes


def _called(rows: Mapping[str, Row], beside: Sequence[Row], judges: int) -> dict[str, Values]:
    """Method -> its difference, corrected p-value, and whether it is better or worse."""
    known = [1.0 if row["p"] is None else row["p"] for row in (*rows.values(), *beside)]
    corrected = holm(known)[: len(rows)]
    p_values = {m: min(1.0, judges * p) for m, p in zip(rows, corrected, strict=True)}
    sizes = {m: abs(row["value"] or 0.0) for m, row in rows.items()}
    least = sizes.get(CONTROL, 0.0)
    called = {}
    for method, row in rows.items():
        sure = p_values[method] < _LEVEL and sizes[method] > least
        word = ("better" if row["value"] < 0 else "worse") if sure else NO_DIFFERENCE
        called[method] = {"difference": row["value"], "p": p_values[method], "word": word}
    return called


def _differences(rows: Sequence[Row], judge: str, split: str, name: str) -> list[Row]:
    """The rows with a metric's differences of all methods to the baseline."""
    wanted = (judge, split, name, "difference", None)
    keys = ("judge", "split", "name", "kind", "segment")
    return [
        row
        for row in rows
        if tuple(row[key] for key in keys) == wanted and row["method"] != RECALIBRATED
    ]


def _sentence(name: str, fact: Values) -> str:
    lead = f"{name} ({fact['says']})"
    if not fact["able"]:
        return f"{lead} cannot tell: {fact['reason']}."
    by_outcome: dict[str, list[str]] = {}
    for method, outcome in fact["test"].items():
        by_outcome.setdefault(outcome["outcome"], []).append(method)
    level = "hurt the level alone, which recalibration repairs: "
    if fact["decides"] == WHOLE:
        level = "hurt the level, with no significant difference of the log loss: "
    parts = [
        text + ", ".join(by_outcome[outcome])
        for outcome, text in (
            (HELPS, "help: "),
            (HURTS, "hurt: "),
            (LEVEL, level),
            (NO_DIFFERENCE, "no significant difference: "),
        )
        if outcome in by_outcome
    ]
    if HELPS not in by_outcome:
        parts.insert(0, "no method helps")
    text = f"{lead}: {'; '.join(parts)}."
    if fact["decides"] == WHOLE:
        text += " The level counts: labels have no window, so those that would repair it arrive"
        text += " when the weights are in use."
    if CONTROL in fact["test"]:
        moved, loss = fact["test"][CONTROL]["difference"], LOSSES[fact["decides"]]
        text += f" Weights drawn at random ({CONTROL}) change the {loss} by {moved:+.4f}:"
        text += " no smaller difference is significant."
    return text


def _numbers(cells: Any, judge: str, split: str, method: str, name: str) -> Values:
    row = cells[judge, split, method, name, "difference"]
    return {key: row[key] for key in ("value", "low", "high", "p")}
