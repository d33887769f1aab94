"""The command line of a job that takes days: ``--day``, or ``--from`` and ``--to``."""

import argparse
import sys
from collections.abc import Sequence

from reweight.core.run import Stage
from reweight.runner.job import run_job


def day_arguments(stage: Stage, argv: Sequence[str] | None = None) -> list[str]:
    """The arguments of ``run_job``: the days become settings of the section ``daily``.

    Args:
        stage: the stage; its docstring is the text of ``--help``.
        argv: arguments, ``sys.argv`` by default.
    """
    parser = argparse.ArgumentParser(description=stage.__doc__)
    parser.add_argument("config", help="the run's YAML file, such as conf/daily_demo.yaml")
    parser.add_argument("overrides", nargs="*", help="key=value: values that override the file's")
    parser.add_argument("--day", metavar="DAY", help="the day, UTC, such as 2026-01-31")
    parser.add_argument("--from", dest="first", metavar="DAY", help="the first of several days")
    parser.add_argument("--to", dest="last", metavar="DAY", help="the last of several days")
    level = parser.add_mutually_exclusive_group()
    level.add_argument("-v", "--verbose", action="store_true", help="log more details")
    level.add_argument("--quiet", action="store_true", help="show only warnings and errors")
    given = parser.parse_intermixed_args(argv)
    first, last = (given.day, given.day) if given.day else (given.first, given.last)
    if not (first and last) or (given.day and (given.first or given.last)):
        parser.error("expected --day DAY, or --from DAY and --to DAY")
    flags = ["--verbose"] * given.verbose + ["--quiet"] * given.quiet
    days = [f"daily.begin='{first}'", f"daily.end='{last}'"]
    return [*flags, given.config, *given.overrides, *days]


def main(stage: Stage) -> None:
    """Runs the stage in a script, and exits with its status."""
    if status := run_job(stage, argv=day_arguments(stage)):
        sys.exit(status)
