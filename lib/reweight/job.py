"""The face of every job: arguments -> config -> session -> stages -> a summary."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession

from reweight.config import JobConfig, RunConfig, read_config
from reweight.errors import ReweightError, SetupError
from reweight.runs import (
    JobRun,
    Stage,
    Summary,
    attempt,
    fail,
    finish,
    pending,
    run_folder,
    run_lock,
    run_stage,
    scratch_folder,
)
from reweight.session import borrowed, given_session, spark_session


def run_job(
    *stages: Stage, config: type[JobConfig] = RunConfig, argv: Sequence[str] | None = None
) -> int:
    """Runs stages in their order on the config that the command line names.

    Args:
        stages: the stages; the docstring of each is its ``--help``.
        config: what the YAML file holds.
        argv: arguments, ``sys.argv`` by default.

    Returns:
        The exit status: 0, or 2 for something that the user can put right. Anything else raises.
    """
    arguments = _parser(stages, config.example).parse_args(argv)
    try:
        loaded = read_config(config, arguments.config, arguments.overrides)
        loaded.tracking.check()
        start = time.monotonic()
        print(f"run '{loaded.run_id}' in {loaded.root}", flush=True)
        with run_lock(loaded.root, loaded.run_id), _session(loaded) as spark:
            run_stages(JobRun.open(spark, loaded), stages)
        print(f"done in {time.monotonic() - start:.0f} s", flush=True)
    except ReweightError as error:
        fail(str(error))
        return 2
    except AnalysisException as error:
        # Spark's own words on a bad expression are good; its stack is not for the user.
        fail(str(error).split("\n\nJVM stacktrace")[0])
        return 2
    except (Py4JJavaError, PySparkException, OSError) as error:
        if "No space left on device" not in str(error):
            raise
        fail(str(_full_disk(loaded)))
        return 2
    return 0


def main(*stages: Stage, config: type[JobConfig] = RunConfig) -> None:
    """``run_job`` for a script: ends the process with its status."""
    status = run_job(*stages, config=config)
    if status:
        sys.exit(status)


def _full_disk(config: JobConfig) -> SetupError:
    return SetupError(
        "a disk is full",
        expected="room for what Spark spills (a few times the samples) and for the tables",
        came="No space left on device",
        do=f"make room in {config.root} and in Spark's scratch folder, or set spark.local.dir to a "
        "larger disk (SPARK_LOCAL_DIRS on a cluster's workers); then start the job again",
    )


@contextmanager
def _session(config: JobConfig) -> Iterator[SparkSession]:
    given = given_session()
    with borrowed(given) if given else nullcontext():
        log = run_folder(config.root, config.run_id) / "spark.log"
        spark = spark_session(log, config.spark, scratch_folder(config.root, config.run_id))
        try:
            yield spark
        finally:
            if given is None:
                spark.stop()


def run_stages(run: JobRun[Any], stages: Sequence[Stage]) -> None:
    """Runs the stages that are left to do, in their order, and says how it goes."""
    left = pending(run, stages)
    if done := len(stages) - len(left):
        print(f"taking up the last attempt: {done} of {len(stages)} stages are done", flush=True)
        run.say(f"to start with the first stage, delete {attempt(run)}")
    for number, stage in enumerate(left, done + 1):
        print(f"[{number}/{len(stages)}] {stage.__name__}", flush=True)
        start = time.monotonic()
        summary = run_stage(run, stage)
        for line in _lines(summary):
            run.say(line)
        run.say(f"{time.monotonic() - start:.1f} s")
    finish(run)


def _lines(summary: Summary) -> list[str]:
    return [f"{name}: {_text(value)}" for name, value in summary.items()]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _parser(stages: Sequence[Stage], example: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="\n\n".join(f"{s.__name__}: {s.__doc__}" for s in stages),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help=f"the run's YAML file, as {example}")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="values over the file's, as run_id=today fitting.ranks=2 importance.0.epochs=5",
    )
    return parser
