"""Importance of every row, by a function over Arrow batches, from broadcast parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql.types import FloatType, StructField, StructType

from reweight.batch import Batch
from reweight.importance.stored import StoredModel

_READ = ("sample_id", "features", "ids", "label")


def scored(samples: DataFrame, models: Mapping[str, StoredModel], keep: Sequence[str]) -> DataFrame:
    """The rows with a float column of importance per method, in one pass for all methods.

    Whole Arrow batches cross to Python and back: a column of arrays comes as one block of numbers,
    where a pandas UDF would be handed an object per row.

    Args:
        samples: with ``sample_id``, ``features``, ``ids``, ``label``.
        models: method name -> fitted model.
        keep: columns of ``samples`` that stand in front.
    """
    # Small by nature: the parameters of the networks.
    sent = samples.sparkSession.sparkContext.broadcast(dict(models))
    kept = samples.select(*keep).schema.fields
    schema = StructType([*kept, *[StructField(name, FloatType()) for name in models]])
    names = list(keep)

    def score(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        # One thread per task: Spark runs a task on each core.
        torch.set_num_threads(1)
        fitted = {name: stored.model() for name, stored in sent.value.items()}
        for rows in batches:
            batch = _batch(rows)
            columns = [rows.column(name) for name in names]
            with torch.inference_mode():
                columns += [pa.array(model(batch).numpy()) for model in fitted.values()]
            yield pa.RecordBatch.from_arrays(columns, names=[*names, *fitted])

    columns = dict.fromkeys([*keep, *_READ])
    return samples.select(*columns).mapInArrow(score, schema)


def _batch(rows: pa.RecordBatch) -> Batch:
    def numbers(name: str, dtype: type) -> torch.Tensor:
        # Copied, since Arrow's memory may not be written to and torch demands that it may.
        return torch.from_numpy(np.array(rows.column(name), dtype=dtype))

    def matrix(name: str, dtype: type) -> torch.Tensor:
        flat: NDArray[Any] = np.array(rows.column(name).flatten(), dtype=dtype)
        return torch.from_numpy(flat).reshape(len(rows), -1 if flat.size else 0)

    return Batch(
        sample_id=numbers("sample_id", np.int64),
        features=matrix("features", np.float32),
        ids=matrix("ids", np.int64),
        label=numbers("label", np.float32),
    )
