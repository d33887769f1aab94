"""TODO docstring."""

import tempfile
from pathlib import Path
from typing import Any

from pyspark.ml import Model
from pyspark.ml.util import (
    DefaultParamsReader,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StructField, StructType

from reweight.build_samples.encoding import scaled
from reweight.core.section import Section
from reweight.importance.artifact import ModelArtifact
from reweight.score_weights.policy import PolicyStats, Weighting, weight
from reweight.score_weights.scoring import importance_column
from reweight.spark_ml.params import EXTRA, WeighterParams
from reweight.spark_ml.rows import (
    FEATURES,
    check_schema,
    extra_of,
    features_of,
    id_of,
    label_of,
    usable,
)

_SCORES = "_reweight_scores"


class Fitted(Section):
    """What a model knows beside the importance model.

    Attributes:
        weighting: the policy.
        policy: what it learnt from the rows that the estimator was given, so that they weigh 1 on
            average.
        scaling: mean and scale of each feature over the training rows; empty without
            ``standardization``.
        dim: number of features.
    """

    weighting: Weighting
    policy: PolicyStats
    scaling: tuple[tuple[float, float], ...]
    dim: int


class SampleWeighterModel(Model, WeighterParams, MLWritable, MLReadable["SampleWeighterModel"]):
    """Adds ``importanceCol`` and ``outputCol`` to a frame; for any rows, also unseen ones.

    Rows weigh 1 on average where they are as those that the estimator was given. Where the label is
    null, or the frame lacks a column that the method reads, importance and weight are null: a
    pipeline that predicts needs neither.

    Args:
        stored: the importance model.
        fitted: the rest.
    """

    def __init__(self, stored: ModelArtifact, fitted: Fitted) -> None:
        super().__init__()
        self.stored = stored
        self.fitted = fitted

    @property
    def effectiveSampleSize(self) -> float:  # noqa: N802
        """Of the rows that the estimator was given, as a share of their number."""
        return self.fitted.policy.ess_share

    def transformSchema(self, schema: StructType) -> StructType:  # noqa: N802
        """The schema of what ``transform`` returns.

        Raises:
            SampleError: columns that are missing, of another type, or there already.
        """
        check_schema(schema, self, training=False)
        return with_outputs(schema, self)

    def write(self) -> MLWriter:
        """A writer: parameters as JSON, tensors in the safetensors format."""
        return _ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader["SampleWeighterModel"]:
        """A reader of what ``write`` wrote."""
        return _ModelReader()

    def _transform(self, dataset: DataFrame) -> DataFrame:
        schema, method = dataset.schema, self.stored.read_method()
        self.transformSchema(schema)
        rows = dataset.withColumn(FEATURES, features_of(schema, self.getFeaturesCol()))
        # What a frame does not have at all is read as 1 and its score thrown away; a null in a
        # column that is there means what it means to the method.
        read, missing = extra_of(schema, self), self._missing(schema)
        read |= {name: F.lit(1).cast(EXTRA[name][0]) for name in missing}
        known = F.lit(not missing)
        if method.uses_label:
            known &= label_of(schema, self).isNotNull()
        read |= {
            "sample_id": F.coalesce(id_of(schema, self), F.lit(0)),
            "label": F.coalesce(label_of(schema, self), F.lit(0.0)),
            "features": scaled_features(self.fitted),
        }
        scores = importance_column(dataset.sparkSession, self.stored, read)
        score = F.col(_SCORES)["importance"]
        said = F.when(known & ~F.isnan(score), score)
        segment = extra_of(schema, self)["segment"]
        weighed = weight(said, self.fitted.weighting, self.fitted.policy, segment)
        columns = {
            self.getImportanceCol(): said.cast("double"),
            # The rank of null would be that of the smallest.
            self.getOutputCol(): F.when(said.isNotNull(), weighed),
        }
        if (soft := self.getSoftLabelCol()) is not None:
            columns[soft] = F.when(said.isNotNull(), F.col(_SCORES)["label"])
        scored = rows.withColumn(_SCORES, scores).withColumns(columns)
        return scored.drop(_SCORES, FEATURES)

    def _missing(self, schema: StructType) -> list[str]:
        """What the method reads and the frame does not have."""
        columns = self.extra_columns()
        needed = self.stored.read_method().columns()
        return [name for name in needed if columns.get(name) not in schema.names]


class _ModelWriter(MLWriter):
    """Writes ``metadata`` as Spark ML does, and ``model`` as the library does."""

    def __init__(self, model: SampleWeighterModel) -> None:
        super().__init__()
        self.model = model

    def saveImpl(self, path: str) -> None:  # noqa: N802
        """Writes the model."""
        extra = {"fitted": self.model.fitted.model_dump(mode="json")}
        DefaultParamsWriter.saveMetadata(self.model, path, self.sc, extraMetadata=extra)
        with tempfile.TemporaryDirectory() as local:
            self.model.stored.write(Path(local) / "model")
            _copy(self.sparkSession, f"{local}/model", f"{path}/model", down=False)


class _ModelReader(MLReader[SampleWeighterModel]):
    """Reads what `_ModelWriter` wrote."""

    def load(self, path: str) -> SampleWeighterModel:
        """Reads the model."""
        metadata = DefaultParamsReader.loadMetadata(path, self.sc)
        with tempfile.TemporaryDirectory() as local:
            _copy(self.sparkSession, f"{path}/model", f"{local}/model", down=True)
            stored = ModelArtifact.read(Path(local) / "model")
        model = SampleWeighterModel(stored, Fitted.model_validate(metadata["fitted"]))
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model


def scaled_features(fitted: Fitted, name: str = FEATURES) -> Column:
    """The features as the importance model reads them, array<float>."""
    sound = usable(F.col(name), fitted.dim)
    made = scaled(sound, fitted.scaling) if fitted.scaling else sound
    return made.cast("array<float>")


def with_outputs(schema: StructType, params: WeighterParams) -> StructType:
    """The schema with the columns that a model adds."""
    fields = [
        StructField(params.getImportanceCol(), DoubleType()),
        StructField(params.getOutputCol(), DoubleType()),
    ]
    if (soft := params.getSoftLabelCol()) is not None:
        fields.append(StructField(soft, FloatType()))
    return StructType([*schema.fields, *fields])


def _copy(spark: SparkSession, source: str, target: str, *, down: bool) -> None:
    """Copies a folder between this machine and wherever Spark keeps files (HDFS, S3, DBFS)."""
    jvm: Any = spark._jvm
    hadoop: Any = spark._jsc.hadoopConfiguration()
    here, there = (jvm.org.apache.hadoop.fs.Path(path) for path in (source, target))
    files = (here if down else there).getFileSystem(hadoop)
    if down:
        # As plain files: the checksums that Hadoop writes beside them are not for us.
        files.copyToLocalFile(False, here, there, True)
    else:
        files.copyFromLocalFile(False, True, here, there)
