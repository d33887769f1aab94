"""Fits many methods in memory: shared trainings run once, and failures stay isolated."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reweight.core.sequences import SequenceShape
from reweight.importance.artifact import ModelArtifact
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.delays import counted
from reweight.importance.training import TimeCounts, TrainFacts, Training
from reweight.training.in_memory import fit_in_memory

# Gives the training rows, validation rows and facts for methods that are fitted together.
Rows = Callable[[Sequence[ImportanceMethod]], tuple[Batch, Batch, TrainFacts]]


@dataclass(frozen=True)
class Fit:
    """A fitted method, or the reason why it failed.

    Attributes:
        method: the method.
        stored: its artifact; None if it failed.
        seconds: duration of the fit, including all methods of the same training.
        reason: reason of the failure; None if it was fitted.
    """

    method: ImportanceMethod
    stored: ModelArtifact | None = None
    seconds: float = 0.0
    reason: str | None = None


def fits(methods: Sequence[ImportanceMethod], rows: Rows, batch_size: int) -> Iterator[Fit]:
    """Fits methods; those that share a training are fitted together.

    Args:
        methods: the methods to fit.
        rows: gives the rows and facts for methods that are fitted together.
        batch_size: rows per training step.

    Yields:
        The fit of each method.
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
    shape: SequenceShape | None = None,
) -> TrainFacts:
    """What a model may know of its training rows.

    Args:
        train: the training rows.
        cardinalities: sizes of the id spaces.
        seed: seed of the model's random numbers.
        training: the training, which may need quantiles of the features; None for no training.
        segments: segments of the rows.
        shape: of the sequences; None if there are none.
    """
    features, bins = train.features.double().numpy(), training.quantile_bins if training else 0
    cuts = np.quantile(features, np.linspace(0, 1, bins + 1), axis=0).T if bins else []
    timed = training is not None and training.counts_times
    arrived, waiting = _times(train) if timed else ((), ())
    return TrainFacts(
        dim=features.shape[1],
        cardinalities=cardinalities,
        rows=len(train),
        positives=int(train.label.sum()),
        seed=seed,
        quantiles=tuple(tuple(map(float, edges)) for edges in cuts),
        segments=segments,
        arrived=arrived,
        waiting=waiting,
        sequence=shape,
    )


def _times(train: Batch) -> tuple[TimeCounts, TimeCounts]:
    """The counted times of the facts."""
    delay, elapsed = (train.extra[name].double().numpy() for name in ("delay", "elapsed"))
    positive = train.label.numpy() > 0.5
    usable = np.isfinite(elapsed)
    return counted(delay[positive & usable]), counted(elapsed[~positive & usable])


def said(error: Exception) -> str:
    """The type and the first line of an error, for the results."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:300]


def _together(group: Sequence[ImportanceMethod], rows: Rows, batch_size: int) -> Iterator[Fit]:
    """Fits the methods of one training; if they fail together, each on its own."""
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
