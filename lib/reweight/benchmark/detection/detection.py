"""A cell: plants damage, fits all methods on what is recorded, and judges them on the truth.

T1 finds the damaged rows; T2 removes rows in the order of their value and trains a plain logistic
regression on the rest; T4 compares the ranks that a method gives with other random numbers; T5 is
what a fit and a score cost. A method that fails is a row with its reason.
"""

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reweight.benchmark.detection import statistics
from reweight.benchmark.detection.corruption import damaged
from reweight.benchmark.detection.protocol import FOREST, ORACLE, Benchmark, Cell
from reweight.benchmark.detection.public import Data
from reweight.benchmark.fits import Fit, facts_of, fits, said
from reweight.core.errors import ReweightError, SampleError
from reweight.importance.artifact import Scorer
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts

Array = NDArray[np.float64]
Row = dict[str, Any]

# Method seeds of a draw are apart from those of another.
_SEEDS = 1000
# Smaller probabilities are this one before a logarithm: of a few hundred votes 0 is as good as one.
_LEAST = 1e-3


@dataclass(frozen=True)
class Draw:
    """Rows of a cell.

    Attributes:
        train: rows to value, with the labels that are recorded.
        wrong: which of these labels are wrong, bool [N].
        validation: further rows with recorded labels.
        test: rows with true labels.
    """

    train: Data
    wrong: NDArray[np.bool_]
    validation: Data
    test: Data


@dataclass(frozen=True)
class Valued:
    """What a method says of the training rows.

    Attributes:
        method: its name.
        value: float64 [N], low is suspect; None where it failed.
        scaled: what two means are taken of.
        cost: seconds by name.
        reason: of a failure.
    """

    method: str
    value: Array | None = None
    scaled: Array | None = None
    cost: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None


def judged(
    cell: Cell, data: Data, methods: Sequence[ImportanceMethod], benchmark: Benchmark
) -> list[Row]:
    """All that the benchmark says of a cell: rows of its table, without the key.

    Args:
        cell: which.
        data: its table.
        methods: of the config.
        benchmark: sizes and settings.
    """
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    # Tasks side by side, each with a thread per core, take many times as long.
    with threadpool_limits(1):
        return _rows(cell, data, methods, benchmark)


def _rows(
    cell: Cell, data: Data, methods: Sequence[ImportanceMethod], benchmark: Benchmark
) -> list[Row]:
    told = {"table": cell.table, "damage": cell.damage, "rate": cell.rate, "seed": cell.seed}
    try:
        draw = drawn(cell, data, benchmark)
    except ReweightError as error:
        names = [*[m.name for m in methods], ORACLE, FOREST]
        return [told | _row(name, "failed", reason=said(error)) for name in names]
    valued = list(values(draw, methods, cell.seed * _SEEDS, benchmark))
    oracle = np.where(draw.wrong, 0.0, 1.0)
    valued.append(Valued(ORACLE, oracle, oracle))
    rows = [row for one in valued for row in _judged(one, draw, benchmark.removed)]
    if cell.seed == 0 and benchmark.method_seeds > 1:
        rows += _stabilities(draw, methods, valued, benchmark)
    return [told | row for row in rows]


def drawn(cell: Cell, data: Data, benchmark: Benchmark) -> Draw:
    """Draws rows and damage. The rows of a table and seed are the same for all damage.

    Raises:
        SampleError: the table has too few rows, or a draw has one class.
    """
    sizes = (benchmark.train, benchmark.validation, benchmark.test)
    if len(data) < sum(sizes):
        raise SampleError(
            f"the table '{cell.table}' is too small for the benchmark",
            expected=f"{sum(sizes)} rows ({' + '.join(map(str, sizes))})",
            got=f"{len(data)}",
            fix="lower benchmark.train, benchmark.validation or benchmark.test",
        )
    order = _generator(cell.seed, cell.table).permutation(len(data))
    train, validation, test = (data.rows(p) for p in np.split(order, np.cumsum(sizes))[:3])
    margins = _margins(train, validation) if cell.damage == "by_difficulty" else None
    generator = _generator(cell.seed, f"{cell.table} {cell.damage} {cell.rate}")
    recorded = []
    for part, rows in enumerate((train, validation)):
        margin = margins[part] if margins else np.zeros(len(rows))
        recorded.append(damaged(cell.damage, rows.label, margin, cell.rate, generator))
    (label, wrong), (validation_label, _) = recorded
    if wrong.sum() in (0, len(wrong)) or np.ptp(label) == 0:
        raise SampleError(
            f"a draw of '{cell.table}' cannot be judged",
            expected="right and wrong labels, and two recorded classes",
            got=f"{int(wrong.sum())} wrong labels, {int(label.sum())} positives of {len(label)}",
            fix="raise benchmark.train, or choose another rate",
        )
    return Draw(train.labelled(label), wrong, validation.labelled(validation_label), test)


def values(
    draw: Draw, methods: Sequence[ImportanceMethod], seed: int, benchmark: Benchmark
) -> Iterator[Valued]:
    """The values of all methods and of the random forest; equal trainings are done once.

    Args:
        draw: rows.
        methods: to fit.
        seed: of the methods' random numbers.
        benchmark: sizes and settings.
    """

    def rows(group: Sequence[ImportanceMethod]) -> tuple[Batch, Batch, TrainFacts]:
        train, validation = _batches(draw, {c for m in group for c in m.columns()})
        facts = facts_of(train, draw.train.cardinalities, seed, group[0].learns())
        return train, validation, facts

    found = {one.method.name: one for one in fits(methods, rows, benchmark.batch_size)}
    for one in found.values():
        yield _scored(one, [found[name] for name in one.method.combines()], draw)
    yield forest(draw.train, seed, benchmark.trees)


def forest(train: Data, seed: int, trees: int) -> Valued:
    """Random forest, out of bag: probability of the given label by the trees without the row."""
    from sklearn.ensemble import RandomForestClassifier

    start = time.perf_counter()
    found = RandomForestClassifier(trees, oob_score=True, n_jobs=1, random_state=seed)
    found.fit(train.matrix(), train.label.astype(np.int64))
    seconds = time.perf_counter() - start
    p = found.oob_decision_function_[np.arange(len(train)), train.label.astype(np.int64)]
    return Valued(FOREST, p, _logarithm(p), {"fit_seconds": seconds})


def curves(
    value: Array, draw: Draw, removed: Sequence[float]
) -> Iterator[tuple[str, float, float]]:
    """T2: (name, share removed, value) of a logistic regression on the rows that are left.

    Rows of equal value are removed in a random order, the same for every method.
    """
    x, test = draw.train.matrix(), draw.test.matrix()
    ties = _generator(0, "ties").permutation(len(value))
    ascending = np.lexsort((ties, value))
    for end, order in (("lowest", ascending), ("highest", ascending[::-1])):
        for share in (0.0, *removed):
            left = np.sort(order[round(share * len(order)) :])
            p = _probabilities(x[left], draw.train.label[left], test)
            given = np.where(draw.test.label == 1, p, 1 - p)
            yield f"accuracy_without_{end}", share, float((given > 0.5).mean())
            yield f"log_loss_without_{end}", share, float(-np.log(given).mean())


def _judged(one: Valued, draw: Draw, removed: Sequence[float]) -> Iterator[Row]:
    if one.value is None or one.scaled is None:
        yield _row(one.method, "failed", reason=one.reason)
        return
    for name, number in statistics.detection(one.value, one.scaled, draw.wrong).items():
        yield _row(one.method, name, number)
    for name, share, number in curves(one.value, draw, removed):
        yield _row(one.method, name, number, share=share)
    for name, number in one.cost.items():
        yield _row(one.method, name, number)


def _stabilities(
    draw: Draw,
    methods: Sequence[ImportanceMethod],
    first: Sequence[Valued],
    benchmark: Benchmark,
) -> Iterator[Row]:
    """T4: the same draw, other random numbers of the method."""
    found = {one.method: [one.value] for one in first if one.value is not None}
    for seed in range(1, benchmark.method_seeds):
        for one in values(draw, methods, seed, benchmark):
            if one.method in found and one.value is not None:
                found[one.method].append(one.value)
    for method, rankings in found.items():
        if (number := statistics.stability(rankings)) is not None:
            yield _row(method, "stability", number)


def _scored(fit: Fit, parts: Sequence[Fit], draw: Draw) -> Valued:
    """The value of the training rows by a method, and by those that it combines on the way."""
    method, stored = fit.method, {}
    for one in (*parts, fit):
        if one.stored is None:
            reason = one.reason if one is fit else f"its part '{one.method.name}' failed"
            return Valued(method.name, reason=reason)
        stored[one.method.name] = one.stored
    columns = {column for one in (*parts, fit) for column in one.method.columns()}
    rows = _batches(draw, columns)[0].rows(torch.arange(len(draw.train)))
    scorer = Scorer(stored)
    start = time.perf_counter()
    importance = scorer(rows)[method.name].numpy().astype(np.float64)
    scoring = (time.perf_counter() - start) / len(rows) * 1e6
    if not np.isfinite(importance).all():
        bad = int((~np.isfinite(importance)).sum())
        return Valued(method.name, reason=f"{bad} importances are not finite")
    # What is hard or suspicious is what a wrong label looks like.
    value = importance if method.polarity == "valuable" else -importance
    # Fixed beforehand: the F1 of two means depends on the scale, which no result may choose.
    logged = method.probability and not method.signed
    cost = {"fit_seconds": fit.seconds, "score_seconds_per_million": scoring}
    return Valued(method.name, value, _logarithm(value) if logged else value, cost)


def _batches(draw: Draw, columns: set[str]) -> tuple[Batch, Batch]:
    """Training and validation rows with what the methods need beside features and label.

    Target rows are training rows of a run; here the validation rows are, which then stand behind
    the training rows.

    Raises:
        SampleError: a column that a table without time or position has not.
    """
    if unknown := sorted(columns - {"target"}):
        raise SampleError(
            f"the table has no column(s) {unknown}",
            expected="features, categories and labels",
            got=f"a method that needs {unknown}",
            fix="leave it out of this benchmark",
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


def _margins(train: Data, validation: Data) -> tuple[Array, Array]:
    """Log odds by a linear model of the true labels."""
    if np.ptp(train.label) == 0:
        return np.zeros(len(train)), np.zeros(len(validation))
    model = _linear(train.matrix(), train.label)
    return model.decision_function(train.matrix()), model.decision_function(validation.matrix())


def _probabilities(x: NDArray[Any], label: NDArray[Any], test: NDArray[Any]) -> Array:
    """p(y = 1) of the test rows by a logistic regression; of one class, its share."""
    if np.ptp(label) == 0:
        p = np.full(len(test), float(label[0]))
    else:
        p = _linear(x, label).predict_proba(test)[:, 1]
    return np.clip(p, 1e-6, 1 - 1e-6)


def _linear(x: NDArray[Any], label: NDArray[Any]) -> Any:
    """A logistic regression with C = 1 on standardised features."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="newton-cholesky").fit(x.astype(np.float64), label)


def _logarithm(p: Array) -> Array:
    return np.asarray(np.log(np.clip(p, _LEAST, None)))


def _generator(seed: int, stream: str) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(stream.encode())])


def _row(
    method: str,
    name: str,
    value: float | None = None,
    *,
    share: float | None = None,
    reason: str | None = None,
) -> Row:
    return {"method": method, "name": name, "share": share, "value": value, "reason": reason}
