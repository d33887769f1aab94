"""Importance of every row, by a function over Arrow batches, from broadcast parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql.types import BooleanType, FloatType, StructField, StructType

from reweight.batch import Batch
from reweight.columns import in_sample, number, soft_label
from reweight.importance import TrainFacts
from reweight.importance.evidence import Evidence
from reweight.importance.stored import Scorer, StoredModel, trained

_READ = ("sample_id", "features", "ids", "label")


def scored(samples: DataFrame, models: Mapping[str, StoredModel], keep: Sequence[str]) -> DataFrame:
    """The rows with a float column of importance per method, in one pass for all methods.

    A soft method's labels are one column more, named by ``columns.soft_label``; and a trained
    method has a boolean one, ``columns.in_sample``: whether all its members see the row, so that a
    training row is scored by those that were trained on it.

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
    methods = {name: stored.read_method() for name, stored in models.items()}
    numbers = [*models, *[soft_label(name) for name, method in methods.items() if method.soft]]
    flags = [in_sample(name) for name in trained(methods)]
    schema = StructType(
        [
            *kept,
            *[StructField(name, FloatType()) for name in numbers],
            *[StructField(name, BooleanType()) for name in flags],
        ]
    )
    names = list(keep)
    needs = {
        column: TrainFacts.model_validate_json(models[name].facts).segments
        for name, method in methods.items()
        for column in method.columns()
    }
    extra = sorted(needs)

    def score(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        # One thread per task: Spark runs a task on each core.
        torch.set_num_threads(1)
        scorer = Scorer(sent.value)
        for rows in batches:
            evidence = Evidence(_batch(rows, extra))
            found = [*scorer(evidence.batch, evidence).values()]
            found += scorer.soft_labels(evidence).values()
            found += scorer.in_sample(evidence).values()
            columns = [rows.column(name) for name in names]
            columns += [pa.array(values.numpy()) for values in found]
            yield pa.RecordBatch.from_arrays(columns, names=schema.names)

    # As the snapshot for training holds them; beside columns that are kept as they are.
    more = [number(name, needs[name]).alias(_extra(name)) for name in extra]
    columns = dict.fromkeys([*keep, *_READ])
    return samples.select(*columns, *more).mapInArrow(score, schema)


def _extra(name: str) -> str:
    return f"_extra_{name}"


def _batch(rows: pa.RecordBatch, extra: Sequence[str]) -> Batch:
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
        extra={name: numbers(_extra(name), np.float32) for name in extra},
    )
