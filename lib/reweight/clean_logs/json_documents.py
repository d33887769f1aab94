"""JSON documents -> rows; a line holds one, or several one after the other."""

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    DateType,
    IntegerType,
    StringType,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from reweight.clean_logs.files import Files
from reweight.clean_logs.raw import as_text, check_free
from reweight.clean_logs.section import Source
from reweight.clean_logs.text import text_lines
from reweight.core.errors import SourceError
from reweight.core.expressions import in_short
from reweight.core.section import quoted
from reweight.core.storable import parts

# Between two documents. Inside of one it stands in texts alone, and no part of a cut text is a
# whole document.
_BETWEEN = r"(?<=\})\s*(?=\{)"
# Whether there is such a place: a pattern that begins with a character is searched much faster.
_HAS_BETWEEN = r"\}\s*\{"
_TIMES = (DateType, TimestampType, TimestampNTZType)


def read_json(spark: SparkSession, source: Source, key: str, files: Files) -> DataFrame:
    """The rows of JSON files, a row for each document.

    A line with anything but whole documents does not parse, and is kept as it is.

    Raises:
        SourceError: there is no schema, or it has times or a column that the folders have.
    """
    if source.schema_ is None:
        raise SourceError(
            f"the JSON source {source.place} has no schema",
            expected="`schema`: the DDL of one document, such as 'id bigint, name string'",
            got="none",
            fix="add `schema` to the source; fields that no column uses can be left out",
        )
    document = _document(spark, source.schema_, key)
    lines = text_lines(spark, files, {})
    folders = [c for c in lines.columns if c not in ("_raw", "_source_file")]
    pieces = F.split("_raw", _BETWEEN)
    several = F.col("_raw").rlike(_HAS_BETWEEN) & F.forall(pieces, _is_document)
    documents = F.when(several, pieces).otherwise(F.array("_raw"))
    rows = lines.withColumn("_raw", F.explode(documents))
    # Spark stops at the end of a document, whatever follows. With an array around it, Spark has to
    # go on: there is one document, and the length shows that Spark came to the end.
    around = F.concat(
        F.lit('{"documents":['), F.col("_raw"), F.lit('],"length":'), F.length("_raw"), F.lit("}")
    )
    schema = StructType().add("documents", ArrayType(document)).add("length", IntegerType())
    schema = schema.add("_text", StringType())
    rows = rows.select(
        "*", F.from_json(around, schema, {"columnNameOfCorruptRecord": "_text"}).alias("_parsed")
    )
    rows = rows.select("*", F.col("_parsed.documents")[0].alias("_document"))
    names = document.names
    check_free(key, names)
    if shared := sorted({c for c in folders if c.lower() in {name.lower() for name in names}}):
        raise SourceError(
            f"the schema and the folders of cleaning.{key} have columns of one name",
            expected="names of folders, such as day=2026-01-31, that no field has",
            got=str(shared),
            fix="leave these fields out of `schema` to have those of the folders; for those of the "
            f"documents, let the path end in the names of files: {source.place}/*/*.json",
        )
    is_whole = (
        F.col("_document").isNotNull()
        & (F.size("_parsed.documents") == 1)
        & F.col("_parsed._text").isNull()
        & (F.col("_parsed.length") == F.length("_raw"))
    )
    rows = rows.select(
        "_document.*",
        *[F.col(quoted(c)) for c in folders],
        F.coalesce(~is_whole, F.lit(True)).alias("_malformed"),
        "_raw",
        "_source_file",
        F.lit(None).cast("string").alias("_left_out"),
    )
    if not folders:
        return rows
    text = F.when(F.col("_malformed"), F.col("_raw")).otherwise(_with_folders(folders))
    return rows.withColumn("_raw", text)


def _document(spark: SparkSession, schema: str, key: str) -> StructType:
    """The schema, without times: for Spark ``10:11:12`` is today, and milliseconds are seconds."""
    try:
        document = spark.createDataFrame([], schema).schema
    except PySparkException as error:
        raise SourceError(
            f"the schema of cleaning.{key} cannot be read",
            expected="the DDL of one document, such as 'id bigint, name string'",
            got=f"{schema}: {in_short(error)}",
            fix=f"correct cleaning.{key}.schema",
        ) from error
    kinds = {at: t for f in document for at, t in parts(f.name, f.dataType)}
    times = {at: t.simpleString() for at, t in kinds.items() if isinstance(t, _TIMES)}
    if times:
        first = next(iter(times))
        raise SourceError(
            f"the schema of cleaning.{key} has times",
            expected="texts and numbers, as the documents have them: the columns of cleaning read "
            "times, with their unit, format and checks",
            got=", ".join(f"{at} {kind}" for at, kind in times.items()),
            fix=f"write {first} string (bigint for a number) in the schema, and "
            f"try_to_timestamp({first}) (timestamp_millis({first})) in the columns",
        )
    return document


def _is_document(text: Column) -> Column:
    """Whether a text is one document and nothing else.

    By the number of elements of an array around it: the second array has one element more, unless
    the text has closed both before their end.
    """
    alone = F.json_array_length(F.concat(F.lit("["), text, F.lit("]")))
    followed = F.json_array_length(F.concat(F.lit("["), text, F.lit(",0]")))
    return (alone == 1) & (followed == 2)


def _with_folders(folders: list[str]) -> Column:
    """The document with the values of the folders in front, which make rows differ too."""
    front = F.rtrim(F.regexp_replace(as_text(folders), r"\}$", ""))
    rest = F.regexp_replace("_raw", r"^\s*\{\s*", "")
    between = F.when(rest.startswith("}") | (front == "{"), "").otherwise(",")
    return F.concat(front, between, rest)
