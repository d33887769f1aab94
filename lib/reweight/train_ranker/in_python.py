"""Columns that a model outside the JVM computes, batch by batch, while others stay in the JVM."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
