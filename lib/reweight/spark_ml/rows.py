"""Any frame with features and a label -> the columns that the library reads, and their checks."""

from collections.abc import Sequence
from typing import Any

from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import VectorUDT
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    IntegralType,
    NumericType,
    StructType,
)

from reweight.core.errors import SampleError
from reweight.core.hashing import uniform
from reweight.spark_ml.params import EXTRA, WeighterParams, method_of

FEATURES = "_reweight_features"
_LARGEST = 3.4e38  # of a float32


def check_schema(schema: StructType, params: WeighterParams, *, training: bool) -> None:
    """Demands the columns that are read, of types that can be read, and room for those added.

    Args:
        schema: of the frame.
        params: that name the columns.
        training: whether the label and all else that training reads must be there too.

    Raises:
        SampleError: one of them fails.
    """
    _check_column(schema, "featuresCol", params.getFeaturesCol(), _is_features)
    if training:
        _check_column(schema, "labelCol", params.getLabelCol(), _is_number)
        named = {f"{name}Col": column for name, column in params.extra_columns().items()}
        others = ("validationIndicatorCol", "idCol")
        named |= {name: column for name in others if (column := params.column(name))}
        for name, column in named.items():
            _check_column(schema, name, column, _is_anything)
    added = (params.getImportanceCol(), params.getOutputCol(), params.getSoftLabelCol())
    if there := [name for name in added if name in schema.names]:
        raise SampleError(
            f"the frame has the column(s) {there} already",
            expected="no column of the names of outputCol, importanceCol and softLabelCol",
            got=f"columns {schema.names}",
            fix="drop them, or set other names, as outputCol='sample_weight'",
        )


def features_of(schema: StructType, column: str) -> Column:
    """The features as array<double>, whether they come as vectors or as arrays."""
    if isinstance(schema[column].dataType, VectorUDT):
        return vector_to_array(F.col(column))
    return F.col(column).cast("array<double>")


def id_of(schema: StructType, params: WeighterParams) -> Column:
    """What decides which networks see a row: ``idCol``, or a hash of ``FEATURES`` and label."""
    name = params.getIdCol()
    if name is None or name not in schema.names:
        return F.xxhash64(F.col(FEATURES), label_of(schema, params))
    own = F.col(name)
    if isinstance(schema[name].dataType, IntegralType):
        return own.cast("bigint")
    # A hash passes over null, and a row without an id must be found.
    return F.when(own.isNotNull(), F.xxhash64(own))


def label_of(schema: StructType, params: WeighterParams) -> Column:
    """The label as float; null where the frame has none, as when a fitted pipeline predicts."""
    name = params.getLabelCol()
    return (F.col(name) if name in schema.names else F.lit(None)).cast("float")


def extra_of(schema: StructType, params: WeighterParams) -> dict[str, Column]:
    """What methods read beside features and label, in the types of the table ``samples``."""
    given = params.extra_columns()
    # Where nothing is said of windows, labels are settled.
    unsaid = {"mature": F.lit(True)}
    read = {}
    for name, (kind, _) in EXTRA.items():
        there = given.get(name) in schema.names
        value = F.col(given[name]) if there else unsaid.get(name, F.lit(None))
        read[name] = value.cast(kind)
        if kind == "boolean":
            read[name] = F.coalesce(read[name], F.lit(False))
    return read


def as_samples(rows: DataFrame, params: WeighterParams) -> DataFrame:
    """The rows with the columns of the table ``samples``; ``features`` as array<double>."""
    schema = rows.schema
    rows = rows.withColumn(FEATURES, features_of(schema, params.getFeaturesCol()))
    samples = rows.select(
        id_of(schema, params).alias("sample_id"),
        label_of(schema, params).alias("label"),
        F.col(FEATURES).alias("features"),
        F.array().cast("array<int>").alias("ids"),
        *[value.alias(name) for name, value in extra_of(schema, params).items()],
        *[F.col(name).cast("boolean").alias("_held_out") for name in _indicator(params)],
    )
    if _indicator(params):
        held_out = F.coalesce("_held_out", F.lit(False))
    else:
        held_out = uniform(params.getSeed(), "validation", "sample_id") <= (
            params.getValidationFraction()
        )
    split = F.when(held_out, "validation").otherwise("train")
    return samples.withColumn("split", split).drop("_held_out")


def check_samples(samples: DataFrame, params: WeighterParams) -> int:
    """Demands labels 0 and 1, and features that are all there; returns their number.

    Args:
        samples: of ``as_samples``.
        params: that name the columns, for messages.

    Raises:
        SampleError: one of them fails.
    """
    label, size = F.col("label"), F.size("features")
    found: Any = samples.agg(
        F.count("*").alias("rows"),
        F.count_if(label.isNull()).alias("unlabelled"),
        F.count_if(~label.isin(0.0, 1.0)).alias("other"),
        F.min(label).alias("low"),
        F.max(label).alias("high"),
        F.count_if(F.col("split") == "train").alias("train"),
        F.count_if((F.col("split") == "train") & (label == 1)).alias("positives"),
        F.count_if(~whole(F.col("features"))).alias("broken"),
        F.min(size).alias("shortest"),
        F.max(size).alias("longest"),
        F.count_if(F.col("sample_id").isNull()).alias("nameless"),
    ).first()
    name, rows = params.getLabelCol(), found["rows"]
    if rows == 0:
        raise _refused("there are no rows to learn from", "rows", "an empty frame", "check filters")
    if found["unlabelled"] or found["other"]:
        raise _refused(
            f"'{name}' is no label",
            "0 or 1 in every row (false or true)",
            f"null in {found['unlabelled']}, other numbers in {found['other']} of {rows} rows, "
            f"from {found['low']} to {found['high']}",
            "set labelCol to the column that says what happened, or write it as a condition, as "
            "(rating >= 4); leave rows out whose label is not known",
        )
    if found["positives"] in (0, found["train"]):
        raise _refused(
            f"the training rows have only one value of '{name}'",
            "labels 0 and 1",
            f"{found['positives']} of {found['train']} training rows are 1",
            "give it rows of both, or check validationIndicatorCol",
        )
    if found["train"] == rows and method_of(params).trained:
        raise _refused(
            "no row is held out of training",
            "some rows for the loss curve",
            f"{rows} training rows, and no other",
            "raise validationFraction, or mark rows by validationIndicatorCol",
        )
    if found["broken"] or found["shortest"] != found["longest"] or found["longest"] == 0:
        raise _refused(
            f"'{params.getFeaturesCol()}' has rows without all features",
            "as many finite numbers in every row",
            f"null, NaN or too large in {found['broken']} of {rows} rows; lengths from "
            f"{found['shortest']} to {found['longest']}",
            "fill them first, as with pyspark.ml.feature.Imputer",
        )
    if found["nameless"]:
        raise _refused(
            f"'{params.getIdCol()}' is no id",
            "a value in every row",
            f"null in {found['nameless']} of {rows}",
            "set idCol to another column, or leave it unset for a hash of features and label",
        )
    return int(found["longest"])


def whole(features: Column) -> Column:
    """Whether all features are numbers that a float32 can hold."""
    sound = F.forall(features, lambda x: x.isNotNull() & ~F.isnan(x) & (F.abs(x) < _LARGEST))
    return F.coalesce(sound, F.lit(False))


def usable(features: Column, dim: int) -> Column:
    """The features of rows to be scored; a row that lacks some ends the job with the reason."""
    told = F.format_string(
        "reweight: expected %d features, all finite numbers; got a row with null, NaN, or another "
        "length (%d). Fill them first, as with pyspark.ml.feature.Imputer",
        F.lit(dim),
        F.size(features),
    )
    fits = whole(features) & (F.size(features) == dim)
    return F.when(fits, features).otherwise(F.raise_error(told).cast("array<double>"))


def _indicator(params: WeighterParams) -> Sequence[str]:
    name = params.column("validationIndicatorCol")
    return [] if name is None else [name]


def _is_features(kind: DataType) -> str | None:
    dense = isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType)
    return None if dense or isinstance(kind, VectorUDT) else "a vector, or an array of numbers"


def _is_number(kind: DataType) -> str | None:
    return None if isinstance(kind, (NumericType, BooleanType)) else "numbers 0 and 1, or booleans"


def _is_anything(kind: DataType) -> str | None:
    return None


def _check_column(schema: StructType, param: str, name: str, fault: Any) -> None:
    if name not in schema.names:
        raise _refused(
            f"there is no column '{name}'",
            f"the column that the parameter {param} names",
            f"columns {schema.names}",
            f"set {param} to one of them",
        )
    if wanted := fault(schema[name].dataType):
        raise _refused(
            f"the column '{name}' cannot be read as {param}",
            wanted,
            schema[name].dataType.simpleString(),
            "cast it, or assemble it with pyspark.ml.feature.VectorAssembler"
            if param == "featuresCol"
            else f"cast it, or set {param} to another column",
        )


def _refused(what: str, expected: str, got: str, do: str) -> SampleError:
    return SampleError(what, expected=expected, got=got, fix=do)
