"""Any frame with features and a label -> the columns that the library reads, with checks."""

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
from reweight.spark_ml.names import INTERNAL, check_free, column, found, type_of
from reweight.spark_ml.params import EXTRA, WeighterParams, method_of

FEATURES = f"{INTERNAL}features"
_LARGEST = 3.4e38  # of a float32


def check_schema(schema: StructType, params: WeighterParams, *, training: bool) -> None:
    """Checks that the columns to read exist, with usable types, and that those to add do not.

    Args:
        schema: schema of the frame.
        params: the parameters, which name the columns.
        training: whether the label and everything else that training reads is needed too.

    Raises:
        SampleError: a check fails.
    """
    _check_column(schema, "featuresCol", params.getFeaturesCol(), _unless_features)
    if training:
        _check_column(schema, "labelCol", params.getLabelCol(), _unless_number)
        named = {f"{extra}Col": name for extra, name in params.extra_columns().items()}
        optional = ("validationIndicatorCol", "idCol")
        named |= {param: name for param in optional if (name := params.column(param))}
        for param, name in named.items():
            _check_column(schema, param, name, _unless_anything)
    added = (params.getImportanceCol(), params.getOutputCol(), params.getSoftLabelCol())
    check_free(schema, [name for name in added if name is not None])


def features_of(schema: StructType, name: str) -> Column:
    """The features as array<double>, whether they are given as vectors or as arrays."""
    features = column(schema, name)
    assert features is not None
    if isinstance(type_of(schema, name), VectorUDT):
        return vector_to_array(features)
    return features.cast("array<double>")


def id_of(schema: StructType, params: WeighterParams) -> Column:
    """What decides which networks see a row: ``idCol``, or a hash of ``FEATURES`` and label."""
    name = params.getIdCol()
    row_id = column(schema, name)
    if name is None or row_id is None:
        return F.xxhash64(F.col(FEATURES), label_of(schema, params))
    if isinstance(type_of(schema, name), IntegralType):
        return row_id.cast("bigint")
    # A hash is never null, but a row without an id must be detected.
    return F.when(row_id.isNotNull(), F.xxhash64(row_id))


def label_of(schema: StructType, params: WeighterParams) -> Column:
    """The label as float; null where the frame has none, as when a fitted pipeline predicts."""
    label = column(schema, params.getLabelCol())
    return (F.lit(None) if label is None else label).cast("float")


def extra_of(schema: StructType, params: WeighterParams) -> dict[str, Column]:
    """What methods read besides features and label, in the types of the table ``samples``."""
    names = params.extra_columns()
    # Without a column for maturity, labels count as settled.
    defaults = {"mature": F.lit(True)}
    columns = {}
    for name, (kind, _) in EXTRA.items():
        value = column(schema, names.get(name))
        columns[name] = (defaults.get(name, F.lit(None)) if value is None else value).cast(kind)
        if kind == "boolean":
            columns[name] = F.coalesce(columns[name], F.lit(False))
    return columns


def as_samples(rows: DataFrame, params: WeighterParams) -> DataFrame:
    """The rows with the columns of the table ``samples``; ``features`` as array<double>."""
    schema = rows.schema
    rows = rows.withColumn(FEATURES, features_of(schema, params.getFeaturesCol()))
    indicator = column(schema, params.column("validationIndicatorCol"))
    samples = rows.select(
        id_of(schema, params).alias("sample_id"),
        label_of(schema, params).alias("label"),
        F.col(FEATURES).alias("features"),
        F.array().cast("array<int>").alias("ids"),
        *[value.alias(name) for name, value in extra_of(schema, params).items()],
        *([] if indicator is None else [indicator.cast("boolean").alias("_held_out")]),
    )
    if indicator is not None:
        held_out = F.coalesce("_held_out", F.lit(False))
    else:
        held_out = uniform(params.getSeed(), "validation", "sample_id") <= (
            params.getValidationFraction()
        )
    split = F.when(held_out, "validation").otherwise("train")
    return samples.withColumn("split", split).drop("_held_out")


def check_samples(samples: DataFrame, params: WeighterParams) -> int:
    """Checks that labels are 0 and 1 and that no features are missing.

    Args:
        samples: output of ``as_samples``.
        params: the parameters, which name the columns in messages.

    Returns:
        The number of features.

    Raises:
        SampleError: a check fails.
    """
    label, size = F.col("label"), F.size("features")
    facts: Any = samples.agg(
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
        F.count_if(F.col("sample_id").isNull()).alias("without_id"),
    ).first()
    name, rows = params.getLabelCol(), facts["rows"]
    if rows == 0:
        raise _refused(
            "there are no rows to learn from",
            "at least one row",
            "an empty frame",
            "check the filters before this stage",
        )
    if facts["unlabelled"] or facts["other"]:
        raise _refused(
            f"'{name}' is not a label",
            "0 or 1 (or false or true) in every row",
            f"null in {facts['unlabelled']}, other numbers in {facts['other']} of {rows} rows, "
            f"from {facts['low']} to {facts['high']}",
            "set labelCol to the column with the labels, or write it as a condition, such as "
            "(rating >= 4); remove rows whose label is not known",
        )
    if facts["positives"] in (0, facts["train"]):
        raise _refused(
            f"the training rows have only one value of '{name}'",
            "labels 0 and 1",
            f"{facts['positives']} of {facts['train']} training rows are 1",
            "provide rows with both, or check validationIndicatorCol",
        )
    if facts["train"] == rows and method_of(params).trained:
        raise _refused(
            "no row is held out of training",
            "some rows for the loss curve",
            f"{rows} training rows and no others",
            "raise validationFraction, or mark rows with validationIndicatorCol",
        )
    if facts["broken"] or facts["shortest"] != facts["longest"] or facts["longest"] == 0:
        raise _refused(
            f"'{params.getFeaturesCol()}' has rows with missing features",
            "the same number of finite values in every row",
            f"null, NaN or too large in {facts['broken']} of {rows} rows; lengths from "
            f"{facts['shortest']} to {facts['longest']}",
            "fill them first, for example with pyspark.ml.feature.Imputer",
        )
    if facts["without_id"]:
        raise _refused(
            f"'{params.getIdCol()}' is not an id",
            "a value in every row",
            f"null in {facts['without_id']} of {rows}",
            "set idCol to another column, or leave it unset for a hash of features and label",
        )
    return int(facts["longest"])


def whole(features: Column) -> Column:
    """Whether all features are finite numbers in the range of a float32."""
    sound = F.forall(features, lambda x: x.isNotNull() & ~F.isnan(x) & (F.abs(x) < _LARGEST))
    return F.coalesce(sound, F.lit(False))


def usable(features: Column, dim: int) -> Column:
    """The features of rows to score; a row with missing features fails the job with a message."""
    message = F.format_string(
        "reweight: expected %d features, all finite numbers; got a row with null, NaN, or another "
        "length (%d). Fill them first, for example with pyspark.ml.feature.Imputer",
        F.lit(dim),
        F.size(features),
    )
    fits = whole(features) & (F.size(features) == dim)
    return F.when(fits, features).otherwise(F.raise_error(message).cast("array<double>"))


def usable_label(label: Column) -> Column:
    """The label of rows to score, null where it is NaN; another number fails the job."""
    message = F.format_string(
        "reweight: expected labels 0 and 1, or null where the label is not known; got a row with "
        "%s. Set labelCol to the column with the labels, or write it as a condition, such as "
        "(rating >= 4)",
        label.cast("string"),
    )
    known = F.when(~F.isnan(label), label)
    wrong = known.isNotNull() & ~known.isin(0.0, 1.0)
    return F.when(wrong, F.raise_error(message).cast("float")).otherwise(known)


def _unless_features(kind: DataType) -> str | None:
    """What was expected, unless the type can hold features."""
    dense = isinstance(kind, ArrayType) and isinstance(kind.elementType, NumericType)
    return None if dense or isinstance(kind, VectorUDT) else "a vector, or an array of numbers"


def _unless_number(kind: DataType) -> str | None:
    """What was expected, unless the type can hold labels."""
    return None if isinstance(kind, (NumericType, BooleanType)) else "numbers 0 and 1, or booleans"


def _unless_anything(kind: DataType) -> str | None:
    """Accepts every type."""
    return None


def _check_column(schema: StructType, param: str, name: str, expectation: Any) -> None:
    if found(schema, name) is None:
        raise _refused(
            f"there is no column '{name}'",
            f"the column that {param} names",
            f"columns {schema.names}",
            f"set {param} to one of them",
        )
    if expected := expectation(type_of(schema, name)):
        raise _refused(
            f"the column '{name}' cannot be read as {param}",
            expected,
            type_of(schema, name).simpleString(),
            "cast it, or assemble it with pyspark.ml.feature.VectorAssembler"
            if param == "featuresCol"
            else f"cast it, or set {param} to another column",
        )


def _refused(what: str, expected: str, got: str, fix: str) -> SampleError:
    return SampleError(what, expected=expected, got=got, fix=fix)
