"""What a ranker is: its settings, how it is fitted on weighted rows, and what a fitted one does.

A ranker is one file beside this one. It names the columns that it reads; the training rows of a run
are joined, vectorised and kept once, with the columns that its rankers name and no others.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import model_validator
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.core.errors import ReweightError, SetupError
from reweight.core.expressions import in_short
from reweight.core.files import write_json
from reweight.core.section import MethodName, Name, Section
from reweight.train_ranker.rotation import Rotation
from reweight.train_ranker.rows import WeightColumn


@dataclass(frozen=True)
class RankerJob:
    """What a fit needs besides its rows.

    Attributes:
        weight_sum: sum of the weights that regularisation uses: of the rows, or of raw importance.
        seed: seed of everything random.
        names: of the dense features, [D].
        fields: categorical field -> size of its id space, in the order of ``ids``.
        validation: rows of the validation split with ``label``, ``design_weight`` and the ranker's
            columns, without weights of methods; they are not kept, so each use reads the samples
            again. None if there are none.
        folder: of the fitted ranker, shared by the driver and the executors, for checkpoints; None
            where nothing is saved.
        fitting: the section ``fitting``, for rankers that train as importance methods do.
        rotation: of the dense features in ``rotated``; None where the rows have no such column.
    """

    weight_sum: float
    seed: int = 0
    names: tuple[str, ...] = ()
    fields: Mapping[str, int] = field(default_factory=dict)
    validation: DataFrame | None = None
    folder: Path | None = None
    fitting: Any = None
    rotation: Rotation | None = None


@dataclass(frozen=True)
class FittedRanker(ABC):
    """A ranker fitted on the weights of one method.

    Attributes:
        shift: what recalibration adds to the log odds.
    """

    shift: float = field(default=0.0, kw_only=True)

    @abstractmethod
    def with_margin(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds the log odds of y = 1 before the shift, finite, as a double; no pass over the rows.

        Args:
            rows: with the columns that the ranker reads; all of them are kept, and no row is lost.
            column: name of the new column.
        """

    @classmethod
    def with_margins(cls, rows: DataFrame, fitted: Mapping[str, Self]) -> DataFrame:
        """Adds a column as ``with_margin`` for each ranker of this kind, under its key.

        Overridden where it costs less to add all of them at once.
        """
        for column, ranker in fitted.items():
            rows = ranker.with_margin(rows, column)
        return rows

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes the model into a folder, replacing one that is there."""

    @property
    @abstractmethod
    def outcome(self) -> str:
        """Whether it converged, or what it cost, in a few words."""

    def facts(self, held_out: DataFrame) -> dict[str, Any]:
        """What the stage's summary says of the rows that are predicted; usually nothing."""
        return {}

    def shifted(self, by: float) -> Self:
        """The ranker with another constant in its log odds."""
        return replace(self, shift=self.shift + by)

    def with_log_odds(self, rows: DataFrame, column: str) -> DataFrame:
        """Adds a column of log odds."""
        rows = self.with_margin(rows, column)
        return rows.withColumn(column, F.col(column) + self.shift)

    def save(self, folder: Path) -> None:
        """Saves the model and its shift into a folder."""
        self.write(folder)
        write_json(folder / "shift.json", self.shift)


class Ranker(Section, ABC):
    """A named kind of ranker: its settings, validated, and how it is fitted.

    A subclass adds a field ``ranker: Literal["..."]``, its settings, ``fit`` and ``read``, and is a
    member of the union ``AnyRanker``; nothing else needs to know about it.

    Attributes:
        soft: whether it learns labels between 0 and 1; otherwise such a row is trained as two.
        takes: which weights it takes, in a few words.
        needs: what it needs beside features and labels, in a few words.
        cost: of a fit, in a few words.
        idle_cores: whether a fit leaves cores idle, since it is many small Spark jobs or a single
            task: where rows are few, some fits then run side by side.
        ranker: the kind of ranker.
        name: of the ranker's rows in the tables and of its folder; by default its kind.
        recalibrate: methods after whose fit the log odds are shifted so that the mean prediction on
            the (unweighted) training rows equals their label rate (for soft labels, their mean).
    """

    soft: ClassVar[bool] = False
    takes: ClassVar[str] = "one per row"
    needs: ClassVar[str] = "nothing"
    cost: ClassVar[str]
    idle_cores: ClassVar[bool] = False

    ranker: str
    # Set before validation.
    name: MethodName = ""
    recalibrate: tuple[Name, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {"name": str(data.get("ranker", cls.model_fields["ranker"].default))} | data
        return data

    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, in training and to predict.

        ``vector`` (dense features, then each id field one-hot), any column of ``samples``, such as
        ``features``, ``ids``, ``group_id`` or ``sample_id``, or one of ``sampling.keep``.
        """
        return ("vector",)

    def training_columns(self, *, rotated: bool) -> tuple[str, ...]:
        """The columns that it reads in training, if others than ``columns``.

        Args:
            rotated: whether there is a column ``rotated``, ``vector`` with the principal components
                of the dense features in their place.
        """
        return self.columns()

    def check(self, features: Features, sampling: Sampling) -> None:
        """Refuses what the config alone shows it cannot rank, before any work is done.

        Raises:
            ConfigError: the samples will lack something that it reads.
            SetupError: an optional package is not installed.
        """

    @abstractmethod
    def fit(self, rows: DataFrame, job: RankerJob) -> FittedRanker:
        """Fits the ranker.

        A row of weight 0 counts as one that is not there, and a row of weight 2 as two rows.

        Args:
            rows: with ``label`` and ``weight`` (doubles) and ``training_columns``; in any order, on
                disk.
            job: what it needs besides.

        Raises:
            ReweightError: it cannot be fitted on these rows.
        """

    def fit_together(
        self, train: DataFrame, columns: Sequence[WeightColumn], job: RankerJob
    ) -> Mapping[str, FittedRanker | ReweightError] | None:
        """Fits the ranker on several columns of weights at once, for rankers that can.

        Args:
            train: the output of ``rows.weighted_train``, on disk.
            columns: its columns of weights.
            job: as for ``fit``, but ``folder`` is that of all fits of the ranker.

        Returns:
            The fitted ranker by name of the column, or why it was refused; None of a ranker that is
            fitted on one column after the other.
        """
        return None

    @abstractmethod
    def read(self, folder: Path) -> FittedRanker:
        """What ``FittedRanker.write`` wrote."""

    def load(self, folder: Path) -> FittedRanker:
        """What ``FittedRanker.save`` saved."""
        return self.read(folder).shifted(float((folder / "shift.json").read_text()))


def with_probabilities(rows: DataFrame, fitted: Mapping[str, FittedRanker]) -> DataFrame:
    """Adds a column of probabilities per fitted ranker, under its key."""
    for kind in dict.fromkeys(type(ranker) for ranker in fitted.values()):
        of_kind = {column: ranker for column, ranker in fitted.items() if type(ranker) is kind}
        rows = kind.with_margins(rows, of_kind)
    return rows.withColumns(
        {column: 1 / (1 + F.exp(-F.col(column) - fitted[column].shift)) for column in fitted}
    )


def need_package(ranker: str, module: str, major: int) -> None:
    """Refuses a ranker whose optional package is missing, or not the one that it was written for.

    Args:
        ranker: the kind of ranker, and the extra of reweight that installs the package.
        module: the module of the package.
        major: its major version.

    Raises:
        SetupError: the package is not installed, cannot be imported, or has another major version.
    """
    needed, got = "a package that is not installed", "no such package"
    fix = f"pip install 'reweight[{ranker}]'"
    if find_spec(module):
        try:
            version = str(import_module(module).__version__)
        except Exception as error:
            # A library of the system that is not there may be any error.
            needed, got = "a package that cannot be imported", in_short(error)
            fix = f"install what it misses on this machine (a library such as libgomp1), or {fix}"
        else:
            if version.partition(".")[0] == str(major):
                return
            needed, got = "another version of its package", f"{module} {version}"
    raise SetupError(
        f"the ranker '{ranker}' needs {needed}",
        expected=f"{module} {major}, on the driver and on all executors",
        got=got,
        fix=f"{fix}, or remove {{ranker: {ranker}}} from rankers",
    )


def wrong_recalibration(
    rankers: Sequence[Ranker], methods: Mapping[str, str], known: Collection[str]
) -> str | None:
    """What is wrong with the methods that rankers recalibrate; None if nothing is.

    Args:
        rankers: the rankers of a run.
        methods: name -> kind of the run's methods.
        known: all kinds of methods.
    """
    for number, ranker in enumerate(rankers):
        for name in ranker.recalibrate:
            # A method that is left out of this run may stay in the list.
            if name in methods or (name in known and name not in methods.values()):
                continue
            fitting = [m for m, kind in methods.items() if kind == name] or sorted(methods)
            return (
                f"rankers.{number}.recalibrate: '{name}' is not in the run; write one of {fitting}"
            )
    return None
