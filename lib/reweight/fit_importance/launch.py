"""Launches the ranks of a training, and watches them."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from pyspark.ml.torch.distributor import TorchDistributor
from pyspark.sql import SparkSession

from reweight.core.errors import RankError, ReweightError, SetupError, TrainingError
from reweight.core.heartbeat import Sign, forget, stuck
from reweight.core.logging import is_interactive, progress_bar
from reweight.core.section import in_units
from reweight.core.session_kind import cancellable
from reweight.fit_importance.job import FitJob
from reweight.fit_importance.on_driver import on_driver
from reweight.training.plan import FitPlan, Fitting
from reweight.training.rank import failed_ranks
from reweight.training.start import start_rank

_LOG = logging.getLogger(__name__)

_GPUS = "spark.task.resource.gpu.amount"


def check_gpus(spark: SparkSession, fitting: Fitting) -> None:
    """Refuses GPUs that are not there, before there is anything to train.

    Raises:
        SetupError: the driver has no GPU and trains; or ranks on executors use a GPU each, and
            tasks have none, or parts of one.
    """
    if not fitting.use_gpu:
        return
    if fitting.where == "driver":
        if not torch.cuda.is_available():
            raise SetupError(
                "fitting.use_gpu: the driver, which trains, has no GPU",
                expected="a GPU that torch can use (torch.cuda.is_available())",
                got="none",
                fix="write fitting: {use_gpu: false}, or start the driver on a machine with a GPU",
            )
        return
    amount = str(spark.conf.get(_GPUS, "0"))
    if not (amount.isdecimal() and int(amount)):
        raise SetupError(
            "fitting.use_gpu: the tasks of this Spark session have no GPU of their own",
            expected=f"{_GPUS}: a whole number, 1 or more",
            got=amount,
            fix="start Spark with the settings of conf/spark/gpu.conf, or write fitting: "
            "{use_gpu: false}",
        )


def launch_until_done(job: FitJob, plan: FitPlan) -> list[str]:
    """Launches a plan, and relaunches it from the last checkpoint if a rank fails.

    Args:
        job: the settings.
        plan: what is trained.

    Returns:
        One line for each failed launch.

    Raises:
        TrainingError: as ``launch``.
        RankError: as ``launch``, after ``fitting.retries`` relaunches.
    """
    failures: list[str] = []
    while True:
        try:
            launch(job, plan)
            return failures
        except RankError as error:
            failures.append(error.what)
            if len(failures) > plan.fitting.retries:
                raise
            _LOG.warning("%s; resuming from the last checkpoint", failures[-1])


def launch(job: FitJob, plan: FitPlan) -> None:
    """Runs a plan where its ``fitting.where`` says: on the driver, or else on executors.

    Raises:
        SetupError: as ``check_gpus``.
        TrainingError: too few slots, or settings that cannot be trained.
        RankError: a rank died, raised or hung; the error shows its traceback or its last step.
    """
    folder, fitting = plan.models, plan.fitting
    shutil.rmtree(folder.errors, ignore_errors=True)
    forget(folder.heartbeats)
    folder.path.mkdir(parents=True, exist_ok=True)
    if fitting.use_gpu:
        check_gpus(job.spark, fitting)
    started = on_driver(plan) if fitting.where == "driver" else _on_executors(job, plan)
    with started as (train, cancel), _watch(plan, cancel) as hung:
        try:
            train()
        except Exception as error:
            if hung:
                raise _hang(fitting, hung) from error
            raise _explained(plan, error) from error
        finally:
            forget(folder.heartbeats)


@contextmanager
def _on_executors(
    job: FitJob, plan: FitPlan
) -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """Prepares a plan for executors, one barrier task per rank.

    Yields:
        A function that trains, and one that cancels the training.
    """
    fitting = plan.fitting
    distributor = TorchDistributor(
        num_processes=fitting.ranks, local_mode=False, use_gpu=fitting.use_gpu
    )
    with cancellable(job.spark) as cancel:
        yield lambda: distributor.run(start_rank, plan.model_dump_json(by_alias=True)), cancel


def _hang(fitting: Fitting, signs: list[Sign]) -> RankError:
    return RankError(
        f"training hung: rank {signs[0].rank} is furthest behind",
        expected=f"a step of any rank within {in_units(fitting.timeout)} (fitting.timeout)",
        got="; ".join(str(sign) for sign in signs),
        fix="check the disk, network and memory of that rank's executor, and restart the job: it "
        "resumes from the last checkpoint",
    )


def _explained(plan: FitPlan, error: Exception) -> TrainingError:
    text, ranks = str(error), plan.fitting.ranks
    if "BARRIER" in text.upper() and "slots" in text:
        return TrainingError(
            "there are fewer slots than ranks",
            expected=f"{ranks} free cores (tasks) at the same time",
            got=next(line for line in text.splitlines() if "slots" in line).strip()[:300],
            fix="lower fitting.ranks, or give Spark more cores; turn dynamic allocation off, which "
            "barrier stages do not allow; where there are none, write fitting: {where: driver}",
        )
    messages = failed_ranks(plan.models)
    # The library would raise its own errors again; any other failure may not recur.
    refused = any(
        message.startswith(f"{ReweightError.__module__}.") for message in messages.values()
    )
    return (TrainingError if refused else RankError)(
        "training failed on " + (", ".join(messages) or "a rank that left no message"),
        expected=f"all {ranks} rank(s) to finish",
        got="; ".join(f"{rank}: {message}" for rank, message in messages.items()) or text[-500:],
        fix=f"read {plan.models.errors}, and restart the job: it resumes from the last checkpoint",
    )


@contextmanager
def _watch(plan: FitPlan, cancel: Callable[[], None]) -> Iterator[list[Sign]]:
    """Shows the losses while the ranks train, and cancels a training that hangs.

    Args:
        plan: what is trained.
        cancel: ends the training.

    Yields:
        A list that receives the last heartbeats of the ranks if they hang.
    """
    folder = plan.models
    epochs = max((t.epochs for m in plan.methods if (t := m.learns())), default=0)
    stop = threading.Event()
    hung: list[Sign] = []

    def watch() -> None:
        bar, logged = progress_bar(epochs, "training", "epoch"), 0
        while not stop.wait(0.5):
            if not hung and (signs := stuck(folder.heartbeats, plan.fitting.timeout)):
                hung.extend(signs)
                cancel()
            if not folder.curves.exists():
                continue
            curves = json.loads(folder.curves.read_text())
            done = max((len(curve) for curve in curves.values()), default=0)
            losses = ", ".join(f"{k} {c[-1]['validation']:.4g}" for k, c in curves.items() if c)
            bar.update(done - bar.n)
            # Without a progress bar, about ten log lines replace it.
            enough = done < epochs and done - logged >= max(1, epochs // 10)
            if not is_interactive() and enough:
                logged = done
                _LOG.info("epoch %d/%d, validation loss: %s", done, epochs, losses)
        bar.close()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield hung
    finally:
        stop.set()
        watcher.join()
