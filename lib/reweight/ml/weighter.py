"""The estimator and its model: an adapter over the functions that the stages use."""

import logging
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pyspark import StorageLevel, keyword_only
from pyspark.ml import Estimator, Model
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsReader,
    DefaultParamsWritable,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, FloatType, StructField, StructType

from reweight.errors import SetupError
from reweight.features import scaled, scales
from reweight.importance.stored import StoredModel
from reweight.ml.params import EXTRA, WeighterParams, fitting_of, method_of, weighting_of
from reweight.ml.rows import (
    FEATURES,
    as_samples,
    check_samples,
    check_schema,
    extra_of,
    features_of,
    id_of,
    label_of,
    usable,
)
from reweight.scoring import importance_column
from reweight.section import Section
from reweight.stages.fit_importance import FitJob, fit_on
from reweight.weighting import PolicyStats, Weighting, fit_policy, weight

_LOG = logging.getLogger(__name__)
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

    def __init__(self, stored: StoredModel, fitted: Fitted) -> None:
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
        return _with_outputs(schema, self)

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
            "features": _scaled(self.fitted),
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


class SampleWeighter(
    Estimator[SampleWeighterModel],
    WeighterParams,
    DefaultParamsWritable,
    DefaultParamsReadable["SampleWeighter"],
):
    """Learns what each row is worth to a model that is trained on it.

    The label is 0 or 1; features are a vector or an array of numbers. A share of the rows is held
    out of training (``validationFraction``, ``validationIndicatorCol``). The policy's means and
    quantiles are over all rows but those of ``validationIndicatorCol``, so that these weigh 1 on
    average.

    Equal rows give equal weights however the frame is partitioned. Training runs on executors:
    ``fitting={"ranks": 4}`` needs four free cores at the same time, and a ``scratchDir`` that all
    hosts see.

    Args:
        **kwargs: parameters by name, as ``explainParams()`` says them.
    """

    _input_kwargs: dict[str, Any]  # of keyword_only

    @keyword_only
    def __init__(
        self,
        *,
        featuresCol: str = "features",  # noqa: N803
        labelCol: str = "label",  # noqa: N803
        outputCol: str = "weight",  # noqa: N803
        importanceCol: str = "importance",  # noqa: N803
        softLabelCol: str | None = None,  # noqa: N803
        method: str = "self_confidence",
        methodOptions: dict[str, Any] | str | None = None,  # noqa: N803
        policy: dict[str, Any] | str | None = None,
        fitting: dict[str, Any] | str | None = None,
        standardization: bool = True,
        validationIndicatorCol: str | None = None,  # noqa: N803
        validationFraction: float = 0.1,  # noqa: N803
        idCol: str | None = None,  # noqa: N803
        seed: int = 0,
        scratchDir: str | None = None,  # noqa: N803
        targetCol: str | None = None,  # noqa: N803
        segmentCol: str | None = None,  # noqa: N803
        positionCol: str | None = None,  # noqa: N803
        propensityCol: str | None = None,  # noqa: N803
        valueCol: str | None = None,  # noqa: N803
        matureCol: str | None = None,  # noqa: N803
        elapsedCol: str | None = None,  # noqa: N803
        delayCol: str | None = None,  # noqa: N803
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)

    def setParams(self, **kwargs: Any) -> Self:  # noqa: N802
        """Sets parameters by name."""
        return self._set(**kwargs)

    def setMethod(self, value: str) -> Self:  # noqa: N802
        """Sets the name of the method."""
        return self._set(method=value)

    def setMethodOptions(self, value: dict[str, Any] | str) -> Self:  # noqa: N802
        """Sets further keys of the method."""
        return self._set(methodOptions=value)

    def setPolicy(self, value: dict[str, Any] | str) -> Self:  # noqa: N802
        """Sets keys of the weight policy."""
        return self._set(policy=value)

    def setFitting(self, value: dict[str, Any] | str) -> Self:  # noqa: N802
        """Sets keys of the section ``fitting``."""
        return self._set(fitting=value)

    def setSeed(self, value: int) -> Self:  # noqa: N802
        """Sets the seed of everything that is random."""
        return self._set(seed=value)

    def setStandardization(self, value: bool) -> Self:  # noqa: N802
        """Sets whether features are scaled to mean 0 and deviation 1 for the method."""
        return self._set(standardization=value)

    def setValidationIndicatorCol(self, value: str) -> Self:  # noqa: N802
        """Sets the column that is true for rows held out of training."""
        return self._set(validationIndicatorCol=value)

    def setValidationFraction(self, value: float) -> Self:  # noqa: N802
        """Sets the share of rows held out of training."""
        return self._set(validationFraction=value)

    def setScratchDir(self, value: str) -> Self:  # noqa: N802
        """Sets the folder for what fitting writes and removes again."""
        return self._set(scratchDir=value)

    def setExtraCols(self, **columns: str) -> Self:  # noqa: N802
        """Sets columns for methods that read more: ``setExtraCols(position="rank")``.

        Args:
            **columns: column by what it says: target, segment, position, propensity, value, mature,
                elapsed, delay.
        """
        return self._set(**{f"{name}Col": column for name, column in columns.items()})

    def transformSchema(self, schema: StructType) -> StructType:  # noqa: N802
        """The schema of what the model's ``transform`` returns.

        Raises:
            SampleError: columns that are missing, of another type, or there already.
            ConfigError: parameters that make no method, policy or training.
        """
        method_of(self), weighting_of(self), fitting_of(self)
        check_schema(schema, self, training=True)
        return _with_outputs(schema, self)

    def _fit(self, dataset: DataFrame) -> SampleWeighterModel:
        self.transformSchema(dataset.schema)
        raw = as_samples(dataset, self).persist(StorageLevel.DISK_ONLY)
        try:
            dim = check_samples(raw, self)
            train = raw.where("split = 'train'")
            found = scales(train, "features") if self.getOrDefault(self.standardization) else {}
            scaling = tuple(found[place] for place in sorted(found))
            fitted = Fitted(
                weighting=weighting_of(self),
                policy=PolicyStats(map="identity"),
                scaling=scaling,
                dim=dim,
            )
            samples = raw.withColumn("features", _scaled(fitted, "features"))
            stored = self._train(samples, dim)
            policy = self._policy(samples, stored)
        finally:
            raw.unpersist()
        model = SampleWeighterModel(stored, fitted.model_copy(update={"policy": policy}))
        model._resetUid(self.uid)
        copied: SampleWeighterModel = self._copyValues(model)
        return copied

    def _train(self, samples: DataFrame, dim: int) -> StoredModel:
        method = method_of(self)
        with self._scratch(samples.sparkSession) as scratch:
            job = FitJob(
                spark=samples.sparkSession,
                seed=self.getSeed(),
                fitting=fitting_of(self),
                dim=dim,
                cardinalities=(),
                snapshots=scratch / "snapshot",
                say=_LOG.info,
            )
            fit_on(job, samples, (method,), scratch / "models")
            return StoredModel.read(scratch / "models" / method.name)

    def _policy(self, samples: DataFrame, stored: StoredModel) -> PolicyStats:
        method = stored.read_method()
        if self.column("validationIndicatorCol") is not None:
            samples = samples.where("split = 'train'")
        values = {name: F.col(name) for name in samples.columns}
        scores = importance_column(samples.sparkSession, stored, values)
        importance = samples.select(scores["importance"].alias(method.name), "segment")
        importance = importance.persist(StorageLevel.DISK_ONLY)
        try:
            signed = [method.name] if method.signed else []
            polarity = {method.name: method.polarity}
            return fit_policy(importance, weighting_of(self), polarity, signed)[method.name]
        finally:
            importance.unpersist()

    @contextmanager
    def _scratch(self, spark: SparkSession) -> Iterator[Path]:
        """A folder for the rows and the training, which is removed afterwards.

        Yields:
            Its path. What a rank said when it failed stays, since the error names it.
        """
        parent = self.getScratchDir()
        master = str(spark.sparkContext.master)
        if parent is None and not master.startswith("local") and method_of(self).trained:
            raise SetupError(
                "the executors may not see this machine's temporary folder",
                expected="scratchDir, a folder that driver and executors see under the same path",
                came=f"no scratchDir, on {master}",
                do="set scratchDir, as SampleWeighter(scratchDir='/shared/scratch')",
            )
        root = Path(parent or tempfile.gettempdir()).absolute()
        folder = root / f"reweight-{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder / "snapshot", ignore_errors=True)
            if not (folder / "models" / "errors").exists():
                shutil.rmtree(folder, ignore_errors=True)


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
            stored = StoredModel.read(Path(local) / "model")
        model = SampleWeighterModel(stored, Fitted.model_validate(metadata["fitted"]))
        model._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(model, metadata)
        return model


def _scaled(fitted: Fitted, name: str = FEATURES) -> Column:
    """The features as the importance model reads them, array<float>."""
    sound = usable(F.col(name), fitted.dim)
    made = scaled(sound, fitted.scaling) if fitted.scaling else sound
    return made.cast("array<float>")


def _with_outputs(schema: StructType, params: WeighterParams) -> StructType:
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
