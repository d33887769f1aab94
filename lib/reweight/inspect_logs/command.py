"""The command line of the doctor."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from reweight.core.errors import ReweightError
from reweight.core.files import write_whole
from reweight.core.logging import print_error
from reweight.core.session import given_session, spark_session
from reweight.inspect_logs.naming import event_names
from reweight.inspect_logs.places import find
from reweight.inspect_logs.proposal import proposal
from reweight.inspect_logs.samples import sample

ROWS = 10_000


def inspect(
    spark: SparkSession, paths: Sequence[str], given: str | None = None, rows: int = ROWS
) -> str:
    """The text of a config that reads the logs.

    Args:
        spark: the session.
        paths: files, folders, globs or tables, each a source.
        given: the format of the files; None to see it by their first bytes.
        rows: at most so many rows of each are read.

    Raises:
        SourceError: a log is missing, empty, or of a format that cannot be read.
    """
    names = event_names(_name(path) for path in paths)
    logs = [find(spark, path, given) for path in paths]
    return proposal([sample(spark, n, f, rows) for n, f in zip(names, logs, strict=True)])


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a proposed config.

    Returns:
        The exit status: 0, or 2 for a problem that the user can fix.
    """
    parser = argparse.ArgumentParser(
        description="Reads a sample of raw logs and prints a config that reads them."
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, folder, glob or table")
    parser.add_argument(
        "--format",
        choices=["csv", "json", "parquet", "delta"],
        help="format of the files; guessed by default",
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="rows of each path (%(default)s)")
    parser.add_argument("--output", type=Path, help="write the config to this file")
    arguments = parser.parse_args(argv)
    if arguments.rows < 1:
        parser.error("--rows: expected at least 1")
    if (output := arguments.output) is not None and (output.is_dir() or not output.parent.is_dir()):
        parser.error(f"--output: expected a file in a folder that exists, got {output}")
    try:
        existing_session = given_session()
        spark = spark_session(Path(tempfile.mkdtemp(prefix="inspect_logs-")) / "spark.log")
        try:
            text = inspect(spark, arguments.paths, arguments.format, arguments.rows)
        finally:
            if existing_session is None:
                spark.stop()
    except ReweightError as error:
        print_error(error)
        return 2
    if arguments.output is not None:
        write_whole(arguments.output, text.encode())
        print(
            f"{arguments.output}: check it, fill in what is commented out, and run "
            f"python jobs/clean_logs.py {arguments.output}"
        )
    else:
        print(text, end="")
    return 0


def _name(path: str) -> str:
    """A name for a source: that of its file or folder, without endings and patterns."""
    parts = [p for p in path.rstrip("/").split("/") if p and not set(p) & set("*?[{")]
    return (parts[-1] if parts else "log").split(".")[0] or "log"
