"""What is said of a mechanism: numbers with intervals, a verdict, and which methods it concerns.

A finding has a p-value of the hypothesis that the effect is not of material size. It is visible
where p < 5 % / number of the tests (Bonferroni): on a log without any mechanism the chance that
anything at all is visible is at most 5 %.
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
    """A number with its 95 % interval; none where the log itself was counted."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    def text(self) -> str:
        """As the page and the console write it."""
        interval = "" if self.low is None else f" [{number(self.low, 3)}, {number(self.high, 3)}]"
        return f"{number(self.value, 3)}{interval}"


@dataclass(frozen=True)
class Finding:
    """What the log says of one mechanism.

    Attributes:
        mechanism: its name, a key of ``ADVICE``.
        text: what was measured, or why it cannot be seen.
        p: of the test that the effect is not material; 0 or 1 where the log was counted by a rule,
            None where nothing can be seen.
        measures: the numbers, the first of them the strength of the effect.
        points: what the plot draws.
        needs: what the log or its config would have to bring, where nothing can be seen.
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
        ("doubly_robust", "ipw_position"),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES, *_PREFER_HARD),
        "Negatives far down may never have been seen: it is they that are doubtful, and what "
        "trusts recorded labels learns the bias. Show a part of the lists in random order: that "
        "gives propensities. Where there is no such bias either may do harm.",
    ),
    "delayed labels": _Advice(
        ("delayed_feedback",),
        (*_DOUBT_POSITIVES, *_FOLLOW_TARGET, "density_ratio"),
        "Train on the newest rows as well, with splits: {by: time, open_windows: train}, and let "
        "delayed_feedback weigh them; mature_only is what it has to beat. A window that is too "
        "short makes negatives of purchases that come late.",
    ),
    "rare groups": _Advice(
        ("group_dro", "reweighing", "focal"),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES),
        "A small group that differs looks like wrong labels. What lifts it costs the others: look "
        "at the table by segment of the report for each method.",
    ),
    "bursts and bots": _Advice(
        (),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES, *_PREFER_HARD, "importance_mlp"),
        "Reject such groups in cleaning where a rule can name them. In simulated worlds weights do "
        "not help against them, nor does a ranker gain from knowing the truth.",
    ),
    "drift of the label rate": _Advice(
        _FOLLOW_TARGET,
        ("class_balanced",),
        "Split by time, so that the rate of the newest days judges the ranker.",
    ),
    "drift of the features": _Advice(
        ("density_ratio", *_FOLLOW_TARGET),
        (),
        "Where only the features move, the density ratio is the weight that theory asks for.",
    ),
    "drift of the relation": _Advice(
        _FOLLOW_TARGET,
        ("density_ratio", "self_confidence", "data_maps", "aum"),
        "Old rows say what is no longer so. Methods that believe in the majority may call the "
        "newest rows wrong.",
    ),
    "missing labels": _Advice(
        ("pu_prior",),
        (*_PREFER_USUAL, *_DOUBT_POSITIVES),
        "Where chance decides which positives are recorded and their true rate is known, pu_prior "
        "says what the others are.",
    ),
}


def content(findings: Sequence[Finding]) -> list[Values]:
    """The findings as values that JSON can hold, each with its verdict and advice."""
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
            "suggests": list(ADVICE[f.mechanism].suggests),
            "warns": list(ADVICE[f.mechanism].warns),
            "advice": ADVICE[f.mechanism].text,
        }
        for f in findings
    ]


def lines(found: Sequence[Values]) -> list[str]:
    """A line per finding, for a console."""
    told = []
    for one in found:
        first = "; ".join(f"{m['name']} {m['text']}" for m in one["measures"][:1])
        said = first or one["text"]
        told.append(f"{one['mechanism'].ljust(24)} {one['verdict'].ljust(15)} {said}")
    return told


def _verdict(finding: Finding, tests: int) -> Verdict:
    if finding.p is None:
        return "cannot be seen"
    return "visible" if finding.p < LEVEL / tests else "not visible"
