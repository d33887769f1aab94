"""One cell: plants damage, fits all methods on the recorded labels, and judges them on the truth.

T1 finds the damaged rows; T2 removes rows in order of their value and trains a plain logistic
regression on the rest; T3 trains the rankers of the config on the weights; T4 compares the rankings
of a method under different seeds; T5 measures the cost of fitting and scoring. A method that fails
gets a row with the reason.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reweight.benchmark.detection import rankers, statistics
from reweight.benchmark.detection.draws import Draw, drawn, generator, linear
from reweight.benchmark.detection.protocol import FOREST, ORACLE, Benchmark, Cell
from reweight.benchmark.detection.public import Data
from reweight.benchmark.fits import Fit, facts_of, fits, said
from reweight.benchmark.ranking import weights_of
from reweight.benchmark.suspects import trust
from reweight.core.errors import ReweightError, SampleError
from reweight.importance.artifact import Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts
from reweight.score_weights.policy import Weighting

Array = NDArray[np.float64]
Row = dict[str, Any]

# Keeps the method seeds of different draws apart.
_SEEDS = 1000
# Every row counts: a method that trusts few rows is a result, and no reason to refuse it.
_POLICY = Weighting(ess_refuse=0, ess_warn=0)
# Floor of probabilities before a logarithm: a few hundred votes cannot distinguish it from 0.
_LEAST = 1e-3


@dataclass(frozen=True)
class Valued:
    """The values that a method gives the training rows.

    Attributes:
        method: name of the method.
        value: float64 [N], low means suspect; None if the method failed.
        scaled: the values on the scale for two-means clustering, float64 [N].
        importance: what weights are made of, float64 [N]; None where there are none.
        cost: seconds by name.
        reason: reason of a failure.
    """

    method: str
    value: Array | None = None
    scaled: Array | None = None
    importance: Array | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None


def judged(
    cell: Cell, data: Data, methods: Sequence[ImportanceMethod], benchmark: Benchmark
) -> list[Row]:
    """Judges all methods on a cell: rows of the table ``benchmark``, without the key.

    Args:
        cell: the cell.
        data: the rows of its table.
        methods: the methods of the config.
        benchmark: the section ``benchmark``.
    """
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    # Concurrent tasks with a thread per core each would take many times as long.
    with threadpool_limits(1):
        return _rows(cell, data, methods, benchmark)


def _rows(
    cell: Cell, data: Data, methods: Sequence[ImportanceMethod], benchmark: Benchmark
) -> list[Row]:
    key = {"table": cell.table, "damage": cell.damage, "rate": cell.rate, "seed": cell.seed}
    try:
        draw = drawn(cell, data, benchmark)
    except ReweightError as error:
        names = [*[m.name for m in methods], ORACLE, FOREST]
        return [key | _row(name, "failed", reason=said(error)) for name in names]
    valued = list(values(draw, methods, cell.seed * _SEEDS, benchmark))
    oracle = np.where(draw.wrong, 0.0, 1.0)
    valued.append(Valued(ORACLE, oracle, oracle, oracle))
    rows = [row for each in valued for row in _judged(each, draw, benchmark.removed)]
    kinds = {method.name: method for method in methods}
    for each in valued if benchmark.rankers else ():
        rows += _ranked(each, draw, benchmark, kinds.get(each.method), cell.seed * _SEEDS)
    if cell.seed == 0 and benchmark.method_seeds > 1:
        rows += _stabilities(draw, methods, valued, benchmark)
    return [key | row for row in rows]


def values(
    draw: Draw, methods: Sequence[ImportanceMethod], seed: int, benchmark: Benchmark
) -> Iterator[Valued]:
    """The values of all methods and of the random forest; shared trainings run once.

    Args:
        draw: the rows.
        methods: the methods to fit.
        seed: seed of the methods' random numbers.
        benchmark: the section ``benchmark``.
    """

    def rows(group: Sequence[ImportanceMethod]) -> tuple[Batch, Batch, TrainFacts]:
        train, validation = _batches(draw, {c for m in group for c in m.columns()})
        facts = facts_of(train, draw.train.cardinalities, seed, group[0].learns())
        return train, validation, facts

    fit_by_name = {fit.method.name: fit for fit in fits(methods, rows, benchmark.batch_size)}
    for fit in fit_by_name.values():
        yield _scored(fit, [fit_by_name[name] for name in fit.method.combines()], draw)
    yield forest(draw.train, seed, benchmark.trees)


def forest(train: Data, seed: int, trees: int) -> Valued:
    """A random forest's out-of-bag probability of the recorded label."""
    from sklearn.ensemble import RandomForestClassifier

    start = time.perf_counter()
    classifier = RandomForestClassifier(trees, oob_score=True, n_jobs=1, random_state=seed)
    classifier.fit(train.matrix(), train.label.astype(np.int64))
    seconds = time.perf_counter() - start
    p = classifier.oob_decision_function_[np.arange(len(train)), train.label.astype(np.int64)]
    return Valued(FOREST, p, _logarithm(p), cost={"fit_seconds": seconds})


def curves(
    value: Array, draw: Draw, removed: Sequence[float]
) -> Iterator[tuple[str, float, float]]:
    """T2: (name, share removed, value) of a logistic regression on the remaining rows.

    Rows of equal value are removed in a random order, which is the same for every method.

    Args:
        value: values of the training rows, float64 [N].
        draw: the rows.
        removed: shares of the rows to remove.
    """
    x, test = draw.train.matrix(), draw.test.matrix()
    ties = generator(0, "ties").permutation(len(value))
    ascending = np.lexsort((ties, value))
    for end, order in (("lowest", ascending), ("highest", ascending[::-1])):
        for share in (0.0, *removed):
            remaining = np.sort(order[round(share * len(order)) :])
            p = _probabilities(x[remaining], draw.train.label[remaining], test)
            p_label = np.where(draw.test.label == 1, p, 1 - p)
            yield f"accuracy_without_{end}", share, float((p_label > 0.5).mean())
            yield f"log_loss_without_{end}", share, float(-np.log(p_label).mean())


def _judged(valued: Valued, draw: Draw, removed: Sequence[float]) -> Iterator[Row]:
    if valued.value is None or valued.scaled is None:
        yield _row(valued.method, "failed", reason=valued.reason)
        return
    for name, number in statistics.detection(valued.value, valued.scaled, draw.wrong).items():
        yield _row(valued.method, name, number)
    for name, share, number in curves(valued.value, draw, removed):
        yield _row(valued.method, name, number, share=share)
    for name, number in valued.cost.items():
        yield _row(valued.method, name, number)


def _ranked(
    valued: Valued, draw: Draw, benchmark: Benchmark, method: ImportanceMethod | None, seed: int
) -> Iterator[Row]:
    if valued.importance is None:
        return
    weight = valued.importance
    try:
        if method is not None:
            weight = weights_of(method, weight, _POLICY, np.zeros(len(weight), dtype=np.int64))
        for name, area in rankers.areas(weight, draw, benchmark, seed):
            yield _row(valued.method, name, area)
    except (ReweightError, ValueError) as error:
        yield _row(valued.method, "failed", reason=said(error))


def _stabilities(
    draw: Draw,
    methods: Sequence[ImportanceMethod],
    first: Sequence[Valued],
    benchmark: Benchmark,
) -> Iterator[Row]:
    """T4: rankings of the same draw under different seeds of the method."""
    rankings_of = {valued.method: [valued.value] for valued in first if valued.value is not None}
    for seed in range(1, benchmark.method_seeds):
        for valued in values(draw, methods, seed, benchmark):
            if valued.method in rankings_of and valued.value is not None:
                rankings_of[valued.method].append(valued.value)
    for method, rankings in rankings_of.items():
        if (number := statistics.stability(rankings)) is not None:
            yield _row(method, "stability", number)


def _scored(fit: Fit, parts: Sequence[Fit], draw: Draw) -> Valued:
    """The values of the training rows by a method, with the methods that it combines."""
    method, models = fit.method, {}
    for part in (*parts, fit):
        if part.stored is None:
            reason = (
                part.reason
                if part is fit
                else f"the method '{part.method.name}' that it combines failed"
            )
            return Valued(method.name, reason=reason)
        models[part.method.name] = part.stored
    columns = {column for part in (*parts, fit) for column in part.method.columns()}
    rows = _batches(draw, columns)[0].rows(torch.arange(len(draw.train)))
    scorer = Scorer(models)
    start = time.perf_counter()
    importance = scorer(rows)[method.name].numpy().astype(np.float64)
    scoring = (time.perf_counter() - start) / len(rows) * 1e6
    if not np.isfinite(importance).all():
        bad = int((~np.isfinite(importance)).sum())
        return Valued(method.name, reason=f"{bad} importances are not finite")
    value = trust(method, importance)
    # The F1 of two means depends on the scale, which must not be chosen by the results.
    logged = method.probability and not method.signed
    cost = {"fit_seconds": fit.seconds, "score_seconds_per_million": scoring}
    scaled = _logarithm(value) if logged else value
    return Valued(method.name, value, scaled, importance, cost)


def _batches(draw: Draw, columns: set[str]) -> tuple[Batch, Batch]:
    """Training and validation rows with the columns that the methods need.

    The target rows of a run are training rows; here they are the validation rows, which are
    appended to the training rows.

    Raises:
        SampleError: a method needs a column that tables do not have, such as time or position.
    """
    if unknown := sorted(columns - {"target"}):
        raise SampleError(
            f"the table has no column(s) {unknown}",
            expected="features, categories and labels",
            got=f"a method that needs {unknown}",
            fix="leave the method out of this benchmark",
        )
    train, validation = _batch(draw.train, 0), _batch(draw.validation, len(draw.train))
    if not columns:
        return train, validation
    train = replace(train, extra={"target": torch.zeros(len(train))})
    validation = replace(validation, extra={"target": torch.ones(len(validation))})
    return Batch.concat([train, validation]), validation


def _batch(data: Data, first_id: int) -> Batch:
    return Batch(
        torch.arange(first_id, first_id + len(data)),
        torch.from_numpy(data.features),
        torch.from_numpy(data.ids),
        torch.from_numpy(data.label),
    )


def _probabilities(x: NDArray[Any], label: NDArray[Any], test: NDArray[Any]) -> Array:
    """p(y = 1) of the test rows by a logistic regression, or the only class if there is one."""
    if np.ptp(label) == 0:
        p = np.full(len(test), float(label[0]))
    else:
        p = linear(x, label).predict_proba(test)[:, 1]
    return np.clip(p, 1e-6, 1 - 1e-6)


def _logarithm(p: Array) -> Array:
    return np.asarray(np.log(np.clip(p, _LEAST, None)))


def _row(
    method: str,
    name: str,
    value: float | None = None,
    *,
    share: float | None = None,
    reason: str | None = None,
) -> Row:
    return {"method": method, "name": name, "share": share, "value": value, "reason": reason}
