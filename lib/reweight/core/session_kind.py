"""The two kinds of Spark session, and all that differs between them: nothing else asks.

A classic session has a JVM beside this process. A session of Spark Connect is only a client: it has
no SparkContext, no RDDs and no JVM, as on Databricks clusters of standard access mode. There, files
are read where they are mounted on this machine, and by Spark's own readers where they are not.
"""

import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType
from pyspark.util import inheritable_thread_target

from reweight.core.ddl import creation
from reweight.core.errors import SetupError
from reweight.core.local_paths import Listing, here, listed_here
from reweight.core.section import quoted

# A message of Spark Connect holds at most 128 MiB, and a query may hold two functions.
SENT_LIMIT = 60 << 20
# Beyond, the first bytes of a file would cost more than they can save.
_PEEKED = 64 << 20

_T = TypeVar("_T")
_R = TypeVar("_R")
_slots: "WeakKeyDictionary[SparkSession, int]" = WeakKeyDictionary()


def is_connect(spark: SparkSession) -> bool:
    """Whether the session is a client of Spark Connect."""
    return ".connect." in type(spark).__module__


def slots(spark: SparkSession) -> int:
    """The number of tasks that the session runs at a time."""
    if not is_connect(spark):
        return int(spark.sparkContext.defaultParallelism)
    if spark not in _slots:
        # No setting says it for all servers; Spark cuts a range into as many parts.
        parts = spark.range(1 << 12).select(F.spark_partition_id().alias("part")).distinct()
        _slots[spark] = max(1, parts.count())
    return _slots[spark]


def partitions(rows: DataFrame) -> int:
    """The number of partitions of the rows; over Spark Connect that of those with rows."""
    if not is_connect(rows.sparkSession):
        classic: Any = rows
        return int(classic.rdd.getNumPartitions())
    return max(1, rows.select(F.spark_partition_id().alias("part")).distinct().count())


def master(spark: SparkSession) -> str:
    """Where the executors are, in Spark's words; what cannot be known is not local."""
    if not is_connect(spark):
        return str(spark.sparkContext.master)
    session: Any = spark
    client = session.client
    near = client.host in ("localhost", "127.0.0.1", "[::1]")
    return (spark.conf.get("spark.master", "") or "") if near else f"Spark Connect, {client.host}"


def set_settings(spark: SparkSession, settings: Mapping[str, str | None]) -> list[str]:
    """Sets SQL settings, or their defaults; returns those that a server refuses a client."""
    refused = []
    for key, value in settings.items():
        try:
            if value is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, value)
        except PySparkException:
            if not is_connect(spark):
                raise
            refused.append(key)
    return refused


def check_sent(spark: SparkSession, size: int, what: str) -> None:
    """Refuses what is too large to travel inside a function.

    Args:
        spark: the session.
        size: bytes.
        what: what is sent, for the message.

    Raises:
        SetupError: it is too large for a message of Spark Connect.
    """
    if size > SENT_LIMIT and is_connect(spark):
        raise SetupError(
            f"{what} are too large for Spark Connect",
            expected=f"at most {SENT_LIMIT >> 20} MiB, half of what a message can hold",
            got=f"{size / (1 << 20):.0f} MiB",
            fix="use fewer methods, a smaller `training.hidden`, fewer members or smaller "
            "`features.categorical.*.buckets`; or a classic session (a cluster of dedicated access "
            "mode, spark-submit)",
        )


def analysed(rows: DataFrame) -> DataFrame:
    """The rows; errors in their columns are raised now, while a client alone would wait."""
    if is_connect(rows.sparkSession):
        _ = rows.schema
    return rows


@contextmanager
def cancellable(spark: SparkSession) -> Iterator[Callable[[], None]]:
    """Lets another thread cancel the jobs that this one starts.

    Yields:
        A function that cancels them, tasks that run Python included.
    """
    tag = f"reweight-{uuid.uuid4().hex}"
    if is_connect(spark):
        spark.addTag(tag)
        try:
            yield lambda: _interrupt(spark, tag)
        finally:
            spark.removeTag(tag)
        return
    context = spark.sparkContext
    context.addJobTag(tag)
    context.setInterruptOnCancel(True)
    try:
        yield lambda: context.cancelJobsWithTag(tag)
    finally:
        context.setInterruptOnCancel(False)
        context.removeJobTag(tag)


def side_by_side(
    spark: SparkSession, function: Callable[[_T], _R], items: Sequence[_T], at_once: int
) -> list[_R]:
    """Calls a function that starts Spark jobs on each item; a classic session does several at once.

    Their jobs have the tags and the job group of this thread's.

    Args:
        spark: the session.
        function: what is called; it must not share what it changes.
        items: its arguments.
        at_once: number of calls at once; with 1 they are made in this thread.

    Returns:
        The results, in the order of the items.
    """
    # In a client, Spark ML finds its session in this thread only.
    if at_once == 1 or is_connect(spark):
        return [function(item) for item in items]
    # Its warning is of the tags of Spark Connect; a classic session's are local properties.
    with warnings.catch_warnings(action="ignore"):
        inheriting = inheritable_thread_target(function)
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(inheriting, items))


def _interrupt(spark: SparkSession, tag: str) -> None:
    spark.interruptTag(tag)


def is_delta(spark: SparkSession, folder: str) -> bool:
    """Whether the folder is that of a Delta table."""
    if not is_connect(spark):
        return bool(DeltaTable.isDeltaTable(spark, folder))
    # Delta's own class needs a plugin of the server.
    try:
        spark.sql(f"DESCRIBE HISTORY delta.{quoted(folder)} LIMIT 1").collect()
    except PySparkException:
        return False
    return True


def make_delta(
    spark: SparkSession, folder: str, columns: StructType, properties: Mapping[str, str]
) -> None:
    """Creates a Delta table in a folder, partitioned by ``run_id``, if there is none.

    Raises:
        PySparkException: something else is in the folder; the message has Delta's name for it.
    """
    if not is_connect(spark):
        builder = DeltaTable.createIfNotExists(spark).location(folder)
        builder.addColumns(columns).partitionedBy("run_id")
        for key, value in properties.items():
            builder.property(key, value)
        builder.execute()
        return
    # SQL would make a table around the files of others.
    if listed(spark, folder).under and not is_delta(spark, folder):
        raise PySparkException(f"[DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION] {folder}")
    spark.sql(creation(f"delta.{quoted(folder)}", columns, properties))


def saver_of(spark: SparkSession) -> Any:
    """What Spark ML's functions for metadata take: Spark 3.5 knows only the context there."""
    return spark if is_connect(spark) else spark.sparkContext


def metadata_column(rows: DataFrame, name: str) -> Column:
    """A metadata column of files, even if the rows have a column of its name."""
    if (method := getattr(rows, "metadataColumn", None)) is not None:  # not in PySpark 3.5
        column: Column = method(name)
        return column
    plan: Any = rows._jdf
    return Column(plan.metadataColumn(name))


def input_files(rows: DataFrame, unless: int) -> list[str] | None:
    """The names of the files that the rows are read from; None if there are `unless` of them."""
    # Fetching the names costs a call each, where there is a JVM.
    if not is_connect(rows.sparkSession):
        plan: Any = rows
        if len(plan._jdf.inputFiles()) == unless:
            return None
    names = [unquote(name) for name in rows.inputFiles()]
    return None if len(names) == unless else names


def listed(spark: SparkSession, path: str) -> Listing:
    """Lists the files under a path.

    Over Spark Connect, files that this machine does not see are listed by Spark's reader, which
    leaves out hidden ones.
    """
    if not is_connect(spark):
        return _listed_by_hadoop(spark, path)
    return listed_here(path) if here(path) is not None else _listed_by_reader(spark, path)


def _listed_by_hadoop(spark: SparkSession, path: str) -> Listing:
    jvm: Any = spark._jvm
    hadoop = jvm.org.apache.hadoop.fs
    place = hadoop.Path(path)
    system = place.getFileSystem(_hadoop_settings(spark))
    exists = bool(system.exists(place))
    matching: Any = [system.getFileStatus(place)] if exists else system.globStatus(place) or ()
    roots = [(str(status.getPath()), bool(status.isDirectory())) for status in matching]
    under: list[str] = []
    for root, is_folder in roots:
        if is_folder:
            below = system.listFiles(hadoop.Path(root), True)
            files = jvm.org.apache.hadoop.util.functional.RemoteIterators.toList(below)
            # Printed in one call, since fetching them costs several calls each.
            under += re.findall(r"\{path=(.*?); isDirectory=", files.toString(), re.DOTALL)
        else:
            under.append(root)
    return Listing(exists, roots, under)


def _listed_by_reader(spark: SparkSession, path: str) -> Listing:
    for exists in (True, False):
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        if exists:
            reader = reader.option("__globPaths__", "false")
        try:
            # Names only: the content is not selected, so no file is opened.
            files = sorted(row[0] for row in reader.load(path).select("path").collect())
        except PySparkException:
            continue
        is_file = len(files) == 1 and files[0].rstrip("/").endswith(path.rstrip("/"))
        if exists:
            return Listing(True, [(path, not is_file)], files)
        return Listing(False, [(file, False) for file in files], files)
    return Listing(False)


def first_bytes(spark: SparkSession, file: str, count: int) -> bytes:
    """The first bytes of a file; none where only reading all of it would tell."""
    if (place := here(file)) is not None and (file.startswith("file:") or is_connect(spark)):
        with place.open("rb") as local:
            return local.read(count)
    if is_connect(spark):
        frame = spark.read.format("binaryFile").option("__globPaths__", "false").load(file)
        small = frame.where(F.col("length") <= _PEEKED)
        row = small.select(F.substring("content", 1, count).alias("first")).first()
        return bytes(row["first"]) if row else b""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(file)
    with closing(path.getFileSystem(_hadoop_settings(spark)).open(path)) as stream:
        numbers = [stream.read() for _ in range(count)]
    return bytes(number for number in numbers if number >= 0)


def drop_empty_log(spark: SparkSession, folder: str) -> None:
    """Removes the log of a Delta table that has no commit, over which none can be created."""
    log = f"{folder}/_delta_log"
    if is_connect(spark):
        place = here(log)
        if place is not None and place.is_dir() and not list(place.glob("[0-9]*")):
            shutil.rmtree(place, ignore_errors=True)
        return
    jvm: Any = spark._jvm
    path: Any = jvm.org.apache.hadoop.fs.Path
    files = path(log).getFileSystem(_hadoop_settings(spark))
    # With a commit it is a table, even if the catalog does not know it.
    if not files.globStatus(path(path(log), "[0-9]*")):
        files.delete(path(log), True)


def upload(spark: SparkSession, folder: Path, target: str) -> None:
    """Copies a folder of this machine to where Spark keeps files (HDFS, S3, DBFS)."""
    if not is_connect(spark):
        jvm: Any = spark._jvm
        path = jvm.org.apache.hadoop.fs.Path
        files = path(target).getFileSystem(_hadoop_settings(spark))
        files.copyFromLocalFile(False, True, path(str(folder)), path(target))
    elif (place := here(target)) is not None:
        shutil.copytree(folder, place, dirs_exist_ok=True)
    else:
        remote: Any = spark
        for file in sorted(f for f in folder.rglob("*") if f.is_file()):
            remote.copyFromLocalToFs(str(file), f"{target}/{file.relative_to(folder).as_posix()}")


def download(spark: SparkSession, source: str, folder: Path) -> None:
    """Copies a small folder from where Spark keeps files to this machine."""
    if not is_connect(spark):
        jvm: Any = spark._jvm
        path = jvm.org.apache.hadoop.fs.Path
        files = path(source).getFileSystem(_hadoop_settings(spark))
        # As plain files, without the checksum files that Hadoop would write beside them.
        files.copyToLocalFile(False, path(source), path(str(folder)), True)
    elif (place := here(source)) is not None:
        shutil.copytree(place, folder, dirs_exist_ok=True)
    else:
        reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
        for row in reader.load(source).select("path", "content").collect():
            file = folder / row["path"].rpartition(source.rstrip("/") + "/")[2]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(row["content"])


def _hadoop_settings(spark: SparkSession) -> Any:
    context: Any = spark._jsc
    return context.hadoopConfiguration()
