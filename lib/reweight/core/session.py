"""The Spark session and its settings, for a laptop, spark-submit and notebooks alike."""

import contextlib
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock
from pyspark.sql import SparkSession

from reweight.core.errors import SetupError
from reweight.core.session_kind import set_settings

_LOG = logging.getLogger(__name__)

# For the same rows and counts in every session: Spark 3.5 and 4 have different defaults, and those
# of a given session may be any. Nothing is guessed from values.
SEMANTICS = {
    "spark.sql.ansi.enabled": "false",
    "spark.sql.legacy.timeParserPolicy": "CORRECTED",
    "spark.sql.session.timeZone": "UTC",
    # Folders such as shop=007 are text: a guess would make 7 of it.
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # All encodings that Java has; what cannot be decoded is marked, and no error.
    "spark.sql.legacy.javaCharsets": "true",
    "spark.sql.legacy.codingErrorAction": "true",
    # What a commit wrote is counted by Delta, and read from the table's history.
    "spark.databricks.delta.history.metricsEnabled": "true",
}

# For few rows, where planning a query takes longer than running it: no generated code, and no plans
# that adapt. A write and a read take half of their time.
FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
FEW = 10_000

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}

# Settings of a session started by this process; for spark-submit they are in conf/spark/*.conf.
LOCAL = {
    "spark.master": "local[*]",
    "spark.driver.memory": "2g",
    # On two cores, 40 % of a small run went into the JVM's second compiler, for code that was over
    # too soon to pay for it: it waits ten times as long.
    "spark.driver.defaultJavaOptions": "-XX:Tier4InvocationThreshold=50000 "
    "-XX:Tier4MinInvocationThreshold=6000 -XX:Tier4CompileThreshold=150000 "
    "-XX:Tier4BackEdgeThreshold=400000",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "8",
    "spark.databricks.delta.snapshotPartitions": "2",
    # With fewer slots than ranks, fail within seconds, not after ten silent minutes.
    "spark.scheduler.barrier.maxConcurrentTasksCheck.interval": "2s",
    "spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures": "3",
    "spark.executorEnv.PYTHONWARNINGS": "ignore::FutureWarning,ignore::UserWarning",
}


def given_session() -> SparkSession | None:
    """The session that someone else started and will stop, or None.

    A notebook may have an active one; on Databricks every process has one, active or not.
    """
    active = SparkSession.getActiveSession()
    if active is None and on_databricks():
        return SparkSession.builder.getOrCreate()
    return active


def on_databricks() -> bool:
    """Whether this process runs on a Databricks cluster."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


@contextlib.contextmanager
def borrowed(spark: SparkSession) -> Iterator[SparkSession]:
    """A given session whose own SQL settings are restored after the block."""
    with _restored(spark, SEMANTICS):
        yield spark


@contextlib.contextmanager
def planned_for(spark: SparkSession, rows: float) -> Iterator[None]:
    """Within the block, queries are planned for so many rows; results do not depend on it."""
    if rows > FEW:
        yield
        return
    with _restored(spark, FEW_ROWS):
        set_settings(spark, FEW_ROWS)
        yield


@contextlib.contextmanager
def _restored(spark: SparkSession, keys: Iterable[str]) -> Iterator[None]:
    before = {key: spark.conf.get(key, None) for key in keys}
    try:
        yield
    finally:
        set_settings(spark, before)


def spark_session(
    log: Path, settings: dict[str, str] | None = None, scratch: Path | None = None
) -> SparkSession:
    """Returns the existing session, or starts one.

    An existing session (of a notebook, or of a job on Databricks) is used as it is, except for
    ``SEMANTICS``, which can be set while it runs. Under ``spark-submit`` the JVM is already running
    and must have been started with Delta. In a plain Python process the JVM is started here, with
    Delta's jars, and its output goes to ``log`` so that it does not clutter the job's progress.

    The setting ``spark.remote`` (or the variable ``SPARK_REMOTE``) makes this process a client of
    Spark Connect: of a server, ``sc://host``, or of one that is started here, ``local[2]``.

    Args:
        log: file for the output of a JVM that is started here.
        settings: Spark settings for a session that is started here; they override the defaults.
        scratch: folder to which such a session spills; by default Spark's own choice.

    Raises:
        SetupError: Java or the Delta classes are missing, Delta's jars could not be fetched, or
            the scratch folder is not this user's own.
    """
    spark = given_session()
    if spark is None and "PYSPARK_GATEWAY_PORT" in os.environ:
        spark = SparkSession.builder.getOrCreate()
    if spark is None:
        spilling = {} if scratch is None else _scratch_settings(scratch)
        spark = _start(log, LOCAL | DELTA | SEMANTICS | spilling | (settings or {}))
    # The Databricks runtime has Delta built in, without naming it among the extensions.
    extensions = spark.conf.get("spark.sql.extensions", "") or ""
    if "DeltaSparkSessionExtension" not in extensions and not on_databricks():
        raise SetupError(
            "this Spark session was started without Delta Lake",
            expected="spark.sql.extensions with io.delta.sql.DeltaSparkSessionExtension",
            got=f"spark.sql.extensions = '{extensions}'",
            fix="run spark-submit --properties-file conf/spark/local.conf (it has the package and "
            "the two settings), or run the job with plain python",
        )
    if refused := set_settings(spark, SEMANTICS):
        _LOG.warning("this server does not let a client set %s", ", ".join(refused))
    _silence_sql_logs()
    return spark


def _scratch_settings(scratch: Path) -> dict[str, str]:
    with contextlib.suppress(FileExistsError):
        scratch.mkdir(mode=0o700, parents=True)
    _check_own(scratch)
    return {
        "spark.local.dir": str(scratch),
        # In quotes, since options end at spaces.
        "spark.driver.extraJavaOptions": f'-Djava.io.tmpdir="{scratch}"',
        "spark.executorEnv.TMPDIR": str(scratch),
    }


def _check_own(folder: Path) -> None:
    """Refuses a folder that others may read or replace, since everybody can foresee its name."""
    facts = folder.lstat()
    if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o077:
        return
    raise SetupError(
        "Spark's scratch folder may be used by others",
        expected=f"{folder} as a folder of uid {os.getuid()} without rights for others",
        got=f"{stat.filemode(facts.st_mode)} of uid {facts.st_uid}",
        fix="remove it, or set the variable TMPDIR to a folder of your own",
    )


def _start(log: Path, settings: dict[str, str]) -> SparkSession:
    remote = settings.get("spark.remote") or os.environ.get("SPARK_REMOTE", "")
    of_server = remote.startswith("sc:")
    if not of_server:
        _check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    if remote:
        # The one names the place of the server, the other that of its executors.
        settings = {k: v for k, v in settings.items() if k not in ("spark.master", "spark.remote")}
    # Spark's own modules trigger warnings of pyarrow, which a user can do nothing about.
    os.environ.setdefault("PYTHONWARNINGS", settings["spark.executorEnv.PYTHONWARNINGS"])
    builder = SparkSession.builder.appName("reweight")
    if remote:
        builder = builder.remote(remote)
    for key, value in settings.items():
        builder = builder.config(key, value)
    log.parent.mkdir(parents=True, exist_ok=True)
    # The JVM inherits stdout and stderr when it is launched, so both go to the log for that moment.
    sys.stdout.flush()
    sys.stderr.flush()
    stdout, stderr = os.dup(1), os.dup(2)
    with log.open("ab") as sink:
        begin = sink.tell()
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            if of_server:
                return builder.getOrCreate()
            # Two JVMs that fetch Delta's jars at once spoil each other's cache.
            with FileLock(Path(tempfile.gettempdir()) / f"reweight-{os.getuid()}-jars.lock"):
                return _with_delta(builder, settings).getOrCreate()
        except Exception as error:
            raise _failed_start(log, begin, error, remote) from error
        finally:
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            os.close(stdout)
            os.close(stderr)


def _silence_sql_logs() -> None:
    """Silences the loggers with which Spark 4 repeats every SQL error as a long line of JSON."""
    with contextlib.suppress(ImportError):
        from pyspark.logger import PySparkLogger

        for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
            PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)


def _check_java() -> None:
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise SetupError(
            "Spark needs Java and none was found",
            expected="Java 17 or newer on PATH, or JAVA_HOME",
            got="neither",
            fix="install Java; Debian/Ubuntu: apt-get install openjdk-17-jre-headless; Fedora: dnf "
            "install java-17-openjdk-headless; macOS: brew install openjdk@17; conda: conda "
            "install -c conda-forge openjdk=17",
        )


def _with_delta(builder: SparkSession.Builder, settings: Mapping[str, str]) -> SparkSession.Builder:
    """The builder with Delta's jars: those that ``spark.jars`` names, or else fetched ones."""
    from delta import configure_spark_with_delta_pip

    if "delta-spark" in settings.get("spark.jars", ""):
        # Set, since the environment may have a default that would be fetched.
        return builder.config("spark.jars.packages", settings.get("spark.jars.packages", ""))
    return configure_spark_with_delta_pip(builder)


def _failed_start(log: Path, begin: int, error: Exception, remote: str) -> SetupError:
    """The named error about a session that did not start.

    Args:
        log: file with the output of the JVM.
        begin: where in it the output of this start begins.
        error: what was raised.
        remote: the address of a server of Spark Connect; empty if there is none.
    """
    # Earlier attempts may have failed for another reason.
    text = log.read_bytes()[begin:][-20_000:].decode(errors="replace")
    got = (str(error).splitlines() or [type(error).__name__])[0]
    if "unresolved dependency" in text or "Server access error" in text:
        return SetupError(
            "the jars of Delta Lake could not be fetched",
            expected="access to Maven Central (or a mirror set in ~/.ivy2), once, for about 8 MB",
            got=f"no answer; see {log}",
            fix="on a machine without network access, put the jars of delta-spark and "
            "delta-storage into a folder and add their paths to the command: 'spark={spark.jars: "
            '"/jars/delta-spark.jar,/jars/delta-storage.jar"}\'',
        )
    if "PACKAGE_NOT_INSTALLED" in got:
        return SetupError(
            "this environment cannot be a client of Spark Connect",
            expected="the packages of the extra `connect`",
            got=got,
            fix="pip install 'reweight[connect]', or leave out spark.remote and SPARK_REMOTE",
        )
    if remote.startswith("sc:"):
        return SetupError(
            "the server of Spark Connect cannot be used",
            expected=f"a server at {remote}",
            got=got,
            fix="correct the address in spark.remote or SPARK_REMOTE, or start the server",
        )
    return SetupError(
        "Spark did not start",
        expected="a JVM of Java 17 or newer",
        got=got,
        fix=f"read {log}",
    )
