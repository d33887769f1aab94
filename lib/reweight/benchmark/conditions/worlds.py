"""T3, the ranker task: a world's rankers on the weights of each method, and what judges say.

Everything is in memory: a world has twenty thousand to a million rows. Rankers (``ranking``) are
trained on the labels that the log recorded. Judges look at later rows. ``truth`` takes the labels
that an undistorted log would have recorded, for people only, since a ranker should not be judged by
what bots click.

Beside the methods there is what teams do without weights, ``position_as_feature``: the regression
also learns from log(position) and an indicator for each of the first 20 positions, and every
held-out row is scored as if it were shown at position 1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from reweight.benchmark.conditions.judges import judges_of, masses
from reweight.benchmark.conditions.metrics_in_memory import largest_segments, values_in_memory
from reweight.benchmark.conditions.world import World
from reweight.benchmark.conditions.wrong_labels import WRONG_LABELS, auroc
from reweight.benchmark.detection.protocol import ORACLE
from reweight.benchmark.fits import Fit, fits, said
from reweight.benchmark.ranking import (
    InMemory,
)
from reweight.core.baselines import BASELINE
from reweight.core.errors import ReweightError
from reweight.core.sequences import SequenceShape
from reweight.evaluate.comparison import measure
from reweight.evaluate.section import Evaluation
from reweight.evaluate.verdict import verdicts
from reweight.importance.base import ImportanceMethod
from reweight.score_weights.policy import Weighting
from reweight.train_ranker.rankers.logistic_regression import LogisticRegression

Array = NDArray[np.float64]
Row = dict[str, Any]
# The arm whose ranker learns from the position; it is no method, since all its weights are 1.
POSITION_AS_FEATURE = "position_as_feature"
# Cost of a method: seconds to fit it on 1e6 rows, including all methods of the same training.
SECONDS = "fit_seconds_per_1e6"


@dataclass(frozen=True)
class Sections:
    """The sections of the config that the task reads."""

    weighting: Weighting
    rankers: Sequence[InMemory]
    evaluation: Evaluation
    batch_size: int
    seed: int


def judged(
    rows: pa.Table,
    cardinalities: tuple[int, ...],
    methods: Sequence[ImportanceMethod],
    sections: Sections,
    shape: SequenceShape | None = None,
) -> Iterator[Row]:
    """Trains the rankers of one world on the weights of each method, and judges them.

    Args:
        rows: rows of the splits train, validation and test, with ``sample_id``, ``group_id``,
            ``segment``, ``split``, ``label`` (recorded), ``truth``, ``bot``, ``features``, ``ids``
            and the columns of ``EXTRA``; with a shape also those of the sequence.
        cardinalities: sizes of the id spaces.
        methods: the methods, including ``uniform``.
        sections: the sections of the config.
        shape: of the sequences; None if there are none.

    Yields:
        ``judge``, ``method``, ``name``, ``kind`` (``value``, ``difference`` to uniform,
        ``verdict``, ``cost`` or ``failed``), ``value``, ``low``, ``high``, ``reason``; and
        ``ranker``, if it is not the first one.
    """
    world = World(rows, cardinalities, shape)
    fit_by_method = {}
    for fit in fits(methods, world.rows_for(sections.seed), sections.batch_size):
        if fit.stored is None:
            yield failed(fit.method.name, fit.reason)
        else:
            fit_by_method[fit.method.name] = fit
            cost = 1e6 * fit.seconds / len(world.parts["train"])
            yield _row(fit.method.name, SECONDS, "cost", cost)
    for name in [
        n for n, fit in fit_by_method.items() if set(fit.method.combines()) - set(fit_by_method)
    ]:
        del fit_by_method[name]
        yield failed(name, "a method that it combines failed")
    importances, soft = world.scored({name: fit.stored for name, fit in fit_by_method.items()})
    weights: dict[str, Array] = {}
    for name, fit in fit_by_method.items():
        try:
            weights[name] = world.weights(fit, importances[name], sections.weighting)
            yield _row(name, "ess_share", "value", _ess_share(weights[name]))
            if (area := auroc(fit.method, importances[name], world.wrong)) is not None:
                yield _row(name, WRONG_LABELS, "value", area)
        except (ReweightError, ValueError) as error:
            yield failed(name, said(error))
    theta = propensities(fit_by_method.values())
    for number, ranker in enumerate(sections.rankers):
        for row in _ranked(world, ranker, weights, soft, theta, sections):
            yield row | ({"ranker": ranker.name} if number else {})


def _ranked(
    world: World,
    ranker: InMemory,
    weights: Mapping[str, Array],
    soft: Mapping[str, Array],
    theta: Sequence[float] | None,
    sections: Sections,
) -> Iterator[Row]:
    """What judges say of one ranker, by method."""
    predicted_by = partial(
        world.predicted, ranker=ranker, batch_size=sections.batch_size, seed=sections.seed
    )
    predicted = {}
    for name, method_weights in weights.items():
        try:
            predicted[name] = predicted_by(method_weights, soft.get(name))
        except (ReweightError, ValueError) as error:
            yield failed(name, said(error))
    predicted[ORACLE] = predicted_by(None, world.truth)
    if world.has_positions and isinstance(ranker, LogisticRegression):
        predicted[POSITION_AS_FEATURE] = world.predicted_at_first(ranker)
    yield from _judge_rows(world, predicted, theta, sections)


def propensities(fitted: Iterable[Fit]) -> list[float] | None:
    """theta of the first position model, as the pipeline's judge takes it; None without one."""
    for fit in fitted:
        if fit.stored is not None and fit.method.estimates_propensities:
            return fit.stored.model().propensities()
    return None


def _judge_rows(
    world: World,
    predicted: Mapping[str, Array],
    theta: Sequence[float] | None,
    sections: Sections,
) -> Iterator[Row]:
    """What each judge measures and says of the rankers, on test rows."""
    evaluation, held_out = sections.evaluation, world.held_out
    judges = judges_of(held_out, theta)
    segments = largest_segments(held_out["segment"], evaluation)
    values = []
    for judge, positive in masses(held_out, judges, theta).items():
        counts = ~np.isnan(positive)
        rows = held_out.loc[counts, ["sample_id", "group_id", "segment", "split"]]
        mass = positive[counts]
        rows = rows.assign(judge=judge, positive=mass, negative=1 - mass)
        for method, p in predicted.items():
            method_rows = rows.assign(method=method, probability=p[counts])
            values.append(values_in_memory(method_rows, segments, evaluation, sections.seed))
    measured = measure(pd.concat(values), evaluation, BASELINE)
    for row in measured:
        if row["split"] == "test" and row["segment"] is None:
            numbers = (row[key] for key in ("value", "low", "high"))
            yield _row(row["method"], row["name"], row["kind"], *numbers, judge=row["judge"])
    # The oracle is not compared: it would make the correction for the number of methods stricter.
    compared = [row for row in measured if row["method"] != ORACLE]
    for judge, fact in verdicts(compared, judges, evaluation).items():
        for method, outcome in fact["test"].items():
            verdict_row = _row(method, "outcome", "verdict", outcome["difference"], judge=judge)
            yield verdict_row | {"reason": outcome["outcome"]}


def _ess_share(weights: Array) -> float:
    """Effective sample size as a share of the rows; the mean of the weights need not be 1."""
    return float(weights.mean() ** 2 / (weights**2).mean())


def failed(method: str, reason: str | None) -> Row:
    """The row for a method that failed."""
    return _row(method, "failed", "failed", None) | {"reason": reason}


def _row(
    method: str,
    name: str,
    kind: str,
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    judge: str | None = None,
) -> Row:
    key = {"judge": judge, "method": method, "name": name, "kind": kind}
    return key | {"value": value, "low": low, "high": high, "reason": None}
