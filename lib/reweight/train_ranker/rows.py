"""The rows on which all rankers of a run are trained: joined, vectorised and kept once.

A soft label g is trained as two rows, (y = 1, weight w g) and (y = 0, weight w (1 - g)), unless the
ranker learns soft labels itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.ml.feature import OneHotEncoder, VectorAssembler
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.columns import design_weight, soft_label
from reweight.core.kept import with_kept
from reweight.core.session_kind import slots
from reweight.train_ranker.rotation import Rotation

# Columns of training rows beside those of samples: a kept column of such a name cannot be read.
TRAINING_COLUMNS = ("weight", "vector", "rotated")
# A value of a sparse vector takes 12 bytes: an int32 and a float64.
_VALUE_BYTES = 12
_PARTITION_BYTES = 128 << 20
# A pass over so many bytes takes as long as Spark takes to start a task.
_TASK_BYTES = 4 << 20


@dataclass(frozen=True)
class WeightColumn:
    """A column of weights that rankers are trained on.

    Attributes:
        name: name of the column and of its method.
        soft: whether the method gives soft labels, in the column named by ``columns.soft_label``.
        raw_mean: by what the sum of weights is multiplied for regularisation: the mean of raw
            importance, of methods that keep its scale.
    """

    name: str
    soft: bool = False
    raw_mean: float = 1.0


def with_columns(
    samples: DataFrame,
    columns: Sequence[str],
    cardinalities: Sequence[int],
    kept: Mapping[str, str] | None = None,
    rotation: Rotation | None = None,
) -> DataFrame:
    """The samples with the columns that rankers read.

    Args:
        samples: rows of the table ``samples``.
        columns: what rankers name in ``Ranker.columns`` or ``Ranker.training_columns``.
        cardinalities: size of the id space of each field of ``ids``.
        kept: name -> type of the columns of ``sampling.keep``.
        rotation: of the dense features, if ``rotated`` is among the columns.
    """
    if unfolded := {n: t for n, t in (kept or {}).items() if n in set(columns)}:
        # Those that are columns of samples already stand there.
        new = {n: t for n, t in unfolded.items() if n not in samples.columns}
        samples = with_kept(samples, new)
    if "rotated" in columns:
        samples = with_vector(samples, cardinalities, rotation)
    return with_vector(samples, cardinalities) if "vector" in columns else samples


def with_vector(
    samples: DataFrame, cardinalities: Sequence[int], rotation: Rotation | None = None
) -> DataFrame:
    """Adds ``vector``: the dense features, then every id field one-hot (sparse).

    With a rotation, the dense features are rotated and the column is named ``rotated``.
    """
    name = "vector" if rotation is None else "rotated"
    samples = samples.withColumn("_dense", array_to_vector(F.col("features")))
    if rotation is not None:
        samples = rotation.turned(samples, "_dense")
    if not cardinalities:
        return samples.withColumnRenamed("_dense", name)
    fields = [f"_id_{f}" for f in range(len(cardinalities))]
    # With the sizes as metadata, the encoder needs no pass to find them.
    numbers = [
        F.col("ids")[f].cast("double").alias(field, metadata=_nominal(size))
        for f, (field, size) in enumerate(zip(fields, cardinalities, strict=True))
    ]
    samples = samples.select("*", *numbers)
    hot = [f"{field}_hot" for field in fields]
    encoder = OneHotEncoder(inputCols=fields, outputCols=hot, dropLast=False)
    samples = encoder.fit(samples).transform(samples)
    assembler = VectorAssembler(inputCols=["_dense", *hot], outputCol=name)
    return assembler.transform(samples).drop("_dense", *fields, *hot)


def weighted_train(
    samples: DataFrame,
    wide: DataFrame,
    cardinalities: tuple[int, ...],
    names: list[str],
    soft: Sequence[str] = (),
    *,
    columns: Sequence[str] = ("vector",),
    kept: Mapping[str, str] | None = None,
    rotation: Rotation | None = None,
) -> DataFrame:
    """The training rows of all rankers.

    Args:
        samples: rows of the table ``samples``.
        wide: one row per ``sample_id`` with the weights of each method and the labels of soft ones.
        cardinalities: size of the id space of each field of ``ids``.
        names: names of the columns of weights.
        soft: the methods that give soft labels.
        columns: what the rankers read.
        kept: name -> type of the columns of ``sampling.keep``.
        rotation: as for ``with_columns``.

    Returns:
        All training rows, with ``label``, ``design_weight``, the columns that rankers read, the
        weights of each method and the labels of soft methods; null where a row has none.
    """
    train = samples.where("split = 'train'")
    size: Any = train.agg(F.count("*"), F.max(F.size("features"))).first()
    # Rows without a weight stay, so that they are refused and not lost.
    joined = train.join(wide, on="sample_id", how="left")
    joined = with_columns(joined, columns, cardinalities, kept, rotation)
    labels = [F.col(name).cast("double").alias(name) for name in ("label", *map(soft_label, soft))]
    counted = design_weight(samples).alias("design_weight")
    read = [column for column in columns if column != "design_weight"]
    joined = joined.select(*labels, counted, *read, *names)
    return gathered(joined, size[0], size[1] + len(cardinalities))


def gathered(train: DataFrame, rows: int, width: int) -> DataFrame:
    """Coalesces the rows into one partition per core; more of 128 MB, or fewer of 4 MB.

    L-BFGS visits every partition about a hundred times, and each visit has a fixed cost.

    Args:
        train: rows with ``vector``.
        rows: number of rows.
        width: number of stored values per vector.
    """
    cores, size = slots(train.sparkSession), rows * width * _VALUE_BYTES
    small, large = (-(-size // limit) for limit in (_TASK_BYTES, _PARTITION_BYTES))
    return train.coalesce(max(1, min(cores, small), large))


def weighted(
    train: DataFrame, column: WeightColumn, columns: Sequence[str], *, soft: bool = False
) -> DataFrame:
    """The rows of one fit: ``label``, ``weight`` and the ranker's columns; no shuffle.

    Args:
        train: the output of ``weighted_train``.
        column: a column of weights.
        columns: what the ranker reads.
        soft: whether the ranker learns soft labels itself.
    """
    if column.soft and not soft:
        rows = doubled(train, column.name, columns)
        return rows.withColumnRenamed(column.name, "weight")
    label = F.col(soft_label(column.name) if column.soft else "label")
    return train.select(*columns, label.alias("label"), F.col(column.name).alias("weight"))


def doubled(train: DataFrame, method: str, columns: Sequence[str] = ("vector",)) -> DataFrame:
    """Each row as the two rows of its soft label, without rows of weight 0; no shuffle.

    Args:
        train: rows with the weights of the method and its soft labels.
        method: name of the column of weights.
        columns: the other columns to keep.
    """
    w, g = F.col(method), F.col(soft_label(method))
    parts = [
        F.struct(F.lit(label).alias("label"), weight.alias(method))
        for label, weight in ((1.0, w * g), (0.0, w * (1 - g)))
    ]
    return train.select(*columns, F.inline(F.array(*parts))).where(F.col(method) > 0)


def _nominal(size: int) -> dict[str, Any]:
    return {"ml_attr": {"type": "nominal", "num_vals": size}}
