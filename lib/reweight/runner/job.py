"""What every job does: arguments -> config -> session -> stages -> summary."""

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import SparkSession

from reweight.benchmark.conditions.stage import judge_conditions
from reweight.build_samples.stage import build_samples
from reweight.build_samples.texts import check_encoders
from reweight.config import RunConfig, read_config
from reweight.core.errors import ReweightError, RunError, SetupError
from reweight.core.job_config import JobConfig
from reweight.core.logging import log_to_console, print_error
from reweight.core.persisted import staged_in
from reweight.core.run import JobRun, Stage, Summary
from reweight.core.run_folder import RunFolder
from reweight.core.session import borrowed, given_session, spark_session
from reweight.daily.kind_of_run import check_not_of_days
from reweight.evaluate.stage import check_config as check_judges
from reweight.evaluate.stage import check_samples, evaluate
from reweight.fit_importance.launch import check_gpus
from reweight.fit_importance.stage import check_config, fit_importance
from reweight.runner.changes import keep, warn_of_older, why_again
from reweight.runner.flags import Flag, overrides
from reweight.runner.lock import run_lock
from reweight.runner.pipeline import PIPELINE
from reweight.runner.records import has_worked, read_record, run_stage
from reweight.score_weights.stage import score_weights
from reweight.train_ranker.stage import check_config as check_rankers
from reweight.train_ranker.stage import train_ranker

_LOG = logging.getLogger(__name__)

# Stages before which the judges can be checked against the samples.
_AFTER_SAMPLES = (fit_importance, score_weights, train_ranker, evaluate)


def run_job(
    *stages: Stage,
    config: type[JobConfig] = RunConfig,
    argv: Sequence[str] | None = None,
    flags: Sequence[Flag] = (),
    status: Callable[[Any], int] | None = None,
) -> int:
    """Runs stages, in order, with the config that is named on the command line.

    Args:
        stages: the stages; their docstrings are the text of ``--help``.
        config: class of the config in the YAML file.
        argv: arguments, ``sys.argv`` by default.
        flags: options that stand for settings, in place of those that choose a first stage.
        status: takes the run after its stages; gives the exit status. By default it is 0.

    Returns:
        The exit status: 0, or 2 for a problem that the user can fix. Other errors are raised.
    """
    arguments = _parser(stages, config.example, flags).parse_intermixed_args(argv)
    log_to_console(arguments.level)
    try:
        all_overrides = [*arguments.overrides, *overrides(flags, arguments)]
        loaded = read_config(config, arguments.config, all_overrides)
        loaded.tracking.check()
        start = time.monotonic()
        _LOG.info("run '%s' in %s", loaded.run_id, loaded.root)
        folder = RunFolder.of(loaded.root, loaded.run_id)
        with run_lock(folder), _session(loaded, folder) as spark:
            run = JobRun.open(spark, loaded)
            run_stages(run, stages, again=None if flags else _first_stage(arguments, stages))
        _LOG.info("done in %.0f s", time.monotonic() - start)
        return status(run) if status else 0
    except ReweightError as error:
        print_error(error)
        return 2
    except AnalysisException as error:
        # Spark's own message about a bad expression is good, but its stack is not for the user.
        print_error(str(error).split("\n\nJVM stacktrace")[0])
        return 2
    except (Py4JJavaError, PySparkException, OSError) as error:
        if "No space left on device" not in str(error):
            raise
        print_error(_full_disk(loaded))
        return 2


def main(
    *stages: Stage,
    config: type[JobConfig] = RunConfig,
    flags: Sequence[Flag] = (),
    status: Callable[[Any], int] | None = None,
) -> None:
    """Calls ``run_job`` in a script, and exits with its status."""
    if code := run_job(*stages, config=config, flags=flags, status=status):
        sys.exit(code)


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
    existing = given_session()
    with borrowed(existing) if existing else nullcontext():
        spark = spark_session(folder.spark_log, config.spark, folder.scratch)
        try:
            yield spark
        finally:
            if existing is None:
                spark.stop()


def run_stages(
    run: JobRun[Any],
    stages: Sequence[Stage],
    *,
    again: str | None = None,
    order: Sequence[Stage] = PIPELINE,
) -> None:
    """Runs the stages that have to be run, in order, and logs their progress.

    A stage is kept if nothing that it depends on has changed since it was run, here or as a job of
    its own. After one that is run, all others are.

    Args:
        run: the run.
        stages: the stages.
        again: name of the first stage to run even if nothing has changed.
        order: the stages of which each depends on those before it.

    Raises:
        RunError: no stage has the name ``again``, or they would replace what days have left.
    """
    names = [stage.__name__ for stage in stages]
    if again is not None and again not in names:
        raise RunError(
            f"there is no stage '{again}' to run again",
            expected=f"one of {names}",
            got=again,
            fix="use one of these names",
        )
    warn_of_older(run, stages, order)
    with run.store.keeping_small_slices():
        _run_stages(run, stages, again, order)


def _run_stages(
    run: JobRun[Any], stages: Sequence[Stage], again: str | None, order: Sequence[Stage]
) -> None:
    checked = announced = False
    for stage, why in _to_run(run, stages, again, order):
        number = stages.index(stage)
        remaining = stages[number:]
        if not checked:
            _check_early(run, remaining)
            checked = True
        reason = f": {why}" if why else ""
        _LOG.info("[%d/%d] %s%s", number + 1, len(stages), stage.__name__, reason)
        if not announced and len(stages) > 1 and stage in _AFTER_SAMPLES and evaluate in remaining:
            _tell_judges(run)
            announced = True
        start = time.monotonic()
        with staged_in(run.folder.staged):
            summary = run_stage(run, stage, order)
        for line in _lines(summary):
            run.say(line)
        run.say(f"{time.monotonic() - start:.1f} s")


def _to_run(
    run: JobRun[Any], stages: Sequence[Stage], again: str | None, order: Sequence[Stage]
) -> Iterator[tuple[Stage, str]]:
    """The stages that have to be run, each with the reason; each is run before the next is asked.

    The first one that does something is followed by all others, without a reason of their own.
    """
    kept: list[str] = []
    follows = False
    for stage in stages:
        request = "it was asked for" if stage.__name__ == again else None
        why = "" if follows else request or why_again(run, stage, order)
        if why is None:
            keep(run, stage)
            kept.append(stage.__name__)
            continue
        _say_kept(kept)
        yield stage, why
        record = read_record(run.folder, stage)
        follows = follows or (record is not None and has_worked(record["summary"]))
    _say_kept(kept)


def _say_kept(kept: list[str]) -> None:
    """Says which stages are kept and why, once."""
    if kept:
        names = ", ".join(kept)
        _LOG.info("kept: %s, since nothing that they depend on has changed; see --force", names)
        kept.clear()


def _check_early(run: JobRun[Any], remaining: Sequence[Stage]) -> None:
    """Refuses what can be seen before the first stage, which may take hours."""
    check_not_of_days(run.folder, [stage.__name__ for stage in remaining])
    if build_samples in remaining:
        check_encoders(run.config.features.text)
    if fit_importance in remaining[1:] and run.config.model_run_id is None:
        check_config(run.config)
        if any(method.trained for method in run.config.importance):
            check_gpus(run.spark, run.config.fitting)
    if train_ranker in remaining[1:] or judge_conditions in remaining:
        check_rankers(run.config)
    if evaluate in remaining:
        check_judges(run)


def _tell_judges(run: JobRun[Any]) -> None:
    """Checks the judges against the samples before they are used, and says what they have."""
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


def _parser(
    stages: Sequence[Stage], example: str, flags: Sequence[Flag]
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="\n\n".join(f"{s.__name__}: {s.__doc__}" for s in stages),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help=f"the run's YAML file, such as {example}")
    parser.add_argument(
        "overrides",
        nargs="*",
        help="values that override the file's, such as run_id=today importance.1.training.epochs=5",
    )
    for flag in flags:
        flag.add_to(parser)
    if not flags:
        _add_first(parser, stages)
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


def _add_first(parser: argparse.ArgumentParser, stages: Sequence[Stage]) -> None:
    """Adds the options that choose a first stage."""
    again = parser.add_mutually_exclusive_group()
    if len(stages) > 1:
        again.add_argument(
            "--from",
            dest="first",
            metavar="STAGE",
            choices=[stage.__name__ for stage in stages],
            help="run this stage and those after it, even if nothing has changed",
        )
    again.add_argument("--force", action="store_true", help="run even if nothing has changed")
    parser.set_defaults(first=None)


def _first_stage(arguments: argparse.Namespace, stages: Sequence[Stage]) -> str | None:
    """The name of the first stage that is run in any case."""
    name: str | None = stages[0].__name__ if arguments.force else arguments.first
    return name
