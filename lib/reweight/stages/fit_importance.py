"""The stage fit_importance.

Reads:
    The table ``samples``. With ``model_run_id`` it does nothing: that run's models are used.

Writes:
    A folder ``models/<method>`` for each method that stands alone (tensors, config, feature
    statistics), and ``models/curves.json``, the losses by epoch. Trained methods leave checkpoints
    while they train.

Refuses:
    What a method refuses (its page says), methods that cut features into different numbers of bins,
    fewer free slots than ``fitting.ranks``, and ranks that fail or hang more than
    ``fitting.retries`` times.
"""

import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.config import digest
from reweight.errors import RankError, TrainingError
from reweight.features import feature_quantiles
from reweight.fitting import FitPlan, Fitting, failed_ranks, train_rank
from reweight.hashing import uniform
from reweight.heartbeat import Sign, forget, stuck
from reweight.importance import ImportanceMethod, TrainFacts
from reweight.importance.examination import PositionMethod, between
from reweight.importance.position import check_features, check_positions, check_propensities
from reweight.importance.stored import StoredModel
from reweight.importance.target import check_target
from reweight.importance.windows import check_delays, check_windows
from reweight.runs import Run, revision, write_json
from reweight.snapshot import fingerprint, write_snapshot
from reweight.stages.build_samples import STATS, read_stats
from reweight.tables import SAMPLES

MODELS = "models"
_MOST_SEGMENTS = 1000
# A feature that follows from the position does so in any rows.
_POSITION_ROWS = 20_000


@dataclass(frozen=True)
class FitJob:
    """What fitting needs beside rows and methods: of a run, or of an estimator.

    Attributes:
        spark: the session.
        seed: of everything that is random.
        fitting: the section.
        dim: length of ``features``.
        cardinalities: size of the id space of each field of ``ids``.
        snapshots: folder that driver and executors share, for the rows as training reads them.
        say: takes a line of progress.
    """

    spark: SparkSession
    seed: int
    fitting: Fitting
    dim: int
    cardinalities: tuple[int, ...]
    snapshots: Path
    say: Callable[[str], None]

    @classmethod
    def of(cls, run: Run) -> Self:
        """The job of a run, whose samples are built."""
        stats, config = read_stats(run), run.config
        return cls(
            spark=run.spark,
            seed=config.seed,
            fitting=config.fitting,
            dim=len(stats.names),
            cardinalities=tuple(stats.cardinalities.values()),
            snapshots=_snapshots(run),
            say=run.say,
        )


def fit_importance(run: Run) -> dict[str, Any]:
    """Trains the importance methods on executors; each leaves a folder that stands alone."""
    if run.config.model_run_id is not None:
        return {"skipped": f"the models of run '{run.config.model_run_id}' are used"}
    samples = run.store.read(SAMPLES)
    folder = run.folder / MODELS
    summary = fit_methods(run, samples, run.config.importance, folder)
    for method in run.config.importance:
        shutil.copyfile(run.folder / STATS, folder / method.name / STATS)
    drop_snapshots(run)
    return summary


def drop_snapshots(run: Run) -> None:
    """Removes the rows that were written for training alone."""
    shutil.rmtree(_snapshots(run), ignore_errors=True)


def fit_methods(
    run: Run, samples: DataFrame, methods: tuple[ImportanceMethod, ...], folder: Path
) -> dict[str, Any]:
    """Fits methods of a run side by side; ``folder/<name>`` then holds the model of each."""
    return fit_on(FitJob.of(run), samples, methods, folder)


def fit_on(
    job: FitJob, samples: DataFrame, methods: tuple[ImportanceMethod, ...], folder: Path
) -> dict[str, Any]:
    """As ``fit_methods``, without a run.

    Args:
        job: the settings.
        samples: with the columns of the table ``samples`` that say what a row is.
        methods: to fit.
        folder: that driver and executors share.
    """
    facts = _facts(job, samples, methods)
    for method in methods:
        if not method.trained:
            StoredModel.of(method, facts, method.build(facts)).write(folder / method.name)
    summary: dict[str, Any] = {"rows": facts.rows, "positives": facts.positives}
    if trained := tuple(m for m in methods if m.trained):
        summary |= _train(job, samples, facts, trained, folder)
    return summary


def _facts(job: FitJob, samples: DataFrame, methods: Sequence[ImportanceMethod]) -> TrainFacts:
    train = samples.where("split = 'train'")
    place, chance = F.col("position"), F.col("propensity")
    settled = F.col("mature") & (F.col("label") == 1)
    usable = F.coalesce((chance > 0) & (chance <= 1), F.lit(False))
    counts: Any = train.agg(
        F.count("*").alias("rows"),
        F.sum("label").alias("positives"),
        F.sum(F.col("target").cast("bigint")).alias("target"),
        *[
            F.count_if(condition).alias(name)
            for name, condition in {
                "before": place < 1,
                "first": place == 1,
                "later": place > 1,
                "unusable": ~usable,
                "open": ~F.col("mature"),
                "settled_positives": settled,
                "delays": settled & F.col("delay").isNotNull(),
                "outside": settled & ~F.col("delay").between(0, 1),
            }.items()
        ],
    ).first()
    for method in methods:
        # Fitting would refuse it as well, after hours of training.
        columns = method.columns()
        if "target" in columns:
            check_target(method.name, counts["target"], counts["rows"])
        if "position" in columns:
            check_positions(method.name, counts["before"], counts["first"], counts["later"])
            if isinstance(method, PositionMethod):
                last = method.training.max_position
                explained = _between_positions(train, counts["rows"], job.dim, last)
                check_features(method.name, explained)
        if "propensity" in columns:
            check_propensities(method.name, counts["unusable"], counts["rows"])
        if "mature" in columns:
            check_windows(method.name, counts["open"], counts["settled_positives"])
        if "delay" in columns:
            check_delays(method.name, counts["delays"], counts["outside"])
    bins = {t.quantile_bins for m in methods if (t := m.learns())} - {0}
    if len(bins) > 1:
        raise TrainingError(
            "the methods of a run cut features into different numbers of bins",
            expected="one number of bins, or 0",
            came=str(sorted(bins)),
            do="set the same training.bins everywhere",
        )
    return TrainFacts(
        dim=job.dim,
        cardinalities=job.cardinalities,
        rows=counts["rows"],
        positives=int(counts["positives"]),
        seed=job.seed,
        quantiles=feature_quantiles(train, counts["rows"], bins.pop()) if bins else (),
        segments=_segments(train) if any("segment" in m.columns() for m in methods) else (),
    )


def _between_positions(train: DataFrame, rows: int, dim: int, last: int) -> torch.Tensor:
    """As ``between``, on a hashed sample of the rows, float64 [dim]."""
    some = train.where(uniform(0, "positions", "sample_id") <= _POSITION_ROWS / max(rows, 1))
    # Spark's least and greatest pass over null.
    place = F.least(F.greatest("position", F.lit(1)), F.lit(last))
    at = F.when(F.col("position").isNull(), 0).otherwise(place)
    value = F.col("value").cast("double")
    # Small by nature: three numbers per place and feature.
    sums = (
        some.select(at.alias("at"), F.posexplode("features").alias("feature", "value"))
        .groupBy("at", "feature")
        .agg(F.count("*"), F.sum(value), F.sum(value * value))
        .orderBy("at", "feature")
        .drop("at", "feature")
        .toPandas()
    )
    count, total, square = torch.tensor(sums.to_numpy()).double().reshape(-1, dim, 3).unbind(-1)
    return between(count[:, 0], torch.cat([total, square], dim=1))


def _segments(train: DataFrame) -> tuple[str, ...]:
    """The segments of the training rows, largest first.

    Raises:
        TrainingError: there are none, or too many to be slices.
    """
    counted = train.where("segment is not null").groupBy("segment").count()
    rows = counted.orderBy(F.desc("count"), "segment").limit(_MOST_SEGMENTS + 1).collect()
    if not 0 < len(rows) <= _MOST_SEGMENTS:
        raise TrainingError(
            "a method weighs segments, and these are none",
            expected=f"1 to {_MOST_SEGMENTS} segments in the training rows",
            came=f"more than {_MOST_SEGMENTS}" if rows else "none",
            do="set sampling.segment to an expression of few values, as a user group or a country",
        )
    return tuple(row["segment"] for row in rows)


def _train(
    job: FitJob,
    samples: DataFrame,
    facts: TrainFacts,
    methods: tuple[ImportanceMethod, ...],
    folder: Path,
) -> dict[str, Any]:
    extra = tuple(sorted({column for method in methods for column in method.columns()}))
    rows = fingerprint(samples, extra)
    snapshots = _write_snapshots(job, samples, facts, rows, extra)
    said = [m.model_dump_json(by_alias=True) for m in methods]
    key = digest(rows, str(job.seed), job.fitting.identity(), revision(), *said)
    plan = FitPlan(
        methods=methods,
        facts=facts,
        extra=extra,
        fitting=job.fitting,
        train=str(snapshots / "train"),
        validation=str(snapshots / "validation"),
        folder=str(folder.absolute()),
        key=key,
        seed=job.seed,
    )
    mark, failures = folder / "fitted.json", []
    if not _is_fitted(mark, key, [folder / m.name / "model.json" for m in methods]):
        mark.unlink(missing_ok=True)
        failures = _launch_until_done(job, plan)
        write_json(mark, key)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
    curves = json.loads((folder / "curves.json").read_text())
    seconds = sum(
        max((c[i]["seconds"] for c in curves.values() if i < len(c)), default=0.0)
        for i in range(max((len(c) for c in curves.values()), default=0))
    )
    losses = {k: f"{c[0]['train']:.4g} -> {c[-1]['train']:.4g}" for k, c in curves.items()}
    found = {"training loss": losses, "training seconds": round(seconds, 1)}
    return found | ({"taken up again after": failures} if failures else {})


def _is_fitted(mark: Path, key: str, models: list[Path]) -> bool:
    """Whether the models are there, of the same rows, settings and code."""
    there = mark.exists() and all(model.exists() for model in models)
    return there and json.loads(mark.read_text()) == key


def _snapshots(run: Run) -> Path:
    return (run.folder / "snapshot").absolute()


def _write_snapshots(
    job: FitJob, samples: DataFrame, facts: TrainFacts, rows: str, extra: tuple[str, ...]
) -> Path:
    """Parquet of the training rows and of a hashed part of the validation rows."""
    key = digest(rows, str(job.seed), job.fitting.identity(), revision(), *extra)
    section, folder = job.fitting, job.snapshots
    same: dict[str, Any] = {
        "shards": section.shards,
        "with_ids": bool(facts.cardinalities),
        "key": key,
        "extra": extra,
        "segments": facts.segments,
    }
    train = samples.where("split = 'train'")
    write_snapshot(train, folder / "train", rows=facts.rows, **same)
    validation = samples.where("split = 'validation'")
    share = min(1.0, section.validation_rows / max(1, validation.count()))
    some = validation.where(uniform(job.seed, "curve", "sample_id") <= share)
    write_snapshot(some, folder / "validation", rows=section.validation_rows, **same)
    return folder


def _launch_until_done(job: FitJob, plan: FitPlan) -> list[str]:
    """Launches, and again from the last checkpoint when a rank was lost; returns what was lost."""
    failures: list[str] = []
    while True:
        try:
            launch(job, plan)
            return failures
        except RankError as error:
            failures.append(str(error).splitlines()[0])
            if len(failures) > plan.fitting.retries:
                raise
            job.say(f"{failures[-1]}; taking it up again from the last checkpoint")


def launch(job: FitJob, plan: FitPlan) -> None:
    """Runs a plan on executors, one barrier task per rank.

    Raises:
        TrainingError: too few slots, or settings that cannot be trained.
        RankError: a rank died, raised or hung; its own traceback, or what it did last, is shown.
    """
    folder, fitting = Path(plan.folder), plan.fitting
    shutil.rmtree(folder / "errors", ignore_errors=True)
    forget(folder)
    folder.mkdir(parents=True, exist_ok=True)
    distributor = TorchDistributor(
        num_processes=fitting.ranks, local_mode=False, use_gpu=fitting.use_gpu
    )
    with _watch(job, plan) as hung:
        try:
            distributor.run(train_rank, plan.model_dump_json(by_alias=True))
        except Exception as error:
            if hung:
                raise _hang(fitting, hung) from error
            raise _explained(plan, error) from error
        finally:
            forget(folder)


def _hang(fitting: Fitting, signs: list[Sign]) -> RankError:
    return RankError(
        f"training hung: rank {signs[0].rank} is furthest behind",
        expected=f"a step of any rank within {fitting.timeout} s (fitting.timeout)",
        came="; ".join(str(sign) for sign in signs),
        do="look at that rank's executor (its disk, its network, its memory); the job takes up "
        "from the last checkpoint when it is started again",
    )


def _explained(plan: FitPlan, error: Exception) -> TrainingError:
    text, ranks = str(error), plan.fitting.ranks
    if "BARRIER" in text.upper() and "slots" in text:
        return TrainingError(
            "there are fewer slots than ranks",
            expected=f"{ranks} free cores (tasks) at the same time",
            came=next(line for line in text.splitlines() if "slots" in line).strip()[:300],
            do="lower fitting.ranks, or give Spark more cores; barrier stages need dynamic "
            "allocation to be off",
        )
    said = failed_ranks(Path(plan.folder))
    # What the library itself refuses, it refuses again; anything else may go well another time.
    refused = any(message.startswith("reweight.errors.") for message in said.values())
    return (TrainingError if refused else RankError)(
        "training failed on " + (", ".join(said) or "a rank that left no message"),
        expected=f"{ranks} rank(s) that finish",
        came="; ".join(f"{rank}: {message}" for rank, message in said.items()) or text[-500:],
        do=f"read {Path(plan.folder) / 'errors'}; the job takes up from the last checkpoint when "
        "it is started again",
    )


@contextmanager
def _watch(job: FitJob, plan: FitPlan) -> Iterator[list[Sign]]:
    """Prints the losses about ten times while the ranks train, and ends a training that hangs.

    Yields:
        A list that is filled with the ranks' last signs if they hung.
    """
    folder, epochs = (
        Path(plan.folder),
        max((t.epochs for m in plan.methods if (t := m.learns())), default=0),
    )
    curves, context = folder / "curves.json", job.spark.sparkContext
    stop, tag = threading.Event(), f"reweight-{uuid.uuid4().hex}"
    hung: list[Sign] = []

    def watch() -> None:
        shown, begin = 0, time.monotonic()
        while not stop.wait(0.5):
            if not hung and (found := stuck(folder, plan.fitting.timeout)):
                hung.extend(found)
                context.cancelJobsWithTag(tag)
            if not curves.exists():
                continue
            latest = json.loads(curves.read_text())
            done = max((len(c) for c in latest.values()), default=0)
            if done < epochs and done - shown >= max(1, epochs // 10):
                shown = done
                losses = ", ".join(f"{k} {c[-1]['validation']:.4g}" for k, c in latest.items())
                elapsed = time.monotonic() - begin
                job.say(f"epoch {done}/{epochs}, {elapsed:.0f} s, validation loss: {losses}")

    watcher = threading.Thread(target=watch, daemon=True)
    context.addJobTag(tag)
    context.setInterruptOnCancel(True)
    watcher.start()
    try:
        yield hung
    finally:
        stop.set()
        watcher.join()
        context.setInterruptOnCancel(False)
        context.removeJobTag(tag)
