"""An expression of the config that fails on a row: found by computing it, whatever it raised.

Every expression passes ``check_expressions`` before it is used. If Spark fails afterwards, each of
them is computed once more on its own frame, and the one that fails there is named, with a row.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException, PySparkException, PythonException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.epoch import has_fractions, time_expression
from reweight.core.errors import SourceError
from reweight.core.expressions import CHECKED, in_short
from reweight.core.section import quoted
from reweight.core.session_kind import analysed
from reweight.core.sql_calls import calls, words

_ORIGIN = ("_source_file", "_source")
_JAVA = re.compile(r"\b(?:[a-z]\w*\.)+\w*(?:Exception|Error): ([^\n]+)")


@contextmanager
def failing_rows_named() -> Iterator[None]:
    """Names the expression and the row that made Spark fail; other errors are raised as they are.

    Raises:
        SourceError: an expression that was checked inside this block fails on a row.
    """
    outer = CHECKED.get()
    token = CHECKED.set([] if outer is None else outer)
    try:
        yield
    except (AnalysisException, PythonException):
        raise
    except (PySparkException, Py4JError) as error:
        if (named := _named(error)) is not None:
            raise named from error
        raise
    finally:
        CHECKED.reset(token)


def _named(error: Exception) -> SourceError | None:
    checked = CHECKED.get() or []
    # A block around this one need not look again.
    looked, checked[:] = list(checked), []
    try:
        for frame, expressions in looked:
            if (fault := _by_row(frame, expressions) or _alone(frame, expressions)) is not None:
                return _error(*fault, error)
    except (PySparkException, Py4JError):
        return None  # The rows themselves cannot be read.
    return None


def _by_row(
    frame: DataFrame, expressions: Mapping[str, str]
) -> tuple[str, str, dict[str, str | None]] | None:
    """The first expression that fails on a row, and the row; None if all can be computed."""
    tried: dict[tuple[str, str], Column] = {}
    for key, sql in expressions.items():
        parts = [sql]
        if not _is_of_rows(frame, sql):
            # An aggregate cannot be computed on a row, but its arguments can.
            arguments = [a for call in calls(sql) for a in call.arguments]
            parts = [a for a in arguments if _is_of_rows(frame, a)]
        tried |= {(key, part): _fails(part) for part in parts}
    if not tried:
        return None
    used = _used(frame, " ".join(expressions.values()))
    origin = [c for c in _ORIGIN if c in frame.columns]
    number = F.coalesce(*[F.when(fails, F.lit(i)) for i, fails in enumerate(tried.values())])
    failing = frame.select(
        *origin, *[F.col(quoted(c)).cast("string").alias(c) for c in used], number.alias("_number")
    ).where("_number IS NOT NULL")
    first = failing.first()
    if first is None:
        return None
    key, part = list(tried)[first["_number"]]
    shown = first.asDict()
    return key, expressions[key], {c: shown[c] for c in (*_used(frame, part), *origin)}


def _alone(
    frame: DataFrame, expressions: Mapping[str, str]
) -> tuple[str, str, dict[str, str | None]] | None:
    """The first expression that fails although it fails on no row, such as a sum that overflows."""
    for key, sql in expressions.items():
        if _is_of_rows(frame, sql):
            continue
        try:
            frame.select(F.expr(sql)).write.format("noop").mode("overwrite").save()
        except (PySparkException, Py4JError):
            # If the rows cannot be read at all, this raises and the expression is not blamed.
            frame.write.format("noop").mode("overwrite").save()
            return key, sql, {}
    return None


def _fails(sql: str) -> Column:
    # The only function of Spark 3.5 and 4 that catches whatever its argument raises.
    text = f"coalesce(to_json(struct({sql} AS v)), '')"
    return F.expr(f"try_to_binary({text}, 'utf-8') IS NULL")


def _is_of_rows(frame: DataFrame, sql: str) -> bool:
    if re.fullmatch(r"\W*\w*\W*", sql):
        return False  # A bare column or a constant.
    try:
        analysed(frame.select(F.col(quoted(frame.columns[0])), _fails(sql)))
    except (PySparkException, Py4JError):
        return False
    return True


def _used(frame: DataFrame, sql: str) -> list[str]:
    named = {word.strip("`").split(".")[0].lower() for word in words(sql)}
    named |= {word.strip("`").lower() for word in words(sql)}
    return [c for c in frame.columns if c.lower() in named and c not in _ORIGIN]


def _error(key: str, sql: str, row: Mapping[str, str | None], error: Exception) -> SourceError:
    values = {c: v for c, v in row.items() if c not in _ORIGIN}
    shown = ", ".join(
        f"{c} = {v if v is None else repr(v[:80])}" for c, v in list(values.items())[:5]
    )
    where = [f"in {row['_source_file']}"] if row.get("_source_file") else []
    where += [f"of the source '{row['_source']}'"] if row.get("_source") else []
    meant = next(
        (
            t
            for c, v in values.items()
            if v and "time" in sql and (t := time_expression(c, v, has_fractions([v])))
        ),
        None,
    )
    fix = (
        "make it null for such values (try_cast, try_to_timestamp, CASE WHEN ... END); rows in "
        "which a required column is null are rejected with that reason"
    )
    return SourceError(
        f"the expression {key} fails on a row",
        expected="a value or null for every row",
        got=" ".join([sql, *([f"for {shown}"] if shown else []), *where]) + f": {_cause(error)}",
        fix=f"by its size, this value would be read by {meant}; or {fix}" if meant else fix,
    )


def _cause(error: Exception) -> str:
    causes = _JAVA.findall(str(error))
    if isinstance(error, PySparkException) or not causes:
        text = in_short(error)
    else:
        text = causes[-1][:300]
    return re.sub(r" SQLSTATE: \w+$", "", text.strip())
