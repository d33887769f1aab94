"""The Spark session: one place for its settings, on a laptop, under spark-submit, in a notebook."""

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import SparkSession

from reweight.core.errors import SetupError

# The same rows on Spark 3.5 and 4: both switched the defaults of these between versions.
SEMANTICS = {
    "spark.sql.ansi.enabled": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.session.timeZone": "UTC",
}

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

# What a process of our own starts with; spark-submit takes the like from conf/spark/*.conf.
LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.memory": "2g",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",
    # Fewer slots than ranks must fail in seconds, not after ten silent minutes.
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "2s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "3",
    "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning,ignore::UserWarning",
}


def given_session() -> SparkSession | None:
    """The session that somebody else started and will stop, or None.

    A notebook has one that is active; on Databricks every process has one, active or not yet.
    """
    active = SparkSession.getActiveSession()
    if active is None and on_databricks():
        return SparkSession.builder.getOrCreate()
    return active


def on_databricks() -> bool:
    """Whether this process runs on a cluster of Databricks."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


@contextlib.contextmanager
def borrowed(spark: SparkSession) -> Iterator[SparkSession]:
    """A given session that speaks our semantics within, and what it spoke before afterwards."""
    before = {key: spark.conf.get(key, None) for key in SEMANTICS}
    try:
        yield spark
    finally:
        for key, value in before.items():
            if value is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, value)


def spark_session(
    log: Path, settings: dict[str, str] | None = None, scratch: Path | None = None
) -> SparkSession:
    """Finds or starts the session.

    A session that is there (a notebook's, that of a job on Databricks) is used as it is: of its
    settings only ``SEMANTICS`` are set, which may change while it runs. Under ``spark-submit`` the
    JVM runs already and must have been started with Delta. In a plain Python process the JVM is
    started here, with Delta's jars, and what it prints goes to ``log`` and not over the job's
    progress.

    Args:
        log: file for the output of a JVM that is started here.
        settings: Spark settings of a session that is started here, over the defaults.
        scratch: folder that such a session spills to; Spark's own choice by default.

    Raises:
        SetupError: no Java, no Delta classes, or Delta's jars could not be fetched.
    """
    spark = given_session()
    if spark is None and "PYSPARK_GATEWAY_PORT" in os.environ:
        spark = SparkSession.builder.getOrCreate()
    if spark is None:
        places = {} if scratch is None else _places(scratch)
        spark = _start(log, LOCAL | DELTA | SEMANTICS | places | (settings or {}))
    # The runtime of Databricks has Delta built in, and no extension that says so.
    extensions = spark.conf.get("spark.sql.extensions", "") or ""
    if "DeltaSparkSessionExtension" not in extensions and not on_databricks():
        raise SetupError(
            "this Spark session was started without Delta Lake",
            expected="spark.sql.extensions with io.delta.sql.DeltaSparkSessionExtension",
            got=f"spark.sql.extensions = '{extensions}'",
            fix="spark-submit --properties-file conf/spark/local.conf (it holds the package and the "
            "two settings), or run the job with plain python",
        )
    for key, value in SEMANTICS.items():
        spark.conf.set(key, value)
    _quieted()
    return spark


def _places(scratch: Path) -> dict[str, str]:
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {
        "spark.local.dir": str(scratch),
        "spark.driver.extraJavaOptions": f"-Djava.io.tmpdir={scratch}",
        "spark.executorEnv.TMPDIR": str(scratch),
    }


def _start(log: Path, settings: dict[str, str]) -> SparkSession:
    from delta import configure_spark_with_delta_pip

    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise SetupError(
            "Spark needs Java and none was found",
            expected="Java 17 or newer on PATH, or JAVA_HOME",
            got="neither",
            fix="Debian/Ubuntu: apt-get install openjdk-17-jre-headless; Fedora: dnf install "
            "java-17-openjdk-headless; macOS: brew install openjdk@17; conda: conda install "
            "-c conda-forge openjdk=17",
        )
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Spark's own modules warn of pyarrow's future; a person watching a job can do nothing about it.
    os.environ.setdefault("PYTHONWARNINGS", settings["spark.executorEnv.PYTHONWARNINGS"])
    builder = SparkSession.builder.appName("reweight")
    for key, value in settings.items():
        builder = builder.config(key, value)
    log.parent.mkdir(parents=True, exist_ok=True)
    # The JVM inherits our stdout and stderr when it is launched: lend it the log's for that moment.
    sys.stdout.flush()
    sys.stderr.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            return configure_spark_with_delta_pip(builder).getOrCreate()
        except Exception as error:
            raise _failed_start(log, error) from error
        finally:
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.close(stdout)
            os.close(stderr)


def _quieted() -> None:
    """Spark 4 logs an error of SQL as one long line of JSON, and raises it: once is enough."""
    with contextlib.suppress(ImportError):
        from pyspark.logger import PySparkLogger

        for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
            PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)


def _failed_start(log: Path, error: Exception) -> SetupError:
    text = log.read_text(errors="replace")[-20_000:]
    if "unresolved dependency" in text or "Server access error" in text:
        return SetupError(
            "the jars of Delta Lake could not be fetched",
            expected="Maven Central (or the mirror of ~/.ivy2) within reach, once, for about 8 MB",
            got="no answer; see " + str(log),
            fix="on a machine without a network put delta-spark and delta-storage in a folder and "
            "set spark.jars to them in conf/spark/local.conf",
        )
    return SetupError(
        "Spark did not start",
        expected="a JVM of Java 17 or newer",
        got=(str(error).splitlines() or [type(error).__name__])[0],
        fix=f"read {log}",
    )
