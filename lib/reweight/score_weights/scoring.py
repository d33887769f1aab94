"""Scores rows: a function over Arrow batches, in which the models travel."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf
from pyspark.sql.types import BooleanType, FloatType, StructField, StructType

from reweight.core.columns import in_sample_flag, number, soft_label
from reweight.core.errors import WeightError
from reweight.core.left_out import Refusals
from reweight.core.sequences import SEQUENCE
from reweight.core.session_kind import check_sent
from reweight.importance.artifact import ModelArtifact, Scorer, trained
from reweight.importance.attribution import BESIDE, attributions
from reweight.importance.base import ImportanceMethod
from reweight.importance.batch import Batch
from reweight.importance.training import TrainFacts

_READ = ("sample_id", "features", "ids", "label")


def check_labelled(
    methods: Sequence[ImportanceMethod], samples: DataFrame, refusals: Refusals
) -> int:
    """The number of samples; methods that use the label are refused if some have none."""
    counts: Any = samples.agg(F.count("*"), F.count("label")).first()
    for method in methods:
        if method.uses_label and counts[0] != counts[1]:
            error = WeightError(
                f"'{method.name}' uses the label of a row, and some rows have none",
                expected="a label for every sample",
                got=f"null in {counts[0] - counts[1]} of {counts[0]} rows",
                fix="leave the method out when scoring rows that are not labelled yet",
            )
            refusals.add(method.name, error)
    return int(counts[0])


def scored(
    samples: DataFrame, models: Mapping[str, ModelArtifact], keep: Sequence[str]
) -> DataFrame:
    """The rows with a float column of importance per method, in one pass for all methods.

    A soft method adds a column with its labels, named by ``columns.soft_label``. A trained method
    adds a boolean column, named by ``columns.in_sample_flag``: whether all its members see the row,
    so that a training row is scored by models trained on it.

    Whole Arrow batches cross to Python and back: a column of arrays arrives as one block of
    numbers, while a pandas UDF would receive one object per row.

    Args:
        samples: rows with ``sample_id``, ``features``, ``ids``, ``label``.
        models: method name -> fitted model.
        keep: columns of ``samples`` to keep in front.
    """
    sent = sent_models(samples.sparkSession, models)
    kept_fields = samples.select(*keep).schema.fields
    methods = {name: stored.read_method() for name, stored in models.items()}
    numbers = [*models, *[soft_label(name) for name, method in methods.items() if method.soft]]
    flags = [in_sample_flag(name) for name in trained(methods)]
    schema = StructType(
        [
            *kept_fields,
            *[StructField(name, FloatType()) for name in numbers],
            *[StructField(name, BooleanType()) for name in flags],
        ]
    )
    names = list(keep)
    rows, extra = _readable(samples, models, keep)

    def score(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        # One thread per task: Spark runs a task on each core.
        torch.set_num_threads(1)
        scorer = Scorer(sent)
        for rows in batches:
            outputs = scorer.scored(_batch(rows, extra))
            columns = [rows.column(name) for name in names]
            for part in (outputs.importance, outputs.soft_labels, outputs.in_sample):
                columns += [pa.array(values.numpy()) for values in part.values()]
            yield pa.RecordBatch.from_arrays(columns, names=schema.names)

    return rows.mapInArrow(score, schema)


def explained(
    samples: DataFrame, models: Mapping[str, ModelArtifact], names: Sequence[str], steps: int
) -> DataFrame:
    """The contributions of features to importance: means of ``attributions`` over the rows.

    Args:
        samples: rows with ``sample_id``, ``features``, ``ids``, ``label``.
        models: method name -> fitted model.
        names: feature names, [D].
        steps: number of steps of the integral.

    Returns:
        One row per ``method`` and ``part`` (a feature, or one of ``attribution.BESIDE``): ``rows``,
        and ``mean`` and ``mean_abs`` of the contribution, also by label (``mean_0``, ``mean_1``).
    """
    sent = sent_models(samples.sparkSession, models)
    parts = [*names, *BESIDE]
    sums = ("mean_abs", "mean_0", "mean_1", "rows_0", "rows_1")
    schema = "method string, part string, " + ", ".join(f"{name} double" for name in sums)
    rows, extra = _readable(samples, models, ())

    def explain(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        torch.set_num_threads(1)
        scorer = Scorer(sent)
        for batch in (part for rows in batches for part in _batch(rows, extra).parts()):
            positive = (batch.label > 0.5).double()
            by_label = torch.stack([1 - positive, positive])
            for method, contributions in attributions(scorer.scores, batch, steps).items():
                values = contributions.double()
                columns = [values.abs().sum(0), *(by_label @ values)]
                columns += [count.expand(len(parts)) for count in by_label.sum(1)]
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
        # Null if no row has the label.
        *[F.try_divide(f"mean_{y}", f"rows_{y}").alias(f"mean_{y}") for y in (0, 1)],
    )


def _readable(
    samples: DataFrame, models: Mapping[str, ModelArtifact], keep: Sequence[str]
) -> tuple[DataFrame, list[str]]:
    """Selects the kept columns and those that the models read; also the names of the extra ones."""
    needs = {
        column: TrainFacts.model_validate_json(stored.facts).segments
        for stored in models.values()
        for column in stored.read_method().scoring_columns()
    }
    # Converted as in the training snapshot, under other names than the kept columns.
    extra_columns = [number(name, needs[name]).alias(_extra(name)) for name in sorted(needs)]
    in_order = any(stored.read_method().reads_sequence for stored in models.values())
    read = [*keep, *_READ, *(SEQUENCE if in_order else ())]
    return samples.select(*dict.fromkeys(read), *extra_columns), sorted(needs)


def importance_column(
    spark: SparkSession, stored: ModelArtifact, values: Mapping[str, Column]
) -> Column:
    """The output of one model as a column, so that other columns do not pass through Python.

    Slower than ``scored``, since each row's features become an object; but a plan that does not use
    the column does not compute it.

    Args:
        spark: the session.
        stored: the model, fitted on samples without ``ids``.
        values: ``sample_id``, ``features`` (array<float>), ``label`` and the columns that the
            method needs.

    Returns:
        A struct of ``importance`` and ``label``; ``label`` is null unless the method is soft.
    """
    method = stored.read_method()
    segments = TrainFacts.model_validate_json(stored.facts).segments
    name, extra = method.name, method.columns()
    sent = sent_models(spark, {name: stored})
    columns_read = ("sample_id", "features", "label", *extra)

    def score(
        batches: Iterator[tuple[pd.Series, ...]],  # type: ignore[type-arg]
    ) -> Iterator[pd.DataFrame]:
        torch.set_num_threads(1)
        scorer = Scorer(sent)
        for columns in batches:
            arrays = dict(zip(columns_read, map(pa.array, columns), strict=True))
            outputs = scorer.scored(Batch.from_arrow(arrays, {n: n for n in extra}))
            soft = outputs.soft_labels.get(name)
            output = {
                "importance": outputs.importance[name].numpy(),
                "label": None if soft is None else soft.numpy(),
            }
            yield pd.DataFrame(output)

    untyped_udf: Any = pandas_udf
    extra_columns = [number(n, segments, values[n]) for n in extra]
    column: Column = untyped_udf(score, "importance float, label float")(
        values["sample_id"], values["features"], values["label"], *extra_columns
    )
    return column


def sent_models(
    spark: SparkSession, models: Mapping[str, ModelArtifact]
) -> dict[str, ModelArtifact]:
    """The models as the functions hold them: small by nature, the parameters of the networks.

    Spark broadcasts a function that is larger than 1 MB by itself.
    """
    check_sent(spark, sum(len(stored.tensors) for stored in models.values()), "the models")
    return dict(models)


def _extra(name: str) -> str:
    return f"_extra_{name}"


def _batch(rows: pa.RecordBatch, extra: Sequence[str]) -> Batch:
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    return Batch.from_arrow(columns, {name: _extra(name) for name in extra})
