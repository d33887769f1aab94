"""The finding on a fault: numbers with intervals, a verdict, and the methods it concerns.

A finding has a p-value for the hypothesis that the effect is not material. The fault is visible
if p < 5 % / number of tests (Bonferroni): on a log without any fault, the chance that anything
is visible is at most 5 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from reweight.report.page import number

Values = dict[str, Any]
Verdict = Literal["visible", "not visible", "cannot be seen"]
LEVEL = 0.05


@dataclass(frozen=True)
class Measure:
    """A number with its 95 % interval, or without one if the log itself was counted."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    def text(self) -> str:
        """The number as the page and the console show it."""
        interval = "" if self.low is None else f" [{number(self.low, 3)}, {number(self.high, 3)}]"
        return f"{number(self.value, 3)}{interval}"


@dataclass(frozen=True)
class Finding:
    """What the log shows of one fault.

    Attributes:
        mechanism: its name, a key of ``ADVICE``.
        text: what was measured, or why the fault cannot be seen.
        p: p-value for the hypothesis that the effect is not material; 0 or 1 if a rule on counts
            decides, None if the fault cannot be seen.
        measures: the numbers; the first decided, and is shown as the strength of the effect.
        points: what the plot draws.
        needs: what the log or its config lacks if the fault cannot be seen.
    """

    mechanism: str
    text: str
    p: float | None = None
    measures: tuple[Measure, ...] = ()
    points: Values = field(default_factory=dict)
    needs: str | None = None


@dataclass(frozen=True)
class _Advice:
    suggests: tuple[str, ...]
    warns: tuple[str, ...]
    text: str


_DOUBT_POSITIVES = ("t_ce", "r_ce")
_PREFER_HARD = ("el2n", "grand", "focal", "forgetting")
_PREFER_USUAL = ("self_confidence", "data_maps", "aum", "small_loss", "lossval", "data_oob")
_FOLLOW_TARGET = ("influence_lr", "tracin", "mw_net")

ADVICE = {
    "position bias": _Advice(
        ("ipw_position", "doubly_robust"),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES, *_PREFER_HARD),
        "Negatives far down the list may never have been seen, so they are the doubtful rows, and "
        "methods that trust recorded labels learn the bias. Showing some of the lists in random "
        "order gives propensities. Without position bias, both methods may do harm.",
    ),
    "delayed labels": _Advice(
        ("delayed_feedback",),
        (*_DOUBT_POSITIVES, *_FOLLOW_TARGET, "density_ratio"),
        "Train on the newest rows as well, with splits: {by: time, open_windows: train}, and let "
        "delayed_feedback weight them; the baseline to beat is mature_only. A label window that is "
        "too short turns late purchases into negatives.",
    ),
    "rare segments": _Advice(
        ("group_dro", "reweighing", "focal"),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES),
        "A small segment that differs looks like wrong labels. Raising its weight costs the "
        "others: check each method in the report's table by segment.",
    ),
    "bursts and bots": _Advice(
        (),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES, *_PREFER_HARD, "importance_mlp"),
        "Reject such groups in cleaning if a rule can identify them; cleaning.duplicates.keys "
        "rejects events that repeat each other. In simulated worlds weights do not help against "
        "them, and neither does knowing the truth.",
    ),
    "drift of the label rate": _Advice(
        _FOLLOW_TARGET,
        ("class_balanced",),
        "Split by time, so that the ranker is judged at the label rate of the newest days.",
    ),
    "drift of the features": _Advice(
        ("density_ratio", *_FOLLOW_TARGET),
        (),
        "If only the features drift, the density ratio is the right weight in theory.",
    ),
    "drift of the relation": _Advice(
        _FOLLOW_TARGET,
        ("density_ratio", "self_confidence", "data_maps", "aum"),
        "Old rows show a relation that no longer holds. Methods that trust the majority may treat "
        "the newest rows as wrong.",
    ),
    "missing labels": _Advice(
        ("pu_prior",),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES),
        "If positives go unrecorded at random and their true rate is known, pu_prior estimates "
        "which rows without a label event are positive.",
    ),
}


# Methods that need all negatives of the log -> what is said of them where these were sampled.
ALL_NEGATIVES = {
    "ipw_position": "{method: ipw_position, estimator: ips, training: {propensity: column}} does "
    "without, where propensities are known",
    "doubly_robust": "",
    "delayed_feedback": "mature_only does without",
}


def content(findings: Sequence[Finding], sampled: bool = False) -> list[Values]:
    """The findings as values that JSON can hold; those that are visible have advice.

    Args:
        findings: the findings.
        sampled: whether negatives were sampled, so that some methods are refused.
    """
    tests = sum(f.p is not None for f in findings)
    return [
        {
            "mechanism": f.mechanism,
            "key": f.mechanism.replace(" ", "_"),
            "verdict": _verdict(f, tests),
            "text": f.text,
            "p": f.p,
            "measures": [vars(m) | {"text": m.text()} for m in f.measures],
            "points": f.points,
            "needs": f.needs,
            **_advice(f.mechanism, _verdict(f, tests), sampled),
        }
        for f in findings
    ]


def _advice(mechanism: str, verdict: Verdict, sampled: bool) -> Values:
    """Methods to try, methods that are misled, and a text; nothing unless it is visible."""
    if verdict != "visible":
        return {"suggests": [], "warns": [], "advice": ""}
    advice = ADVICE[mechanism]
    refused = [name for name in advice.suggests if sampled and name in ALL_NEGATIVES]
    text = advice.text
    if refused:
        instead = "".join(f"; {ALL_NEGATIVES[name]}" for name in refused if ALL_NEGATIVES[name])
        text += (
            f" Here {' and '.join(refused)} would be refused: they learn from all negatives, of "
            f"which this log has a share (sampling.negatives){instead}."
        )
    return {
        "suggests": [name for name in advice.suggests if name not in refused],
        "warns": list(advice.warns),
        "advice": text,
    }


def lines(findings: Sequence[Values]) -> list[str]:
    """One line per finding, for the console."""
    result = []
    for finding in findings:
        strength = "; ".join(f"{m['name']} {m['text']}" for m in finding["measures"][:1])
        shown = strength or finding["text"]
        result.append(f"{finding['mechanism'].ljust(24)} {finding['verdict'].ljust(15)} {shown}")
    return result


def _verdict(finding: Finding, tests: int) -> Verdict:
    if finding.p is None:
        return "cannot be seen"
    return "visible" if finding.p < LEVEL / tests else "not visible"
