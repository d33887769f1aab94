"""Models outside the JVM: trained in one task, and applied batch by batch to what they read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

# Takes the values of the inputs for a batch of rows, gives those of each new column.
Predict = Callable[..., Sequence[NDArray[Any]]]


def with_predictions(
    rows: DataFrame, inputs: Sequence[Column], names: Sequence[str], load: Callable[[], Predict]
) -> DataFrame:
    """Adds columns of numbers, all of them in one pass through Python.

    Args:
        rows: any rows; they are all kept, as they are.
        inputs: what is sent to Python.
        names: of the new columns, doubles.
        load: called once per task.
    """
    fields = [f"_{number}" for number in range(len(names))]

    def predicted(
        batches: Iterator[tuple[pd.Series, ...]],  # type: ignore[type-arg]
    ) -> Iterator[pd.DataFrame]:
        predict = load()
        for values in batches:
            # A single input comes without its tuple.
            series = values if isinstance(values, tuple) else (values,)
            yield pd.DataFrame(dict(zip(fields, predict(*series), strict=True)))

    untyped_udf: Any = pandas_udf
    struct = untyped_udf(predicted, ", ".join(f"{field} double" for field in fields))(*inputs)
    added = [F.col(f"_predicted.{f}").alias(n) for f, n in zip(fields, names, strict=True)]
    return rows.withColumn("_predicted", struct).select("*", *added).drop("_predicted")


def inputs_of(fields: int) -> Column:
    """The dense features, then the ids of categorical fields as numbers, array<float>.

    Args:
        fields: number of categorical fields.
    """
    features = F.col("features")
    return F.concat(features, F.col("ids").cast("array<float>")) if fields else features


def matrix_of(inputs: Iterable[Any]) -> NDArray[np.float32]:
    """A batch of ``inputs_of``, float32 [B, D + fields]."""
    matrix: NDArray[np.float32] = np.stack(list(inputs)).astype(np.float32, copy=False)
    return matrix


@dataclass(frozen=True)
class TrainingRows:
    """All rows of a training, in the memory of one task.

    Attributes:
        inputs: float32 [N, D + fields].
        numbers: the other columns.
    """

    inputs: NDArray[np.float32]
    numbers: pd.DataFrame


def trained_in_one_task(
    rows: DataFrame,
    columns: Sequence[str],
    order: Sequence[str],
    train: Callable[[TrainingRows], bytes],
) -> bytes:
    """Gives all rows to one task, which trains a model.

    Args:
        rows: with ``_inputs``, as ``inputs_of`` gives them, and the other columns.
        columns: numbers that the training reads besides.
        order: columns by which the rows are sorted.
        train: runs in the task; returns the model.
    """

    def trained(batches: Iterable[pd.DataFrame]) -> Iterable[pd.DataFrame]:
        parts = [(matrix_of(part["_inputs"]), part.drop(columns="_inputs")) for part in batches]
        inputs = np.concatenate([inputs for inputs, _ in parts])
        numbers = pd.concat([numbers for _, numbers in parts], ignore_index=True)
        yield pd.DataFrame({"model": [train(TrainingRows(inputs, numbers))]})

    ordered = rows.repartition(1).sortWithinPartitions(*order).select("_inputs", *columns)
    row = ordered.mapInPandas(trained, "model binary").first()
    assert row is not None
    return bytes(row["model"])
