"""The rows of a cell: drawn from a table, with wrong labels planted among them."""

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reweight.benchmark.detection.corruption import damaged
from reweight.benchmark.detection.protocol import Benchmark, Cell
from reweight.benchmark.detection.public import Data
from reweight.core.errors import SampleError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Draw:
    """The rows of a cell.

    Attributes:
        train: the rows to value, with recorded labels.
        wrong: which of these labels are wrong, bool [N].
        validation: more rows with recorded labels.
        test: rows with true labels.
    """

    train: Data
    wrong: NDArray[np.bool_]
    validation: Data
    test: Data


def drawn(cell: Cell, data: Data, benchmark: Benchmark) -> Draw:
    """Draws rows and damage; for a table and seed, the rows are the same for all damage.

    Args:
        cell: the cell.
        data: the rows of its table.
        benchmark: the section ``benchmark``.

    Raises:
        SampleError: the table has too few rows, or a draw has only one class.
    """
    sizes = (benchmark.train, benchmark.validation, benchmark.test)
    if len(data) < sum(sizes):
        raise SampleError(
            f"the table '{cell.table}' is too small for the benchmark",
            expected=f"{sum(sizes)} rows ({' + '.join(map(str, sizes))})",
            got=f"{len(data)} rows",
            fix="lower benchmark.train, benchmark.validation or benchmark.test",
        )
    order = generator(cell.seed, cell.table).permutation(len(data))
    train, validation, test = (
        data.rows(places) for places in np.split(order, np.cumsum(sizes))[:3]
    )
    margins = _margins(train, validation) if cell.damage == "by_difficulty" else None
    randomness = generator(cell.seed, f"{cell.table} {cell.damage} {cell.rate}")
    recorded = []
    for part, rows in enumerate((train, validation)):
        margin = margins[part] if margins else np.zeros(len(rows))
        recorded.append(damaged(cell.damage, rows.label, margin, cell.rate, randomness))
    (label, wrong), (validation_label, _) = recorded
    if wrong.sum() in (0, len(wrong)) or np.ptp(label) == 0:
        raise SampleError(
            f"a draw of '{cell.table}' cannot be judged",
            expected="correct and wrong labels, and two recorded classes",
            got=f"{int(wrong.sum())} wrong labels, {int(label.sum())} positives of {len(label)}",
            fix="raise benchmark.train, or choose another rate",
        )
    return Draw(train.labelled(label), wrong, validation.labelled(validation_label), test)


def linear(x: NDArray[Any], label: NDArray[Any]) -> Any:
    """A logistic regression with C = 1 on standardised features."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver="newton-cholesky").fit(x.astype(np.float64), label)


def generator(seed: int, stream: str) -> np.random.Generator:
    """Random numbers of a stream, independent of those of others."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode())])


def _margins(train: Data, validation: Data) -> tuple[Array, Array]:
    """Log odds from a linear model of the true labels."""
    if np.ptp(train.label) == 0:
        return np.zeros(len(train)), np.zeros(len(validation))
    model = linear(train.matrix(), train.label)
    return model.decision_function(train.matrix()), model.decision_function(validation.matrix())
