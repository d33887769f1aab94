"""Fits of many methods in memory: equal trainings once, and a method that fails spoils no other."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts, Training
from reweight.training.in_memory import fit_in_memory

# Training rows, validation rows and facts for methods that are fitted together.
Rows = Callable[[Sequence[ImportanceMethod]], tuple[Batch, Batch, TrainFacts]]


@dataclass(frozen=True)
class Fit:
    """A method that was fitted, or why it was not.

    Attributes:
        method: which.
        stored: its model; None where it failed.
        seconds: that the fit took, with all methods of the same training.
        reason: of a failure.
    """

    method: ImportanceMethod
    stored: ModelArtifact | None = None
    seconds: float = 0.0
    reason: str | None = None


def fits(methods: Sequence[ImportanceMethod], rows: Rows, batch_size: int) -> Iterator[Fit]:
    """Fits methods, those of one training together.

    Args:
        methods: to fit.
        rows: gives what methods that are fitted together need.
        batch_size: rows of a step.
    """
    groups: dict[tuple[str, bool], list[ImportanceMethod]] = {}
    for method in methods:
        training = method.learns()
        key = training.key if training else method.name
        groups.setdefault((key, "target" in method.columns()), []).append(method)
    for group in groups.values():
        yield from _together(group, rows, batch_size)


def facts_of(
    train: Batch,
    cardinalities: tuple[int, ...],
    seed: int,
    training: Training | None,
    segments: tuple[str, ...] = (),
) -> TrainFacts:
    """What a model may know of its training rows.

    Args:
        train: the rows.
        cardinalities: sizes of the id spaces.
        seed: of the model's random numbers.
        training: that asks for quantiles, if it does.
        segments: of the rows.
    """
    features, bins = train.features.numpy(), training.quantile_bins if training else 0
    cuts = np.quantile(features, np.linspace(0, 1, bins + 1), axis=0).T if bins else []
    return TrainFacts(
        dim=features.shape[1],
        cardinalities=cardinalities,
        rows=len(train),
        positives=int(train.label.sum()),
        seed=seed,
        quantiles=tuple(tuple(map(float, own)) for own in cuts),
        segments=segments,
    )


def said(error: Exception) -> str:
    """What an error says, short."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]


def _together(group: Sequence[ImportanceMethod], rows: Rows, batch_size: int) -> Iterator[Fit]:
    """Methods of one training; where they fail together, each alone."""
    start = time.perf_counter()
    try:
        train, validation, facts = rows(group)
        stored, _ = fit_in_memory(group, facts, train, validation, batch_size=batch_size)
    except Exception as error:
        if len(group) > 1:
            for method in group:
                yield from _together([method], rows, batch_size)
            return
        yield Fit(group[0], reason=said(error))
        return
    seconds = time.perf_counter() - start
    yield from (Fit(method, stored[method.name], seconds) for method in group)
