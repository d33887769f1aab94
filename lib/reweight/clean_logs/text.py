"""Files of text -> lines that carry their file and what the names of its folders say."""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame, SparkSession
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
    file = files.source_file(lines).alias("_source_file")
    # As Spark's reader of CSV: a line of blanks and control characters is no row.
    is_row = F.col("_raw").rlike(r"[^\x00-\x20]")
    if encoding.upper() in ("UTF-8", "UTF8"):
        # Of the bytes as they are, since Spark would compute the text once more for a condition.
        return lines.where(is_row).select(_valid(F.col("_raw")).alias("_raw"), file, *folders)
    text = F.decode(F.col("_raw").cast("binary"), encoding)
    return lines.select(text.alias("_raw"), file, *folders).where(is_row)


def _valid(text: Column) -> Column:
    """The text, with a replacement character for bytes that are not UTF-8."""
    # It keeps valid text as it is, and makes valid text of bytes that are not.
    replaced = F.regexp_replace(text, "\ufffd", "\ufffd")
    if (is_valid := getattr(F, "is_valid_utf8", None)) is None:  # not in PySpark 3.5
        return replaced
    return F.when(is_valid(text), text).otherwise(replaced)
