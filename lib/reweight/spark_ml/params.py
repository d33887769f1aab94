"""The parameters of the estimator and its model, in the style of Spark ML."""

import json
from typing import Any, Self, TypeVar

from pydantic import TypeAdapter, ValidationError
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasFeaturesCol,
    HasLabelCol,
    HasOutputCol,
    HasSeed,
    HasStandardization,
    HasValidationIndicatorCol,
)

from reweight.core.config_errors import all_errors
from reweight.core.errors import ConfigError
from reweight.core.section import Section
from reweight.importance.base import ImportanceMethod
from reweight.importance.methods import Method
from reweight.score_weights.policy import Weighting
from reweight.training.plan import Fitting

# What some methods read besides features and label: name -> type and meaning.
EXTRA = {
    "target": ("boolean", "whether the row stands for the distribution that matters"),
    "segment": ("string", "the group of the row"),
    "position": ("int", "the position at which the row was shown, counted from 1"),
    "propensity": ("double", "the probability that the row was shown, in (0, 1]"),
    "value": ("double", "the value of the row, if it is positive"),
    "mature": ("boolean", "whether the label is settled because its label window has closed"),
    "elapsed": (
        "double",
        "the share of the label window that has passed, in [0, 1], or above while the label may be "
        "taken back; days if there is no window",
    ),
    "delay": (
        "double",
        "when the label event arrived, in the unit of elapsed; null for none",
    ),
    "undone": (
        "double",
        "when the label event was taken back, in the unit of elapsed; null if it was not",
    ),
}

_Kind = TypeVar("_Kind", bound=Section)
_METHOD: TypeAdapter[ImportanceMethod] = TypeAdapter(Method)


def _json(value: Any) -> dict[str, Any]:
    """A dict of JSON values, given as such or as JSON text."""
    try:
        parsed = json.loads(value if isinstance(value, str) else json.dumps(value))
    except ValueError as error:
        raise TypeError(
            f"expected a dict, or JSON text of a dict; got {value!r}: {error}"
        ) from error
    if not isinstance(parsed, dict):
        raise TypeError(f"expected a dict, or JSON text of a dict; got {value!r}")
    return parsed


def _share(value: Any) -> float:
    share = TypeConverters.toFloat(value)
    if not 0 < share < 1:
        raise TypeError(f"expected a share between 0 and 1; got {value!r}")
    return share


def _column(name: str) -> Param[str]:
    return Param(
        Params._dummy(),
        f"{name}Col",
        f"column for methods that read it: {EXTRA[name][1]}",
        typeConverter=TypeConverters.toString,
    )


class WeighterParams(
    HasFeaturesCol,
    HasLabelCol,
    HasOutputCol,
    HasSeed,
    HasStandardization,
    HasValidationIndicatorCol,
):
    """The parameters; ``explainParams()`` lists them."""

    method: Param[str] = Param(
        Params._dummy(),
        "method",
        "name of the importance method, as in the section `importance` of a config",
        typeConverter=TypeConverters.toString,
    )
    methodOptions: Param[dict[str, Any]] = Param(  # noqa: N815
        Params._dummy(),
        "methodOptions",
        "further keys of the method, as a dict or JSON: {'training': {'epochs': 10}}",
        typeConverter=_json,
    )
    policy: Param[dict[str, Any]] = Param(
        Params._dummy(),
        "policy",
        "how importance becomes weight, as a dict or JSON: keys of the section `weighting`",
        typeConverter=_json,
    )
    fitting: Param[dict[str, Any]] = Param(
        Params._dummy(),
        "fitting",
        "how the training runs, as a dict or JSON: keys of the section `fitting`",
        typeConverter=_json,
    )
    importanceCol: Param[str] = Param(  # noqa: N815
        Params._dummy(),
        "importanceCol",
        "output column of importance",
        typeConverter=TypeConverters.toString,
    )
    softLabelCol: Param[str] = Param(  # noqa: N815
        Params._dummy(),
        "softLabelCol",
        "output column of p(label = 1), for methods whose weights belong to soft labels: then "
        "train on two rows, (1, weight * p) and (0, weight * (1 - p))",
        typeConverter=TypeConverters.toString,
    )
    idCol: Param[str] = Param(  # noqa: N815
        Params._dummy(),
        "idCol",
        "column that decides which networks see a row; rows with equal values are seen by the same "
        "networks. If not set, a hash of features and label is used, so that no row is scored by a "
        "network that was trained on its duplicate",
        typeConverter=TypeConverters.toString,
    )
    validationFraction: Param[float] = Param(  # noqa: N815
        Params._dummy(),
        "validationFraction",
        "share of the rows that is held out of training for the loss curve if "
        "validationIndicatorCol is not set; chosen by a hash of the id",
        typeConverter=_share,
    )
    scratchDir: Param[str] = Param(  # noqa: N815
        Params._dummy(),
        "scratchDir",
        "folder in which fitting stores its rows as Parquet and its checkpoint, and from which it "
        "removes them again; on a cluster, one that driver and executors see under the same path. "
        "If not set, a temporary folder of this machine",
        typeConverter=TypeConverters.toString,
    )
    targetCol: Param[str] = _column("target")  # noqa: N815
    segmentCol: Param[str] = _column("segment")  # noqa: N815
    positionCol: Param[str] = _column("position")  # noqa: N815
    propensityCol: Param[str] = _column("propensity")  # noqa: N815
    valueCol: Param[str] = _column("value")  # noqa: N815
    matureCol: Param[str] = _column("mature")  # noqa: N815
    elapsedCol: Param[str] = _column("elapsed")  # noqa: N815
    delayCol: Param[str] = _column("delay")  # noqa: N815
    undoneCol: Param[str] = _column("undone")  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(
            outputCol="weight",
            importanceCol="importance",
            method="self_confidence",
            methodOptions={},
            policy={},
            fitting={},
            seed=0,
            standardization=True,
            validationFraction=0.1,
        )

    def getMethod(self) -> str:  # noqa: N802
        """Name of the method."""
        return self.getOrDefault(self.method)

    def getMethodOptions(self) -> dict[str, Any]:  # noqa: N802
        """Further keys of the method."""
        return self.getOrDefault(self.methodOptions)

    def getPolicy(self) -> dict[str, Any]:  # noqa: N802
        """Keys of the weight policy."""
        return self.getOrDefault(self.policy)

    def getFitting(self) -> dict[str, Any]:  # noqa: N802
        """Keys of the section ``fitting``."""
        return self.getOrDefault(self.fitting)

    def getImportanceCol(self) -> str:  # noqa: N802
        """Output column of importance."""
        return self.getOrDefault(self.importanceCol)

    def getSoftLabelCol(self) -> str | None:  # noqa: N802
        """Output column of soft labels."""
        return self.column("softLabelCol")

    def getIdCol(self) -> str | None:  # noqa: N802
        """Column that decides which networks see a row."""
        return self.column("idCol")

    def getValidationFraction(self) -> float:  # noqa: N802
        """Share of the rows that is held out of training."""
        return self.getOrDefault(self.validationFraction)

    def getScratchDir(self) -> str | None:  # noqa: N802
        """Folder for what fitting writes."""
        return self.column("scratchDir")

    def setFeaturesCol(self, value: str) -> Self:  # noqa: N802
        """Sets the column of features: vectors, or arrays of numbers."""
        return self._set(featuresCol=value)

    def setLabelCol(self, value: str) -> Self:  # noqa: N802
        """Sets the column of labels, 0 or 1."""
        return self._set(labelCol=value)

    def setOutputCol(self, value: str) -> Self:  # noqa: N802
        """Sets the output column of weights."""
        return self._set(outputCol=value)

    def setImportanceCol(self, value: str) -> Self:  # noqa: N802
        """Sets the output column of importance."""
        return self._set(importanceCol=value)

    def setSoftLabelCol(self, value: str) -> Self:  # noqa: N802
        """Sets the output column of soft labels."""
        return self._set(softLabelCol=value)

    def setIdCol(self, value: str) -> Self:  # noqa: N802
        """Sets the column that decides which networks see a row."""
        return self._set(idCol=value)

    def column(self, name: str) -> str | None:
        """The value of a parameter that has no default; None where it is not set."""
        param = self.getParam(name)
        return str(self.getOrDefault(param)) if self.isDefined(param) else None

    def extra_columns(self) -> dict[str, str]:
        """The columns that are set for methods that read more: name in ``EXTRA`` -> column."""
        named = {name: self.column(f"{name}Col") for name in EXTRA}
        return {name: column for name, column in named.items() if column is not None}


def method_of(params: WeighterParams) -> ImportanceMethod:
    """The method that the parameters set, validated like one in a config.

    Raises:
        ConfigError: the method or its options do not exist, or it cannot be used here.
    """
    settings = {"method": params.getMethod()} | params.getMethodOptions()
    try:
        method = _METHOD.validate_python(settings)
    except ValidationError as error:
        expected = "a method and its keys, as in the section `importance` of a config"
        raise all_errors(
            "the parameters do not define an importance method", expected, error, Method
        ) from error
    if method.combines():
        raise ConfigError(
            f"'{params.getMethod()}' cannot be the method of a SampleWeighter",
            expected="a method that computes importance itself",
            got=f"a method that combines others of a run: {list(method.combines())}",
            fix="use a run (jobs/pipeline.py, reweight.run), or set a single method",
        )
    if method.soft and params.getSoftLabelCol() is None:
        raise ConfigError(
            f"the weights of '{method.name}' are of no use with the recorded labels",
            expected="softLabelCol: a column for the soft labels of this method",
            got="softLabelCol is not set",
            fix="set softLabelCol, and train on two rows for each row: (1, weight * p) and "
            "(0, weight * (1 - p))",
        )
    extra_columns = params.extra_columns()
    if missing := [name for name in method.columns() if name not in extra_columns]:
        meanings = "; ".join(f"{name}Col: {EXTRA[name][1]}" for name in missing)
        raise ConfigError(
            f"'{method.name}' reads more than features and label",
            expected=meanings,
            got="not set: " + ", ".join(f"{name}Col" for name in missing),
            fix="set each to a column of the frame, or use a method that needs none, such as "
            "self_confidence",
        )
    return method


def weighting_of(params: WeighterParams) -> Weighting:
    """The weight policy that the parameters set."""
    return _section(Weighting, "policy", params.getPolicy())


def fitting_of(params: WeighterParams) -> Fitting:
    """How training runs."""
    return _section(Fitting, "fitting", params.getFitting())


def _section(kind: type[_Kind], name: str, values: dict[str, Any]) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        expected = f"keys of {kind.__name__}: {', '.join(kind.model_fields)}"
        raise all_errors(f"the parameter {name} is invalid", expected, error, kind) from error
