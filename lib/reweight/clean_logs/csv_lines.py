"""CSV files -> rows, a line at a time.

The lines are read as text and parsed here, so that each can be judged as a whole: a line in which a
quoted field is not closed, or not quoted by RFC 4180 (or by the options), does not parse. Spark's
own reader takes what it has at the end of such a line; it is used only for files with line breaks
inside of fields (the option ``multiLine``).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from reweight.clean_logs.files import WHOLE, Files
from reweight.clean_logs.raw import as_text, check_folders, check_free
from reweight.clean_logs.section import Source
from reweight.clean_logs.text import text_lines
from reweight.core.errors import SourceError
from reweight.core.section import quoted

# The lines, and the characters of each, that are looked at to find out how many fields a line has.
_LINES, _LENGTH = 20, 1 << 20
_END = "end of line"
# Where a line ends, and what is a number or a time, whatever the language of the column.
LINE_BREAK, NUMERIC = r"\r\n|\r|\n", "[+-]?[0-9][0-9.,:/ TZ+-]*"

Options = Mapping[str, str]


def read_csv(spark: SparkSession, source: Source, key: str, files: Files) -> DataFrame:
    """The rows of CSV files; every column is text.

    Raises:
        SourceError: there is no first line, or it does not fit the lines after it.
    """
    source_options = {k.lower(): v for k, v in source.options.items()}
    options = {
        "header": str(not source.names).lower(),
        "escape": source_options.get("quote") or '"',
    } | source_options
    encoding = options.get("encoding", options.get("charset", "UTF-8"))
    if options.get("multiline", "").lower() == "true" or re.match("(?i)utf-?(16|32)", encoding):
        return _read_records(spark, source, key, files, options | {"multiline": "true"})
    lines = text_lines(spark, files, options)
    folders = [c for c in lines.columns if c not in ("_raw", "_source_file")]
    if comment := options.get("comment"):
        lines = lines.where(~F.col("_raw").startswith(comment))
    sample = [row[0] for row in lines.select(F.substring("_raw", 1, _LENGTH)).take(_LINES)]
    fields = _fields(spark, sample, options)
    headed = options["header"].lower() == "true"
    first = fields[0] if fields else []
    names = list(source.names) or [
        (headed and name) or f"_c{index}" for index, name in enumerate(first or [])
    ]
    line = sample[0] if sample else ""
    _check_names(files, key, source, names, folders, line)
    _check_widths(key, source, names, headed, fields)
    schema = ", ".join(f"_{index} string" for index in range(len(names))) + ", _text string"
    parsed = F.from_csv(
        F.col("_raw"), schema, dict(options) | {"columnNameOfCorruptRecord": "_text"}
    )
    header = _plain(F.lit(line), options) == _plain(F.col("_raw"), options)
    wrong = F.col("_fields._text").isNotNull() | _misquoted(F.col("_raw"), options)
    rows = lines.select(
        "*",
        F.when(F.lit(headed) & header, F.lit("header")).alias("_left_out"),
        parsed.alias("_fields"),
    )
    added = ["_malformed", "_raw", "_source_file", "_left_out"]
    malformed = F.coalesce(wrong, F.lit(True)).alias("_malformed")
    rows = rows.select(
        "_fields.*", *[F.col(quoted(c)) for c in folders], malformed, *added[1:]
    ).drop("_text")
    rows = rows.toDF(*names, *folders, *added)
    text = F.when(F.col("_malformed"), F.col("_raw")).otherwise(as_text([*names, *folders]))
    return rows.withColumn("_raw", text)


def _fields(
    spark: SparkSession, lines: Sequence[str], options: Options
) -> list[list[str | None] | None]:
    """The fields of each line; None where a quoted one is not closed."""
    if not lines:
        return []
    separator = _separator(options)
    most = max(line.count(separator) for line in lines) + 2
    schema = ", ".join(f"_{index} string" for index in range(most))
    # The end is marked, since a field that is empty and one that is not there are both null.
    text = F.concat("line", F.lit(separator + _END))
    frame = spark.createDataFrame([(line,) for line in lines], "line string")
    rows = frame.select(F.from_csv(text, schema, dict(options))).collect()
    fields = [list(row[0] or ()) for row in rows]
    return [values[: values.index(_END)] if _END in values else None for values in fields]


def _check_names(
    files: Files,
    key: str,
    source: Source,
    names: Sequence[str],
    folders: Sequence[str],
    line: str = "",
) -> None:
    if not names or re.search("[\ufffd\0]", "".join(names)):
        raise SourceError(
            f"the header of cleaning.{key} cannot be read",
            expected=f"csv files at {source.place} that begin with a line of column names in "
            f"{source.options.get('encoding', 'UTF-8')}",
            got=str(list(names)) if names else line[:200] or files.what,
            fix="convert the files to UTF-8, or set the source's option `encoding`, or `quote` and "
            "`escape`; a file whose name begins with _ or . is read if it is the path itself, and "
            "folders below the path if the path names them, such as 'logs/*/*'",
        )
    check_free(key, names)
    lower = [name.lower() for name in names]
    if twice := sorted({name for name in lower if lower.count(name) > 1}):
        raise SourceError(
            f"the header of {source.place} names columns twice",
            expected="names that differ by more than their case, as Spark compares them",
            got=f"{twice} twice, in {list(names)}",
            fix="rename a column in the files; or give all names as `names`, with "
            "`options: {header: 'false'}`: the header is then rejected as a row",
        )
    check_folders(key, source.place, "csv", folders, names)


def _check_widths(
    key: str,
    source: Source,
    names: Sequence[str],
    headed: bool,
    fields: Sequence[Sequence[str | None] | None],
) -> None:
    """Refuses a first line, or names, that none of the next lines fits."""
    widths = [len(values) for values in fields[0 if source.names else 1 :] if values is not None]
    if len(widths) < 2 or len(names) in widths:
        return
    width = Counter(widths).most_common(1)[0][0]
    example = [*names[:width], *[f"_c{index}" for index in range(len(names), width)]]
    origin = "`names`" if source.names else "header" if headed else "first line"
    raise SourceError(
        f"the {origin} of cleaning.{key} has {len(names)} fields, and the lines have {width}",
        expected=f"{width} names for the {width} fields of a line",
        got=str(list(names)),
        fix=f"give the source the names of all columns, such as `names: [{', '.join(example)}]`"
        + (", and `options: {header: 'false'}`" if headed else "")
        + ("" if source.names else "; the first line is then a row, and rejected"),
    )


def _misquoted(line: Column, options: Options) -> Column:
    """Whether a field begins with a quote or ends with one, and is not quoted as a whole.

    The two halves of a field with a line break in it are such fields.
    """
    quote, escape = options.get("quote", '"'), options["escape"]
    if quote in ("", "\0"):
        return F.lit(False)
    blanks = " *" if options.get("ignoreleadingwhitespace", "").lower() == "true" else ""
    q, e, separator = (_regex(text) for text in (quote, escape, _separator(options)))
    # Possessive, since Java's regular expressions fail on long fields otherwise.
    plain = f"[^{q}{e}]*+"
    escaped = f"{e}{q if escape == quote else '.'}"
    inner = f"{plain}(?:{escaped}{plain})*+" if escape.strip("\0") else plain
    begin = rf"(?s)(\A|{separator}){blanks}{q}"
    rest = F.regexp_replace(line, rf"{begin}{inner}{q} *(?={separator}|\z)", "$1")
    return line.contains(quote) & rest.rlike(rf"{begin}|{q} *(?:{separator}|\z)")


def _regex(text: str) -> str:
    return "".join(rf"\x{{{ord(character):x}}}" for character in text)


def _separator(options: Options) -> str:
    separator = options.get("sep", options.get("delimiter", ","))
    return separator.replace("\\t", "\t")


def _plain(line: Column, options: Options) -> Column:
    """A header as it is compared: Spark ignores the case of names, and quotes are no part of it."""
    return F.lower(F.translate(line, options.get("quote", '"'), ""))


def _swallows(names: Sequence[str], options: Options) -> Column:
    """Whether there is a row within a field: the quote before it was not closed.

    A line within a field is a row if it has as many fields as a row, and numbers or nothing where
    this row has numbers: a text of several lines may have as many commas by chance.
    """
    if len(names) < 2:
        return F.lit(False)
    fields = F.array(*[F.coalesce(F.col(quoted(c)), F.lit("")) for c in names])
    lines = F.flatten(F.transform(fields, lambda f: F.slice(F.split(f, LINE_BREAK), 2, 1 << 30)))

    def fits(field: Column, other: Column) -> Column:
        numeric = rf"\A{NUMERIC}\z"
        return ~field.rlike(numeric) | other.rlike(numeric) | (other == "")

    def is_row(line: Column) -> Column:
        others = F.split(line, _regex(_separator(options)))
        fitting = F.forall(F.zip_with(fields, others, fits), lambda fit: fit)
        has_values = F.exists(others, lambda other: other != "")
        return (F.size(others) == len(names)) & has_values & F.coalesce(fitting, F.lit(False))

    several = F.exists(fields, lambda f: f.rlike(LINE_BREAK))
    return F.when(several, F.exists(lines, is_row)).otherwise(F.lit(False))


def _read_records(
    spark: SparkSession, source: Source, key: str, files: Files, options: Options
) -> DataFrame:
    """The rows of files in which a line break may be part of a field, by Spark's own reader."""
    headed = options["header"].lower() == "true"
    reading = {**options, **files.options, **WHOLE}
    looked = spark.read.options(**(reading | {"header": "false"})).csv(files.read)
    width = sum(1 for index, name in enumerate(looked.columns) if name == f"_c{index}")
    folders = looked.columns[width:]
    first = list(looked.first() or [])[:width]
    header = first if headed else [None] * len(first)
    names = list(source.names) or [name or f"_c{index}" for index, name in enumerate(header)]
    _check_names(files, key, source, names, folders)
    # Spark compares the header of every file with the schema; an unnamed column (an index) is "".
    # A schema cannot contain two of them.
    compared = headed and header.count(None) < 2
    fields = [name or "" for name in header] if compared else names
    schema = StructType([StructField(c, StringType()) for c in [*fields, "_text"]])
    rows = (
        spark.read.schema(schema)
        .options(**reading, columnNameOfCorruptRecord="_text", columnPruning="false")
        .option("enforceSchema", str(not compared).lower())
        .csv(files.read)
    )
    rows = rows.select("*", files.source_file(rows)).toDF(*names, "_text", *folders, "_source_file")
    return rows.select(
        *[F.col(quoted(c)) for c in [*names, *folders]],
        "_source_file",
        (F.col("_text").isNotNull() | _swallows(names, options)).alias("_malformed"),
        F.coalesce("_text", as_text([*names, *folders])).alias("_raw"),
        F.lit(None).cast("string").alias("_left_out"),
    )
