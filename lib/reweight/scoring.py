"""Importance of every row, by a pandas UDF from broadcast parameters."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from pyspark.sql import DataFrame
from pyspark.sql.functions import pandas_udf  # type: ignore[attr-defined]
from pyspark.sql.types import FloatType, StructField, StructType

from reweight.batch import Batch
from reweight.importance.stored import StoredModel


def with_importance(samples: DataFrame, models: Mapping[str, StoredModel]) -> DataFrame:
    """Adds ``importance``, a struct with a float per method, in one pass for all methods.

    Args:
        samples: with ``sample_id``, ``features``, ``ids``, ``label``.
        models: method name -> fitted model.
    """
    # Small by nature: the parameters of the networks.
    sent = samples.sparkSession.sparkContext.broadcast(dict(models))
    schema = StructType([StructField(name, FloatType()) for name in models])

    def score(
        batches: Iterator[tuple[pd.Series, pd.Series, pd.Series, pd.Series]],  # type: ignore[type-arg]
    ) -> Iterator[pd.DataFrame]:
        # One thread per task: Spark runs a task on each core.
        torch.set_num_threads(1)
        fitted = {name: stored.model() for name, stored in sent.value.items()}
        for columns in batches:
            batch = _batch(*columns)
            with torch.inference_mode():
                yield pd.DataFrame({name: model(batch).numpy() for name, model in fitted.items()})

    udf = pandas_udf(score, schema)
    return samples.withColumn("importance", udf("sample_id", "features", "ids", "label"))


def _batch(
    sample_id: "pd.Series[int]",
    features: "pd.Series[float]",
    ids: "pd.Series[int]",
    label: "pd.Series[float]",
) -> Batch:
    rows = len(sample_id)
    return Batch(
        sample_id=torch.from_numpy(sample_id.to_numpy(np.int64, copy=True)),
        features=_matrix(features, rows, np.float32),
        ids=_matrix(ids, rows, np.int32).long(),
        label=torch.from_numpy(label.to_numpy(np.float32, copy=True)),
    )


def _matrix(column: "pd.Series[float] | pd.Series[int]", rows: int, dtype: type) -> torch.Tensor:
    """A column of arrays of equal length as one tensor; one copy, not one per row."""
    flat = np.concatenate(column.to_numpy()) if rows else np.empty(0)
    return torch.from_numpy(flat.astype(dtype, copy=False).reshape(rows, -1 if flat.size else 0))
