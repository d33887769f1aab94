"""What every job does: arguments -> config -> session -> stages -> summary."""

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession

from reweight.config import RunConfig, read_config
from reweight.core.errors import ReweightError, SetupError
from reweight.core.job_config import JobConfig
from reweight.core.logging import log_to_console
from reweight.core.persisted import staged_in
from reweight.core.run import JobRun, Stage, Summary
from reweight.core.run_folder import RunFolder
from reweight.core.session import borrowed, given_session, spark_session
from reweight.evaluate.stage import check_config as check_judges
from reweight.evaluate.stage import check_samples, evaluate
from reweight.fit_importance.stage import check_config, fit_importance
from reweight.runner.lock import run_lock
from reweight.runner.records import finish, pending, run_stage

_LOG = logging.getLogger(__name__)


def run_job(
    *stages: Stage, config: type[JobConfig] = RunConfig, argv: Sequence[str] | None = None
) -> int:
    """Runs stages, in order, with the config that is named on the command line.

    Args:
        stages: the stages; their docstrings are the text of ``--help``.
        config: class of the config in the YAML file.
        argv: arguments, ``sys.argv`` by default.

    Returns:
        The exit status: 0, or 2 for a problem that the user can fix. Other errors are raised.
    """
    arguments = _parser(stages, config.example).parse_args(argv)
    log_to_console(arguments.level)
    try:
        loaded = read_config(config, arguments.config, arguments.overrides)
        loaded.tracking.check()
        start = time.monotonic()
        _LOG.info("run '%s' in %s", loaded.run_id, loaded.root)
        folder = RunFolder.of(loaded.root, loaded.run_id)
        with run_lock(folder), _session(loaded, folder) as spark:
            run_stages(JobRun.open(spark, loaded), stages)
        _LOG.info("done in %.0f s", time.monotonic() - start)
    except ReweightError as error:
        _fail(str(error))
        return 2
    except AnalysisException as error:
        # Spark's own message about a bad expression is good, but its stack is not for the user.
        _fail(str(error).split("\n\nJVM stacktrace")[0])
        return 2
    except (Py4JJavaError, PySparkException, OSError) as error:
        if "No space left on device" not in str(error):
            raise
        _fail(str(_full_disk(loaded)))
        return 2
    return 0


def main(*stages: Stage, config: type[JobConfig] = RunConfig) -> None:
    """Calls ``run_job`` in a script, and exits with its status."""
    status = run_job(*stages, config=config)
    if status:
        sys.exit(status)


def _full_disk(config: JobConfig) -> SetupError:
    return SetupError(
        "a disk is full",
        expected="room for the tables, and for what Spark spills (a few times the samples)",
        got="No space left on device",
        fix=f"free space in {config.root} and in Spark's scratch folder, or set spark.local.dir to "
        "a larger disk (SPARK_LOCAL_DIRS on a cluster's workers); then start the job again",
    )


@contextmanager
def _session(config: JobConfig, folder: RunFolder) -> Iterator[SparkSession]:
    given = given_session()
    with borrowed(given) if given else nullcontext():
        spark = spark_session(folder.spark_log, config.spark, folder.scratch)
        try:
            yield spark
        finally:
            if given is None:
                spark.stop()


def run_stages(run: JobRun[Any], stages: Sequence[Stage]) -> None:
    """Runs the remaining stages, in order, and logs their progress."""
    remaining = pending(run, stages)
    if done := len(stages) - len(remaining):
        _LOG.info("resuming the last attempt: %d of %d stages are done", done, len(stages))
        run.say(f"to start from the first stage, delete {run.folder.attempt}")
    # Before the stages in front of them, which may take hours.
    if fit_importance in remaining[1:] and run.config.model_run_id is None:
        check_config(run.config)
    if evaluate in remaining:
        check_judges(run)
    for number, stage in enumerate(remaining, done + 1):
        _LOG.info("[%d/%d] %s", number, len(stages), stage.__name__)
        start = time.monotonic()
        if stage is fit_importance and evaluate in remaining:
            _tell_judges(run)
        with staged_in(run.folder.staged):
            summary = run_stage(run, stage)
        for line in _lines(summary):
            run.say(line)
        run.say(f"{time.monotonic() - start:.1f} s")
    finish(run)


def _tell_judges(run: JobRun[Any]) -> None:
    """Checks the judges against the samples before the training, and says what they have."""
    for name, facts in check_samples(run).items():
        note = f"; {facts['note']}" if "note" in facts else ""
        rows, positives = facts["rows"], facts["positives"]
        run.say(f"judge {name}: {rows:,} test rows, {positives:,} of them positive{note}")


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
    parser.add_argument("config", help=f"the run's YAML file, such as {example}")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="values that override the file's, such as run_id=today fitting.ranks=2 "
        "importance.0.training.epochs=5",
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument(
        "-v",
        "--verbose",
        dest="level",
        action="store_const",
        const=logging.DEBUG,
        default=logging.INFO,
        help="log more details",
    )
    level.add_argument(
        "--quiet",
        dest="level",
        action="store_const",
        const=logging.WARNING,
        help="show only warnings and errors",
    )
    return parser


def _fail(message: str) -> None:
    """Prints an error for the user."""
    print(f"\nerror: {message}", file=sys.stderr, flush=True)
