"""Spark SQL expressions of a config, checked against a frame before any long computation."""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from reweight.core.errors import SourceError
from reweight.core.session_kind import analysed

# The expressions that were checked, each with its frame; None where nobody looks at failures.
CHECKED: ContextVar[list[tuple[DataFrame, Mapping[str, str]]] | None] = ContextVar(
    "checked", default=None
)

# How an expression is used, where that asks for a type; it may end in a comment.
CONDITION, KEY = "CASE WHEN {}\nTHEN 1 END", "xxhash64({}\n)"


def cast_to(kind: str) -> str:
    """How an expression is used that is cast to a type."""
    return f"CAST({{}}\nAS {kind})"


def check_expressions(
    frame: DataFrame,
    expressions: Mapping[str, str],
    of: str = "the data",
    fix: str = "correct the expressions listed above",
    used_as: Mapping[str, str] | None = None,
    by: Sequence[str] = (),
) -> None:
    """Analyses each expression against a frame, without reading rows.

    Args:
        frame: the frame whose columns the expressions may use.
        expressions: key in the config -> expression.
        of: what the frame holds, for the message.
        fix: the next step, for the message.
        used_as: key in the config -> ``CONDITION``, ``KEY`` or ``cast_to``; any type fits where the
            key is missing.
        by: columns in which rows are equal that the expressions aggregate.

    Raises:
        SourceError: expressions do not parse, use missing columns, are not of the type that their
            use asks for, or are no aggregates; the error lists them all.
    """
    checked = CHECKED.get()
    if checked is not None:
        checked.append((frame, expressions))
    forms = {k: (used_as or {}).get(k, "{}").format(sql) for k, sql in expressions.items()}
    try:
        # All in one analysis, since the wider the frame, the more each analysis costs.
        analysed(_selected(frame, forms.values(), by))
        return
    except AnalysisException:
        wrong = []
    for key, sql in expressions.items():
        try:
            # First as it is written, which gives the plainer message.
            for form in (sql, forms[key]):
                analysed(_selected(frame, (form,), by))
        except AnalysisException as error:
            wrong.append(f"\n    {key}: {sql}\n      {in_short(error)}")
    if wrong:
        columns = sorted(c for c in frame.columns if not c.startswith("_"))
        raise SourceError(
            f"expressions in the config do not fit {of}",
            expected=f"Spark SQL over the columns {columns}",
            got=f"{len(wrong)} error(s):" + "".join(wrong),
            fix=fix,
        )


def _selected(frame: DataFrame, forms: Iterable[str], by: Sequence[str]) -> DataFrame:
    columns = [F.expr(form) for form in forms]
    return frame.groupBy(*by).agg(*columns) if by else frame.select(*columns)


def is_deterministic(empty: DataFrame, sql: str) -> bool:
    """Whether an expression gives the same value each time that it is computed.

    Args:
        empty: a frame with the columns that the expression uses.
        sql: the expression, which passes ``check_expressions``.
    """
    # Spark lets the condition of a join be nothing else, and says so when it analyses it.
    single_row = empty.sparkSession.range(1).select(F.lit(1).alias("_other"))
    try:
        analysed(empty.join(single_row, on=F.expr(sql).isNotNull()))
    except AnalysisException as error:
        return "NON_DETERMINISTIC" not in str(error).upper()
    return True


def unread(frame: DataFrame, expressions: Mapping[str, str], kind: str) -> dict[str, Column]:
    """Whether a row has a text or date that a cast makes null; only of expressions that can.

    Args:
        frame: the frame whose columns the expressions use.
        expressions: name -> expression.
        kind: the type to which they are cast.
    """
    types = frame.select(*[F.expr(sql) for sql in expressions.values()]).schema
    return {
        name: (F.trim(F.expr(sql).cast("string")) != "") & F.expr(sql).cast(kind).isNull()
        for (name, sql), field in zip(expressions.items(), types, strict=True)
        if field.dataType.typeName() in ("string", "date")
    }


def in_short(error: Exception) -> str:
    """Spark's description of the error, without the plan or the marked SQL below it."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:300]


def raised_in_python(error: Exception) -> str:
    """What Python raised in a task, out of Spark's error; of another error, its first line."""
    _, found, rest = str(error).rpartition("Traceback (most recent call last):")
    # The lines of calls are indented, and so are those of the JVM below.
    raised = [line for line in rest.splitlines() if line[:1].strip()] if found else []
    return raised[0].strip()[:300] if raised else in_short(error)
