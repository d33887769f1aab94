"""The two kinds of Spark session, and what differs between them: nothing else asks.

A classic session has a JVM beside this process. A session of Spark Connect is only a client: it has
no SparkContext, no RDDs and no JVM, as on Databricks clusters of standard access mode. What differs
about files is in ``spark_files``.
"""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from pyspark import SparkContext
from pyspark.errors import PySparkException
from pyspark.ml.classification import LogisticRegressionModel
from pyspark.ml.common import _py2java
from pyspark.ml.linalg import Vectors
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.util import inheritable_thread_target

from reweight.core.errors import SetupError

# A message of Spark Connect holds at most 128 MiB, and a query may hold two functions.
SENT_LIMIT = 60 << 20

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


@contextmanager
def history_cut(spark: SparkSession, folder: Path | None) -> Iterator[None]:
    """Lets iterations of Spark ML begin anew from files now and then.

    Otherwise each task is sent all that led to its rows, however many iterations that is, and some
    tens of them overflow the stack of an executor, which ends.

    Args:
        spark: the session; a client of Spark Connect leaves it to its server.
        folder: seen by the driver and the executors, and empty before and after; None for one of
            this machine, if the executors are here.
    """
    if is_connect(spark) or (folder is None and not master(spark).startswith("local[")):
        yield
        return
    context: Any = spark.sparkContext._jsc.sc()
    before = context.checkpointDir()
    place = Path(tempfile.mkdtemp(prefix="reweight-history-")) if folder is None else folder
    shutil.rmtree(place, ignore_errors=True)
    context.setCheckpointDir(str(place.absolute()))
    try:
        yield
    finally:
        getattr(context, "checkpointDir_$eq")(before)
        shutil.rmtree(place, ignore_errors=True)


def _interrupt(spark: SparkSession, tag: str) -> None:
    spark.interruptTag(tag)


def can_build_models(spark: SparkSession) -> bool:
    """Whether fitted models of Spark ML can be made of their parts: only beside a JVM."""
    return not is_connect(spark)


def linear_model(
    like: LogisticRegressionModel, coefficients: NDArray[np.float64]
) -> LogisticRegressionModel:
    """A logistic regression with other coefficients, same intercept; see ``can_build_models``.

    Args:
        like: a fitted model.
        coefficients: float64 [D].
    """
    context: Any = SparkContext._active_spark_context
    jvm: Any = context._jvm
    kind = jvm.org.apache.spark.ml.classification.LogisticRegressionModel
    vector = _py2java(context, Vectors.dense(coefficients))
    return LogisticRegressionModel(kind(like.uid, vector, float(like.intercept)))


def saver_of(spark: SparkSession) -> Any:
    """What Spark ML's functions for metadata take: Spark 3.5 knows only the context there."""
    return spark if is_connect(spark) else spark.sparkContext
