"""Training rows -> a fitted ranker for each ranker and method, and their predictions."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.build_samples.feature_stats import FeatureStats
from reweight.build_samples.features import Features
from reweight.build_samples.sampling import Sampling
from reweight.core.baselines import BASELINE
from reweight.core.columns import design_weight, soft_label
from reweight.core.errors import ConfigError, ReweightError, WeightError
from reweight.core.left_out import Refusals
from reweight.core.run_folder import RunFolder
from reweight.core.session_kind import side_by_side
from reweight.score_weights.policy import PolicyStats
from reweight.train_ranker.checks import check_training
from reweight.train_ranker.rankers import FittedRanker, Ranker, RankerJob
from reweight.train_ranker.rankers.base import with_probabilities
from reweight.train_ranker.recalibration import recalibrated
from reweight.train_ranker.rotation import Rotation
from reweight.train_ranker.rows import TRAINING_COLUMNS, WeightColumn, weighted

_LOG = logging.getLogger(__name__)
# Of fewer rows, a pass keeps a machine's cores busy for less time than Spark takes to plan it. Fits
# in one task hold their rows in memory, and those side by side no more than these in all.
_ROWS_AT_ONCE = 600_000
_MOST_AT_ONCE = 4


@dataclass(frozen=True)
class Fit:
    """A ranker that was fitted on the weights of a method.

    Attributes:
        ranker: name of the ranker.
        method: name of the method.
        fitted: the fitted ranker.
        seconds: that the fit took, without the rows that all fits share; an equal part for each of
            those that were made together. Beside others it takes longer than alone.
    """

    ranker: str
    method: str
    fitted: FittedRanker
    seconds: float

    def __str__(self) -> str:
        return f"{self.fitted.outcome}, {self.seconds:.1f} s"


class RankedMethod(Protocol):
    """What rankers need to know of a method."""

    @property
    def name(self) -> str:
        """Name of its column of weights."""

    @property
    def soft(self) -> bool:
        """Whether it gives soft labels."""

    @property
    def keeps_scale(self) -> bool:
        """Whether regularisation uses the sum of raw importance, not of weights with mean 1."""


def check_rankers(
    rankers: Sequence[Ranker], methods: Sequence[str], features: Features, sampling: Sampling
) -> None:
    """Refuses rankers that cannot rank, as far as the config shows it, before any work is done.

    Args:
        rankers: of the run.
        methods: names of the methods of the run.
        features: the section ``features``.
        sampling: the section ``sampling``.

    Raises:
        ConfigError: a ranker reads what the samples do not have.
        SetupError: a ranker's optional package is missing.
    """
    names, kept = ({n.lower() for n in group} for group in (methods, sampling.keep))
    for ranker in rankers:
        ranker.check(features, sampling)
        if taken := [c for c in ranker.columns() if c.lower() in names]:
            raise ConfigError(
                f"the ranker '{ranker.name}' reads a column that has the name of a method",
                expected="different names for columns of sampling.keep and methods",
                got=str(taken),
                fix=f"rename it in sampling.keep, or set `name` of the method {taken[0]}",
            )
        read = {*ranker.columns(), *ranker.training_columns(rotated=True)}
        if taken := sorted(c for c in read if c.lower() in kept & {*TRAINING_COLUMNS}):
            raise ConfigError(
                f"the ranker '{ranker.name}' reads a column of sampling.keep that training rows "
                "have themselves",
                expected=f"other names than {list(TRAINING_COLUMNS)}",
                got=str(taken),
                fix=f"rename it in sampling.keep, such as {taken[0]}_kept",
            )


def columns_of(rankers: Sequence[Ranker]) -> tuple[str, ...]:
    """The columns that the rankers read, each once."""
    return tuple(dict.fromkeys(column for ranker in rankers for column in ranker.columns()))


def training_columns_of(
    rankers: Sequence[Ranker], train: DataFrame, dim: int
) -> tuple[tuple[str, ...], Rotation | None]:
    """The columns that the rankers read in training, each once; and the rotation of one of them.

    Args:
        rankers: of the run.
        train: training rows of the table ``samples``.
        dim: D, length of ``features``.
    """

    def columns(*, rotated: bool) -> tuple[str, ...]:
        every = [c for ranker in rankers for c in ranker.training_columns(rotated=rotated)]
        return tuple(dict.fromkeys(every))

    wanted = "rotated" in columns(rotated=True)
    rotation = Rotation.of(train, dim) if wanted else None
    return columns(rotated=rotation is not None), rotation


def weight_columns(
    methods: Sequence[RankedMethod], policies: Mapping[str, PolicyStats]
) -> tuple[WeightColumn, ...]:
    """The columns of weights of these methods.

    Raises:
        WeightError: the mean of raw importance is needed, and an earlier version did not store it.
    """
    return tuple(
        WeightColumn(m.name, m.soft, _raw_mean(m.name, policies[m.name]) if m.keeps_scale else 1.0)
        for m in methods
    )


def _raw_mean(method: str, stats: PolicyStats) -> float:
    """The mean of raw importance over the rows on which the policy was fitted."""
    if not stats.rows:
        raise WeightError(
            f"the stored weight policy of '{method}' lacks the number of training rows",
            expected="numbers as this version of reweight stores them",
            got="those of an earlier version",
            fix="run the stage 'score_weights' of the run with the models again",
        )
    return stats.raw_sum / stats.rows


def job_of(
    held_out: DataFrame,
    stats: FeatureStats,
    columns: Sequence[str],
    *,
    seed: int,
    fitting: Any,
    rotation: Rotation | None = None,
) -> RankerJob:
    """What all fits of a run share.

    Args:
        held_out: rows of other splits than the training split, with the columns that rankers read.
        stats: of the features.
        columns: what the rankers read.
        seed: of the run.
        fitting: the section ``fitting``.
        rotation: of ``rotated`` in the training rows; None if they have no such column.
    """
    validation = held_out.where("split = 'validation'")
    label = F.col("label").cast("double").alias("label")
    counted = design_weight(held_out).alias("design_weight")
    return RankerJob(
        weight_sum=0.0,
        seed=seed,
        names=stats.names,
        fields=stats.cardinalities,
        validation=validation.select(label, counted, *columns),
        fitting=fitting,
        rotation=rotation,
    )


def fit_rankers(
    train: DataFrame,
    weights: Sequence[WeightColumn],
    rankers: Sequence[Ranker],
    *,
    floor: float,
    refusals: Refusals | None = None,
    job: RankerJob | None = None,
    folder: RunFolder | None = None,
) -> tuple[Fit, ...]:
    """Fits each ranker on each column of weights, all on the same rows.

    Args:
        train: the output of ``weighted_train``, kept.
        weights: its columns of weights.
        rankers: the rankers.
        floor: smallest allowed ESS, as a share of the rows.
        refusals: receives the methods that cannot be trained on, and ``<ranker>/<method>`` for
            those that one ranker refuses; by default they are errors.
        job: what fits need besides rows; the sum of weights and the folder are set here.
        folder: of the run, where rankers may write while they are fitted.

    Returns:
        The fits by ranker, then by method.

    Raises:
        WeightError: as ``check_training``.
        ReweightError: a ranker refuses the baseline, to which its other fits are compared.
    """
    refusals, job = refusals or Refusals(), job or RankerJob(0.0)
    soft = [column.name for column in weights if column.soft]
    sums = check_training(train, [column.name for column in weights], floor, soft, refusals)
    remaining = refusals.remaining(weights)
    fits: list[Fit] = []
    for ranker in rankers:
        outcomes = _outcomes(train, remaining, sums, ranker, job, folder)
        for column, outcome in zip(remaining, outcomes, strict=True):
            if isinstance(outcome, Fit):
                fits.append(outcome)
                continue
            # A refused baseline is an error: the ranker's other fits would have no comparison.
            named = column.name if column.name == BASELINE else f"{ranker.name}/{column.name}"
            refusals.add(named, outcome)
    return tuple(fits)


def _outcomes(
    train: DataFrame,
    columns: Sequence[WeightColumn],
    sums: Mapping[str, float],
    ranker: Ranker,
    job: RankerJob,
    folder: RunFolder | None,
) -> list[Fit | ReweightError]:
    """The fits of a ranker, or why one was refused, in the order of the columns."""
    start, all_fits = time.monotonic(), None if folder is None else folder.rankers(ranker.name)
    together = ranker.fit_together(train, columns, replace(job, folder=all_fits))
    share = (time.monotonic() - start) / len(columns)

    def outcome(column: WeightColumn) -> Fit | ReweightError:
        column_job = replace(
            job,
            weight_sum=sums[column.name] * column.raw_mean,
            folder=None if folder is None else folder.ranker(ranker.name, column.name),
        )
        try:
            return _fit(train, column, ranker, column_job, together, share)
        except ReweightError as error:
            return error

    # The sum of weights with mean 1 is the number of rows.
    at_once = int(_ROWS_AT_ONCE / max(sums.values())) if ranker.idle_cores else 1
    return side_by_side(train.sparkSession, outcome, columns, min(max(1, at_once), _MOST_AT_ONCE))


def _fit(
    train: DataFrame,
    column: WeightColumn,
    ranker: Ranker,
    job: RankerJob,
    together: Mapping[str, FittedRanker | ReweightError] | None,
    seconds: float,
) -> Fit:
    start, name = time.monotonic() - seconds, column.name
    if together is None:
        columns = ranker.training_columns(rotated=job.rotation is not None)
        fitted = ranker.fit(weighted(train, column, columns, soft=ranker.soft), job)
    elif isinstance(outcome := together[name], ReweightError):
        raise outcome
    else:
        fitted = outcome
    if name in ranker.recalibrate:
        label = F.col(soft_label(name) if column.soft else "label")
        fitted = recalibrated(fitted, train.withColumn("label", label))
    fit = Fit(ranker.name, name, fitted, time.monotonic() - start)
    _LOG.info("%s, %s: fitted, %s", ranker.name, name, fit)
    return fit


def predictions(held_out: DataFrame, fits: Sequence[Fit]) -> DataFrame:
    """Rows of the table ``predictions``, one per sample, ranker and method.

    Args:
        held_out: samples with the columns that the rankers read.
        fits: the fitted rankers.
    """
    by_column = {f"_p{i}": fit for i, fit in enumerate(fits)}
    fitted = {column: fit.fitted for column, fit in by_column.items()}
    wide = held_out.transform(with_probabilities, fitted)
    rows = [
        F.struct(
            F.lit(fit.ranker).alias("ranker"),
            F.lit(fit.method).alias("method"),
            F.col(column).alias("probability"),
        )
        for column, fit in by_column.items()
    ]
    sample_columns = ("sample_id", "group_id", "segment", "split", "label")
    return wide.select(*sample_columns, F.inline(F.array(*rows)))


def told(fits: Sequence[Fit]) -> dict[str, dict[str, str]]:
    """Ranker -> method -> what its fit says of itself and how long it took."""
    texts: dict[str, dict[str, str]] = {}
    for fit in fits:
        texts.setdefault(fit.ranker, {})[fit.method] = str(fit)
    return texts


def held_out_facts(fits: Sequence[Fit], rows: DataFrame) -> dict[str, dict[str, Any]]:
    """Ranker -> what it says of the rows that are predicted, for rankers that say something."""
    first: dict[str, FittedRanker] = {}
    for fit in fits:
        first.setdefault(fit.ranker, fit.fitted)
    facts: Iterator[tuple[str, dict[str, Any]]] = (
        (name, fitted.facts(rows)) for name, fitted in first.items()
    )
    return {name: ranker_facts for name, ranker_facts in facts if ranker_facts}
