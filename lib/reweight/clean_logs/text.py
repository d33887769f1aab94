"""Files of text -> lines that carry their file and what the names of its folders say."""

from collections.abc import Mapping

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from reweight.clean_logs.files import WHOLE, Files


def text_lines(spark: SparkSession, files: Files, options: Mapping[str, str]) -> DataFrame:
    """The lines that are not blank.

    Args:
        spark: the session.
        files: where they are.
        options: of a reader; ``encoding`` is that of the files.

    Returns:
        ``_raw``, ``_source_file``, and the columns of folders such as ``day=2026-01-31``, as text.
    """
    reader = spark.read.options(**{**options, **files.options, **WHOLE}).schema("_raw string")
    lines = reader.text(files.read)
    folders = [c for c in lines.columns if c != "_raw"]
    encoding = options.get("encoding", options.get("charset", "UTF-8"))
    text = (
        # The replacement keeps valid text as it is, and makes valid text of bytes that are not.
        F.regexp_replace("_raw", "\ufffd", "\ufffd")
        if encoding.upper() in ("UTF-8", "UTF8")
        else F.decode(F.col("_raw").cast("binary"), encoding)
    )
    lines = lines.select(
        text.alias("_raw"), files.source_file(lines).alias("_source_file"), *folders
    )
    # As Spark's reader of CSV: a line of blanks and control characters is no row.
    return lines.where(F.col("_raw").rlike(r"[^\x00-\x20]"))
