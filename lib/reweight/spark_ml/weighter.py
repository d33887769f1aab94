"""The estimator: an adapter over the functions that the stages use."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pyspark import keyword_only
from pyspark.ml import Estimator
from pyspark.ml.util import DefaultParamsReadable, DefaultParamsWritable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from reweight.build_samples.feature_stats import scales
from reweight.core.errors import SetupError
from reweight.core.persisted import persisted, staged_in
from reweight.core.run_folder import ModelsFolder
from reweight.core.section import expanded
from reweight.core.session_kind import master
from reweight.fit_importance.fit import fit_methods
from reweight.fit_importance.job import FitJob
from reweight.importance.artifact import ModelArtifact
from reweight.score_weights.policy import PolicyStats, fit_policy
from reweight.score_weights.scoring import importance_column
from reweight.score_weights.training_rows import FrameRows
from reweight.spark_ml.model import Fitted, SampleWeighterModel, scaled_features, with_outputs
from reweight.spark_ml.params import WeighterParams, fitting_of, method_of, weighting_of
from reweight.spark_ml.rows import as_samples, check_samples, check_schema


class SampleWeighter(
    Estimator[SampleWeighterModel],
    WeighterParams,
    DefaultParamsWritable,
    DefaultParamsReadable["SampleWeighter"],
):
    """Learns what each row is worth to a model that is trained on it.

    The label is 0 or 1; features are a vector or an array of numbers. A share of the rows is held
    out of training (``validationFraction``, ``validationIndicatorCol``). The policy's means and
    quantiles are computed over all rows except those that ``validationIndicatorCol`` marks, so that
    these rows have a mean weight of 1.

    Equal rows get equal weights however the frame is partitioned. Training runs on executors:
    ``fitting={"ranks": 4}`` needs four free cores at the same time, and a ``scratchDir`` that all
    hosts can see.

    Args:
        **kwargs: parameters by name; ``explainParams()`` lists them.
    """

    _input_kwargs: dict[str, Any]  # set by keyword_only

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
        undoneCol: str | None = None,  # noqa: N803
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
        """Sets the folder for temporary files of fitting."""
        return self._set(scratchDir=value)

    def setExtraCols(self, **columns: str) -> Self:  # noqa: N802
        """Sets columns for methods that read more: ``setExtraCols(position="rank")``.

        Args:
            **columns: column by its meaning: target, segment, position, propensity, value, mature,
                elapsed, delay, undone.
        """
        return self._set(**{f"{name}Col": column for name, column in columns.items()})

    def transformSchema(self, schema: StructType) -> StructType:  # noqa: N802
        """The schema of what the model's ``transform`` returns.

        Raises:
            SampleError: columns are missing, have another type, or already exist.
            ConfigError: the parameters do not define a method, policy or training.
        """
        method_of(self), weighting_of(self), fitting_of(self)
        check_schema(schema, self, training=True)
        return with_outputs(schema, self)

    def _fit(self, dataset: DataFrame) -> SampleWeighterModel:
        self.transformSchema(dataset.schema)
        with (
            self._scratch(dataset.sparkSession) as scratch,
            staged_in(scratch / "staged"),
            persisted(as_samples(dataset, self)) as raw,
        ):
            dim = check_samples(raw, self)
            train = raw.where("split = 'train'")
            by_index = scales(train, "features") if self.getOrDefault(self.standardization) else {}
            scaling = tuple(by_index[index] for index in sorted(by_index))
            fitted = Fitted(
                weighting=weighting_of(self),
                policy=PolicyStats(map="identity"),
                scaling=scaling,
                dim=dim,
            )
            samples = raw.withColumn("features", scaled_features(fitted, "features"))
            artifact = self._train(samples, dim, scratch)
            policy = self._policy(samples, artifact)
        model = SampleWeighterModel(artifact, fitted.model_copy(update={"policy": policy}))
        model._resetUid(self.uid)
        copied: SampleWeighterModel = self._copyValues(model)
        return copied

    def _train(self, samples: DataFrame, dim: int, scratch: Path) -> ModelArtifact:
        method = method_of(self)
        job = FitJob(
            spark=samples.sparkSession,
            seed=self.getSeed(),
            fitting=fitting_of(self),
            names=tuple(f"{self.getFeaturesCol()}[{place}]" for place in range(dim)),
            cardinalities=(),
            snapshots=scratch / "snapshot",
        )
        models = ModelsFolder(scratch / "models")
        fit_methods(job, samples, (method,), models)
        return ModelArtifact.read(models.model(method.name))

    def _policy(self, samples: DataFrame, artifact: ModelArtifact) -> PolicyStats:
        method = artifact.read_method()
        if self.column("validationIndicatorCol") is not None:
            samples = samples.where("split = 'train'")
        values = {name: F.col(name) for name in samples.columns}
        scores = importance_column(samples.sparkSession, artifact, values)
        importance = samples.select(scores["importance"].alias(method.name), "segment")
        with persisted(importance) as importance:
            rows = FrameRows(importance)
            return fit_policy(rows, weighting_of(self), [method])[method.name]

    @contextmanager
    def _scratch(self, spark: SparkSession) -> Iterator[Path]:
        """A folder for the rows and the training, which is removed afterwards.

        Yields:
            Its path. Tracebacks of failed ranks are kept, since the error message points to them.
        """
        parent = self.getScratchDir()
        place = master(spark)
        if parent is None and not place.startswith("local") and method_of(self).trained:
            raise SetupError(
                "the executors may not see this machine's temporary folder",
                expected="scratchDir: a folder that driver and executors see under the same path",
                got=f"no scratchDir, on {place}",
                fix="set scratchDir, such as SampleWeighter(scratchDir='/shared/scratch')",
            )
        root = Path(expanded(parent or tempfile.gettempdir())).absolute()
        folder = root / f"reweight-{uuid.uuid4().hex}"
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder / "snapshot", ignore_errors=True)
            if not ModelsFolder(folder / "models").errors.exists():
                shutil.rmtree(folder, ignore_errors=True)
