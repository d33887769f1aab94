"""Spark SQL expressions of a config, checked against a frame before any long work starts."""

from collections.abc import Mapping

from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from reweight.core.errors import SourceError


def check_expressions(frame: DataFrame, expressions: Mapping[str, str]) -> None:
    """Analyses each expression on a frame; no row is read.

    Args:
        frame: whose columns the expressions may use.
        expressions: place in the config -> expression.

    Raises:
        SourceError: some do not parse, or name what is not there; all of them are named together.
    """
    try:
        # All at once: an analysis costs the more the wider the frame is.
        frame.select(*[F.expr(sql) for sql in expressions.values()])
        return
    except AnalysisException:
        wrong = []
    for place, sql in expressions.items():
        try:
            frame.select(F.expr(sql))
        except AnalysisException as error:
            wrong.append(f"\n    {place}: {sql}\n      {in_short(error)}")
    if wrong:
        columns = sorted(c for c in frame.columns if not c.startswith("_"))
        raise SourceError(
            "expressions of the config do not fit the data",
            expected=f"Spark SQL over the columns {columns}",
            got=f"{len(wrong)} error(s):" + "".join(wrong),
            fix="mend the expressions named above",
        )


def in_short(error: PySparkException) -> str:
    """What Spark says is wrong, without the plan or the marked SQL below it."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:300]
