"""Importance of every row, by a function over Arrow batches, from broadcast parameters."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import BooleanType, FloatType, StructField, StructType

from reweight.core.columns import in_sample_flag, number, soft_label
from reweight.importance.artifact import ModelArtifact, Scorer, trained
from reweight.importance.attribution import BESIDE, attributions
from reweight.importance.batch import Batch
from reweight.importance.ensemble_outputs import EnsembleOutputs
from reweight.importance.training import TrainFacts

_READ = ("sample_id", "features", "ids", "label")


def scored(
    samples: DataFrame, models: Mapping[str, ModelArtifact], keep: Sequence[str]
) -> DataFrame:
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
    flags = [in_sample_flag(name) for name in trained(methods)]
    schema = StructType(
        [
            *kept,
            *[StructField(name, FloatType()) for name in numbers],
            *[StructField(name, BooleanType()) for name in flags],
        ]
    )
    names = list(keep)
    rows, extra = _readable(samples, models, keep)

    def score(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        # One thread per task: Spark runs a task on each core.
        torch.set_num_threads(1)
        scorer = Scorer(sent.value)
        for rows in batches:
            outputs = EnsembleOutputs(_batch(rows, extra))
            found = [*scorer(outputs.batch, outputs).values()]
            found += scorer.soft_labels(outputs).values()
            found += scorer.in_sample(outputs).values()
            columns = [rows.column(name) for name in names]
            columns += [pa.array(values.numpy()) for values in found]
            yield pa.RecordBatch.from_arrays(columns, names=schema.names)

    return rows.mapInArrow(score, schema)


def explained(
    samples: DataFrame, models: Mapping[str, ModelArtifact], names: Sequence[str], steps: int
) -> DataFrame:
    """What importance is made of, over the rows: means of ``importance.attribution``.

    Args:
        samples: with ``sample_id``, ``features``, ``ids``, ``label``.
        models: method name -> fitted model.
        names: of the features, [D].
        steps: of the integral.

    Returns:
        By ``method`` and ``part`` (a feature, or one of ``attribution.BESIDE``): ``rows``, ``mean``
        and ``mean_abs`` of what the part adds, also by label (``mean_0``, ``mean_1``).
    """
    sent = samples.sparkSession.sparkContext.broadcast(dict(models))
    parts = [*names, *BESIDE]
    sums = ("mean_abs", "mean_0", "mean_1", "rows_0", "rows_1")
    schema = "method string, part string, " + ", ".join(f"{name} double" for name in sums)
    rows, extra = _readable(samples, models, ())

    def explain(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        torch.set_num_threads(1)
        scorer = Scorer(sent.value)
        for rows in batches:
            batch = _batch(rows, extra)
            positive = (batch.label > 0.5).double()
            chosen = torch.stack([1 - positive, positive])
            for method, found in attributions(scorer.scores, batch, steps).items():
                values = found.double()
                columns = [values.abs().sum(0), *(chosen @ values)]
                columns += [count.expand(len(parts)) for count in chosen.sum(1)]
                arrays = [pa.array([method] * len(parts)), pa.array(parts)]
                arrays += [pa.array(column.numpy()) for column in columns]
                yield pa.RecordBatch.from_arrays(arrays, names=["method", "part", *sums])

    added = rows.mapInArrow(explain, schema).groupBy("method", "part")
    totals = added.agg(*[F.sum(name).alias(name) for name in sums])
    count = F.col("rows_0") + F.col("rows_1")
    return totals.select(
        "method",
        "part",
        count.cast("bigint").alias("rows"),
        ((F.col("mean_0") + F.col("mean_1")) / count).alias("mean"),
        (F.col("mean_abs") / count).alias("mean_abs"),
        # Null where no row has the label.
        *[F.try_divide(f"mean_{y}", f"rows_{y}").alias(f"mean_{y}") for y in (0, 1)],
    )


def _readable(
    samples: DataFrame, models: Mapping[str, ModelArtifact], keep: Sequence[str]
) -> tuple[DataFrame, list[str]]:
    """The columns that the models read, after those that are kept; and the names of the extra."""
    needs = {
        column: TrainFacts.model_validate_json(stored.facts).segments
        for stored in models.values()
        for column in stored.read_method().columns()
    }
    # As the snapshot for training holds them; beside columns that are kept as they are.
    more = [number(name, needs[name]).alias(_extra(name)) for name in sorted(needs)]
    return samples.select(*dict.fromkeys([*keep, *_READ]), *more), sorted(needs)


def importance_column(
    spark: SparkSession, stored: ModelArtifact, values: Mapping[str, Column]
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
            outputs = EnsembleOutputs(_batch_of_series(columns, extra))
            found = {"importance": scorer(outputs.batch, outputs)[name].numpy(), "label": None}
            for soft in scorer.soft_labels(outputs).values():
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
