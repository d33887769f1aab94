"""Importance of every row, by a function over Arrow batches, from broadcast parameters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql.pandas.functions import pandas_udf
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


def importance_column(
    spark: SparkSession, stored: StoredModel, values: Mapping[str, Column]
) -> Column:
    """What one model says of a row, for frames whose other columns must not pass through Python.

    Slower than ``scored``, since each row's features become an object; but a plan that does not use
    the column does not compute it.

    Args:
        spark: the session.
        stored: the model, of samples without ``ids``.
        values: ``sample_id``, ``features`` (array<float>), ``label`` and what the method needs.

    Returns:
        A struct of ``importance`` and ``label``, which is null unless the method is soft.
    """
    sent = spark.sparkContext.broadcast(stored)
    method = stored.read_method()
    segments = TrainFacts.model_validate_json(stored.facts).segments
    name, extra = method.name, method.columns()

    def score(
        batches: Iterator[tuple[pd.Series, ...]],  # type: ignore[type-arg]
    ) -> Iterator[pd.DataFrame]:
        torch.set_num_threads(1)
        scorer = Scorer({name: sent.value})
        for columns in batches:
            evidence = Evidence(_batch_of_series(columns, extra))
            found = {"importance": scorer(evidence.batch, evidence)[name].numpy(), "label": None}
            for soft in scorer.soft_labels(evidence).values():
                found["label"] = soft.numpy()
            yield pd.DataFrame(found)

    typed: Any = pandas_udf
    more = [number(n, segments, values[n]) for n in extra]
    said: Column = typed(score, "importance float, label float")(
        values["sample_id"], values["features"], values["label"], *more
    )
    return said


def _batch_of_series(columns: Sequence[Any], extra: Sequence[str]) -> Batch:
    ids, features, label, *more = columns

    def numbers(values: Any, dtype: type) -> torch.Tensor:
        return torch.from_numpy(np.array(values, dtype=dtype))

    rows = len(ids)
    return Batch(
        sample_id=numbers(ids, np.int64),
        features=numbers(np.concatenate(features.to_numpy()), np.float32).reshape(rows, -1),
        ids=torch.empty((rows, 0), dtype=torch.int64),
        label=numbers(label, np.float32),
        extra={n: numbers(v, np.float32) for n, v in zip(extra, more, strict=True)},
    )


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
