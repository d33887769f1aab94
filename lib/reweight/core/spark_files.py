"""Files and tables as Spark sees them, in both kinds of session.

Over Spark Connect, files are read where they are mounted on this machine, and by Spark's own
readers where they are not.
"""

import re
import shutil
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from delta.tables import DeltaTable
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from reweight.core.ddl import creation
from reweight.core.local_paths import Listing, here, listed_here
from reweight.core.section import quoted
from reweight.core.session_kind import is_connect

# Beyond, the first bytes of a file would cost more than they can save.
_PEEKED = 64 << 20


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
