"""The fitted model, a Spark ML transformer that can be saved and loaded."""

import tempfile
from pathlib import Path

from pyspark.ml import Model
from pyspark.ml.util import (
    DefaultParamsReader,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StructField, StructType

from reweight.build_samples.encoding import scaled
from reweight.core.section import Section
from reweight.core.session_kind import saver_of
from reweight.core.spark_files import download, upload
from reweight.importance.artifact import ModelArtifact
from reweight.score_weights.policy import PolicyStats, Weighting, weight
from reweight.score_weights.scoring import importance_column
from reweight.spark_ml.names import INTERNAL, found
from reweight.spark_ml.params import EXTRA, WeighterParams
from reweight.spark_ml.rows import (
    FEATURES,
    check_schema,
    extra_of,
    features_of,
    id_of,
    label_of,
    usable,
    usable_label,
)

_SCORES = f"{INTERNAL}scores"


class Fitted(Section):
    """What a model stores besides the importance artifact.

    Attributes:
        weighting: the weight policy.
        policy: the policy's statistics of the rows that the estimator was fitted on, which give
            these rows a mean weight of 1.
        scaling: mean and scale of each feature over the training rows; empty without
            ``standardization``.
        dim: number of features.
    """

    weighting: Weighting
    policy: PolicyStats
    scaling: tuple[tuple[float, float], ...]
    dim: int


class SampleWeighterModel(Model, WeighterParams, MLWritable, MLReadable["SampleWeighterModel"]):
    """Adds ``importanceCol`` and ``outputCol`` to a frame, for seen and unseen rows.

    Rows like those that the estimator was fitted on have a mean weight of 1. Where the label is
    null or NaN, or the frame lacks a column that the method reads, importance and weight are null:
    a pipeline that predicts needs neither. A label that is neither 0 nor 1 fails the job.

    Args:
        stored: the importance artifact.
        fitted: everything else.
    """

    def __init__(self, stored: ModelArtifact, fitted: Fitted) -> None:
        super().__init__()
        self.stored = stored
        self.fitted = fitted

    @property
    def effectiveSampleSize(self) -> float:  # noqa: N802
        """The effective size of the rows that the estimator was fitted on, as a share of them."""
        return self.fitted.policy.ess_share

    def transformSchema(self, schema: StructType) -> StructType:  # noqa: N802
        """The schema of what ``transform`` returns.

        Raises:
            SampleError: columns are missing, have another type, or already exist.
        """
        check_schema(schema, self, training=False)
        return with_outputs(schema, self)

    def write(self) -> MLWriter:
        """A writer: parameters as JSON, tensors in the safetensors format."""
        return _ModelWriter(self)

    @classmethod
    def read(cls) -> MLReader["SampleWeighterModel"]:
        """A reader for what ``write`` wrote."""
        return _ModelReader()

    def _transform(self, dataset: DataFrame) -> DataFrame:
        schema, method = dataset.schema, self.stored.read_method()
        self.transformSchema(schema)
        rows = dataset.withColumn(FEATURES, features_of(schema, self.getFeaturesCol()))
        # A column that the frame lacks is read as 1, and the scores are discarded; a null in an
        # existing column keeps its meaning for the method.
        inputs, missing = extra_of(schema, self), self._missing(schema)
        inputs |= {name: F.lit(1).cast(EXTRA[name][0]) for name in missing}
        has_score, label = F.lit(not missing), usable_label(label_of(schema, self))
        if method.uses_label:
            has_score &= label.isNotNull()
        inputs |= {
            "sample_id": F.coalesce(id_of(schema, self), F.lit(0)),
            "label": F.coalesce(label, F.lit(0.0)),
            "features": scaled_features(self.fitted),
        }
        scores = importance_column(dataset.sparkSession, self.stored, inputs)
        score = F.col(_SCORES)["importance"]
        importance = F.when(has_score & ~F.isnan(score), score)
        segment = extra_of(schema, self)["segment"]
        weights = weight(importance, self.fitted.weighting, self.fitted.policy, segment)
        columns = {
            self.getImportanceCol(): importance.cast("double"),
            # A policy that clips would give null the highest weight.
            self.getOutputCol(): F.when(importance.isNotNull(), weights),
        }
        if (soft := self.getSoftLabelCol()) is not None:
            columns[soft] = F.when(importance.isNotNull(), F.col(_SCORES)["label"])
        scored = rows.withColumn(_SCORES, scores).withColumns(columns)
        return scored.drop(_SCORES, FEATURES)

    def _missing(self, schema: StructType) -> list[str]:
        """The columns that the method reads and the frame lacks."""
        columns = self.extra_columns()
        needed = self.stored.read_method().columns()
        return [name for name in needed if found(schema, columns.get(name)) is None]


class _ModelWriter(MLWriter):
    """Writes ``metadata`` like Spark ML, and ``model`` like the library."""

    def __init__(self, model: SampleWeighterModel) -> None:
        super().__init__()
        self.model = model

    def saveImpl(self, path: str) -> None:  # noqa: N802
        """Writes the model."""
        extra = {"fitted": self.model.fitted.model_dump(mode="json")}
        saver = saver_of(self.sparkSession)
        DefaultParamsWriter.saveMetadata(self.model, path, saver, extraMetadata=extra)
        with tempfile.TemporaryDirectory() as local:
            self.model.stored.write(Path(local) / "model")
            upload(self.sparkSession, Path(local) / "model", f"{path}/model")


class _ModelReader(MLReader[SampleWeighterModel]):
    """Reads what `_ModelWriter` wrote."""

    def load(self, path: str) -> SampleWeighterModel:
        """Reads the model."""
        metadata = DefaultParamsReader.loadMetadata(path, saver_of(self.sparkSession))
        with tempfile.TemporaryDirectory() as local:
            download(self.sparkSession, f"{path}/model", Path(local) / "model")
            stored = ModelArtifact.read(Path(local) / "model")
        model = SampleWeighterModel(stored, Fitted.model_validate(metadata["fitted"]))
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model


def scaled_features(fitted: Fitted, name: str = FEATURES) -> Column:
    """The features as the importance model reads them, array<float>."""
    sound = usable(F.col(name), fitted.dim)
    features = scaled(sound, fitted.scaling) if fitted.scaling else sound
    return features.cast("array<float>")


def with_outputs(schema: StructType, params: WeighterParams) -> StructType:
    """The schema with the columns that a model adds."""
    fields = [
        StructField(params.getImportanceCol(), DoubleType()),
        StructField(params.getOutputCol(), DoubleType()),
    ]
    if (soft := params.getSoftLabelCol()) is not None:
        fields.append(StructField(soft, FloatType()))
    return StructType([*schema.fields, *fields])
