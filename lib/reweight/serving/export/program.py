"""A fitted method and its weight policy -> one TorchScript program.

    sample_id int64 [B], features float32 [B, D], ids int64 [B, F], columns float32 [B, K]
      -> importance, weight and, of a soft method, its label, float64 [B, 2 or 3]

The program is recorded while rows pass through the very code that scores them in Spark, with the
parameters as constants. It is TorchScript, since every torch from 2.3 on writes and reads that.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight.core.errors import ServingError
from reweight.importance.artifact import ModelArtifact, Scorer
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts
from reweight.importance.valuation import ValuationMethod
from reweight.score_weights.policy import PolicyStats, Weighting, weight_by
from reweight.serving.export.tensors import TENSORS

_TOLERANCE = 1e-6
_WHOLE = ("label", "segment", "position", "mature", "target", "capped")

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Program:
    """A recorded program.

    Attributes:
        script: the program.
        columns: names of the K columns.
        reads: those that the result depends on, and ``sample_id`` if it does.
        segments: the segments that the method knows.
        soft: whether it returns a soft label.
        example: rows to run it on.
    """

    script: Any
    columns: tuple[str, ...]
    reads: tuple[str, ...]
    segments: tuple[str, ...]
    soft: bool
    example: Inputs

    def archive(self) -> bytes:
        """The program as a file."""
        content = io.BytesIO()
        torch.jit.save(self.script, content)
        return content.getvalue()


class _Recorded(Mapping[str, Tensor]):
    """Columns that remember which of them were read."""

    def __init__(self, values: Mapping[str, Tensor], read: set[str]) -> None:
        self._values, self._read = values, read

    def __getitem__(self, name: str) -> Tensor:
        self._read.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class _Formula:
    """Importance and weight of rows by one method."""

    def __init__(
        self,
        name: str,
        artifacts: Mapping[str, ModelArtifact],
        policy: Weighting,
        stats: PolicyStats,
        thinned: bool,
    ) -> None:
        self._name, self._policy, self._stats, self._thinned = name, policy, stats, thinned
        self._scorer = Scorer(artifacts)
        for model in self._scorer.models.values():
            model.requires_grad_(False)
        methods = [artifact.read_method() for artifact in artifacts.values()]
        self.soft = name in self._scorer.soft
        self.extra = sorted({column for method in methods for column in method.columns()})
        self.columns = ("label", *self.extra, "capped", "design_weight")
        self.read: set[str] = {"label"} if any(m.uses_label for m in methods) else set()
        if stats.factors:
            self.read.add("capped")
        if thinned:
            self.read.add("design_weight")

    def __call__(self, sample_id: Tensor, features: Tensor, ids: Tensor, columns: Tensor) -> Tensor:
        values = dict(zip(self.columns, columns.unbind(1), strict=True))
        extra = _Recorded({name: values[name] for name in self.extra}, self.read)
        batch = Batch(sample_id, features, ids, values["label"], extra)
        outputs = EnsembleOutputs(batch)
        importance = self._scorer.scores(batch, outputs)[self._name].double()
        capped = values["capped"].long()
        weight = weight_by(TENSORS, self._policy, importance, self._stats, capped)
        if self._thinned:
            weight = weight * values["design_weight"].double()
        results = [importance, weight]
        if self.soft:
            results.append(self._scorer.models[self._name].soft_label(outputs).double())
        return torch.stack(results, dim=1)


def recorded(
    name: str,
    artifacts: Mapping[str, ModelArtifact],
    policy: Weighting,
    stats: PolicyStats,
    *,
    thinned: bool = False,
) -> Program:
    """Records the program of a method.

    Args:
        name: the method.
        artifacts: its model, and those of the methods that it combines.
        policy: the section ``weighting``.
        stats: what the policy learnt for the method.
        thinned: whether negatives were sampled, so that weights include ``design_weight``.

    Raises:
        ServingError: its importance is no function of a row, or cannot be recorded.
    """
    for part, artifact in artifacts.items():
        if isinstance(artifact.read_method(), ValuationMethod):
            raise ServingError(
                f"'{part}' cannot score a row outside its training rows",
                expected="a method whose importance is a function of the row",
                got="a table of values of the training rows, and one mean for all others",
                fix=f"export another method than '{name}', such as self_confidence",
            )
    facts = TrainFacts.model_validate_json(artifacts[name].facts)
    all_facts = (TrainFacts.model_validate_json(artifact.facts) for artifact in artifacts.values())
    segments = next((f.segments for f in all_facts if f.segments), ())
    formula = _Formula(name, artifacts, policy, stats, thinned)
    example = _rows(7, facts, formula.columns, len(segments), len(stats.factors))

    def program(sample_id: Tensor, features: Tensor, ids: Tensor, columns: Tensor) -> Tensor:
        # A function: torch cannot name a callable object.
        return formula(sample_id, features, ids, columns)

    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Of the deprecation, and of Python values, which the check below would find.
            warnings.simplefilter("ignore")
            script = torch.jit.trace(program, example, check_trace=False)  # type: ignore[no-untyped-call]
            _check(script, formula, facts, segments, stats)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise ServingError(
            f"'{name}' cannot be recorded as a program",
            expected="a formula of plain tensor operations",
            got=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]:.200}",
            fix="export another method, and take this one's weights from the table weights",
        ) from error
    reads = [c for c in formula.columns if c in formula.read]
    if _depends_on_id(script):
        reads.insert(0, "sample_id")
    return Program(script, formula.columns, tuple(reads), segments, formula.soft, example)


def _check(
    script: Any, formula: _Formula, facts: TrainFacts, segments: tuple[str, ...], stats: PolicyStats
) -> None:
    """Refuses a program that differs from the formula on other rows, or on another number."""
    for number in (1, 12):
        rows = _rows(number, facts, formula.columns, len(segments), len(stats.factors))
        expected, got = formula(*rows), script(*rows)
        if not torch.allclose(got, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise RuntimeError(f"the recorded program differs on {number} other rows")


def _depends_on_id(script: Any) -> bool:
    """Whether the program uses the ids, and not only how many there are."""
    first = next(iter(script.graph.inputs()))
    return any(use.user.kind() != "aten::size" for use in first.uses())


def _rows(
    number: int, facts: TrainFacts, columns: tuple[str, ...], segments: int, capped: int
) -> Inputs:
    """Random rows that a method could meet."""
    draw = torch.Generator().manual_seed(number)
    values = torch.rand((number, len(columns)), generator=draw) * 0.8 + 0.1
    for index, name in enumerate(columns):
        if name in _WHOLE:
            most = {"segment": segments, "capped": capped}.get(name, 1)
            values[:, index] = (values[:, index] * 2).floor().clamp(max=most)
    fields = [torch.randint(0, size, (number,), generator=draw) for size in facts.cardinalities]
    ids = torch.stack(fields, 1) if fields else torch.zeros((number, 0), dtype=torch.int64)
    sample_id = torch.randint(-(2**63), 2**63 - 1, (number,), generator=draw)
    return sample_id, torch.randn((number, facts.dim), generator=draw), ids, values
