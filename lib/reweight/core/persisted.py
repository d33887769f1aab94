"""Rows that are computed once and read several times.

Spark keeps them on its disks. Where a server refuses that (serverless compute), they are Parquet in
a folder of the run, which is removed at the end, or by the next attempt if this one is killed.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path

from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

_STAGING: ContextVar[Path | None] = ContextVar("staging", default=None)


@contextmanager
def staged_in(folder: Path) -> Iterator[None]:
    """Names the folder for rows that Spark does not keep; empties it before and after.

    Args:
        folder: seen by the driver and the executors.
    """
    shutil.rmtree(folder, ignore_errors=True)
    token = _STAGING.set(folder)
    try:
        yield
    finally:
        _STAGING.reset(token)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def persisted(rows: DataFrame) -> Iterator[DataFrame]:
    """Computes rows once for all uses within the block.

    Args:
        rows: the rows; only those that the block gets are computed once.

    Yields:
        The same rows.
    """
    with _computed_once(rows) as computed:
        yield computed


def _computed_once(rows: DataFrame) -> AbstractContextManager[DataFrame]:
    folder = _STAGING.get()
    try:
        return _by_spark(rows.persist(StorageLevel.DISK_ONLY))
    except PySparkException:
        if folder is None:
            raise
    return _staged(rows, folder / uuid.uuid4().hex)


@contextmanager
def _by_spark(rows: DataFrame) -> Iterator[DataFrame]:
    try:
        yield rows
    finally:
        rows.unpersist()


@contextmanager
def _staged(rows: DataFrame, place: Path) -> Iterator[DataFrame]:
    try:
        rows.write.parquet(str(place.absolute()))
        yield rows.sparkSession.read.schema(rows.schema).parquet(str(place.absolute()))
    finally:
        shutil.rmtree(place, ignore_errors=True)
