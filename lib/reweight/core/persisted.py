"""Rows that are computed once and read several times.

Spark keeps them on its disks. Where a server refuses that (serverless compute), they are Parquet in
a folder of the run, which is removed at the end, or by the next attempt if this one is killed. Who
keeps rows first frees them: a block within that asks for the same rows leaves them as they are.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
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


def keep(rows: DataFrame, until: ExitStack) -> None:
    """Lets Spark compute rows once until a stack is closed; does nothing where a server refuses.

    Args:
        rows: rows that can be read again at little cost, so that no copy of them is worth writing.
        until: frees them when it is closed.
    """
    with suppress(PySparkException):
        until.enter_context(_by_spark(rows))


def _computed_once(rows: DataFrame) -> AbstractContextManager[DataFrame]:
    folder = _STAGING.get()
    try:
        return _by_spark(rows)
    except PySparkException:
        if folder is None:
            raise
    return _staged(rows, folder / uuid.uuid4().hex)


def _by_spark(rows: DataFrame) -> AbstractContextManager[DataFrame]:
    level = rows.storageLevel
    if level.useDisk or level.useMemory:
        return nullcontext(rows)
    return _freed(rows.persist(StorageLevel.DISK_ONLY))


@contextmanager
def _freed(rows: DataFrame) -> Iterator[DataFrame]:
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
