"""Versions of weights, and the decisions by which they went live."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from reweight.core.baselines import BASELINE

PROMOTED, KEPT, ROLLED_BACK, UNIFORM = "promoted", "kept", "rolled back", "uniform"
BETTER, WORSE = "better", "worse"
_PARTS = ("run", "model", "method", "key")
_JUDGED = (
    *("judge", "metric", "outcome", "estimate", "low", "high", "p", "confidence"),
    *("rows", "rows_hash", "seed"),
)


@dataclass(frozen=True)
class Version:
    """Weights that can be live.

    Attributes:
        run: the run whose rows of the table ``weights`` they are.
        model: the run whose models gave them.
        method: the method.
        key: names the weights that were judged, since a run may be run again: the key of its
            ``score_weights``, and after it that of ``model`` if this is another run. None for
            uniform weights, and in decisions that an earlier version of the library made.
    """

    run: str
    model: str
    method: str
    key: str | None = None

    @classmethod
    def uniform(cls, run: str) -> Self:
        """Uniform weights of a run."""
        return cls(run, run, BASELINE)

    def is_same(self, other: "Version | None") -> bool:
        """Whether both are of one model: of which run's rows does not count."""
        if other is None or self.method != other.method:
            return False
        # Where a key is not known, the name has to do.
        keys = {version.key.split()[-1] for version in (self, other) if version.key}
        return self.method == BASELINE or (self.model == other.model and len(keys) < 2)

    def is_left(self, key: str | None) -> bool:
        """Whether these weights are those that the run has now, which this key names."""
        if self.method == BASELINE or self.key is None:
            return True
        return self.key.split()[0] == key

    def __str__(self) -> str:
        return BASELINE if self.method == BASELINE else f"{self.method} of {self.model}"


@dataclass(frozen=True)
class Judgement:
    """The challenger less the live weights, on the same validation rows.

    Attributes:
        judge: who judged.
        metric: the loss that decides.
        outcome: ``better``, ``worse`` or ``no significant difference``.
        estimate: the difference of the loss; below 0 if the challenger is better.
        low: lower end of its interval.
        high: upper end of its interval.
        p: its p-value, corrected for the number of methods of the challenger's run.
        confidence: level of the interval.
        rows: number of validation rows.
        rows_hash: identifies these rows and their labels.
        seed: seed of the bootstrap.
    """

    judge: str
    metric: str
    outcome: str
    estimate: float
    low: float | None
    high: float | None
    p: float
    confidence: float
    rows: int
    rows_hash: str
    seed: int


@dataclass(frozen=True)
class Decision:
    """A row of the table ``promotions``.

    Attributes:
        number: counts the decisions from 1.
        decided_at: when, UTC.
        decided_by: the user of the process.
        decision: ``promoted``, ``kept``, ``rolled back`` or ``uniform``.
        reason: why.
        challenger: the version that was judged; None for a rollback.
        before: the version that was live; None before the first decision.
        live: the version that is live since.
        judgement: what decided; None if nothing was judged.
    """

    number: int
    decided_at: datetime
    decided_by: str
    decision: str
    reason: str
    challenger: Version | None
    before: Version | None
    live: Version
    judgement: Judgement | None = None

    def row(self) -> dict[str, Any]:
        """The columns of the table, by name."""
        versions = {"challenger": self.challenger, "before": self.before, "live": self.live}
        judged = asdict(self.judgement) if self.judgement else dict.fromkeys(_JUDGED)
        return {
            "number": self.number,
            "decided_at": self.decided_at,
            "decided_by": self.decided_by,
            "decision": self.decision,
            "reason": self.reason,
            **{
                f"{name}_{part}": getattr(version, part, None)
                for name, version in versions.items()
                for part in _PARTS
            },
            **judged,
        }

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """The decision of a row of the table, with its time in microseconds since 1970."""
        live = _version(row, "live")
        assert live is not None
        return cls(
            number=row["number"],
            decided_at=datetime.fromtimestamp(row["decided_at"] / 1e6, UTC),
            decided_by=row["decided_by"],
            decision=row["decision"],
            reason=row["reason"],
            challenger=_version(row, "challenger"),
            before=_version(row, "before"),
            live=live,
            judgement=Judgement(**{k: row[k] for k in _JUDGED}) if row["judge"] else None,
        )

    def __str__(self) -> str:
        prefix = f"{self.challenger}: " if self.challenger else ""
        return (
            f"{self.number}. {self.decided_at:%Y-%m-%d %H:%M} UTC, {self.decided_by}: {prefix}"
            f"{self.decision}; live: {self.live}. {self.reason}"
        )


def _version(row: dict[str, Any], name: str) -> Version | None:
    # An earlier version of the library made the table without keys.
    parts: dict[str, Any] = {part: row.get(f"{name}_{part}") for part in _PARTS}
    return None if parts["run"] is None else Version(**parts)


def versions_so_far(history: Sequence[Decision]) -> list[Version]:
    """The versions that went live and were not rolled back, oldest first; the last one is live."""
    versions: list[Version] = []
    for decision in history:
        if decision.decision == ROLLED_BACK:
            del versions[-2:]
        elif versions and versions[-1].is_same(decision.live):
            # The same weights, over the rows of a newer run.
            del versions[-1]
        versions.append(decision.live)
    return versions
