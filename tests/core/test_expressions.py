"""Expressions of a config are checked before any row is read, and all faults are told at once."""

import pytest
from pyspark.sql import DataFrame, SparkSession

from reweight.core.errors import SourceError
from reweight.core.expressions import (
    CONDITION,
    KEY,
    cast_to,
    check_expressions,
    raised_in_python,
)


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    # A row of it cannot be had: whoever reads it fails.
    return spark.sql("SELECT raise_error('read') AS name, 1 AS number, array(1) AS many, 0 AS _own")


def test_expressions_that_fit_pass_and_no_row_is_read(frame: DataFrame) -> None:
    check_expressions(
        frame,
        {
            "a": "upper(name)",
            "b": "number + 1",
            "c": "many[0]",
            "d": "CASE WHEN number > 0 THEN 'x' END",
            "e": "count(DISTINCT name)",
        },
    )
    check_expressions(frame, {})


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("nmae", "`nmae` cannot be resolved"),
        ("number +", "end of input"),
        ("nofunction(number)", "`nofunction`"),
        ("number + many", "ARRAY<INT>"),
        ("upper(name, number)", "requires 1 parameter"),
        ("name; drop", "';'"),
    ],
)
def test_an_expression_that_does_not_fit_is_named_with_spark_s_words(
    frame: DataFrame, sql: str, why: str
) -> None:
    with pytest.raises(SourceError) as error:
        check_expressions(frame, {"here.it.is": sql, "fine": "number"})
    said = str(error.value)
    assert f"here.it.is: {sql}\n" in said
    assert why in said.split(sql, 1)[1]
    assert "1 error(s)" in said
    assert "fine" not in said
    assert "the columns ['many', 'name', 'number']" in said
    assert "Project" not in said  # Spark's plan is not for the user


def test_an_expression_is_checked_in_the_form_in_which_it_is_used(frame: DataFrame) -> None:
    used_as = {"if": CONDITION, "number": cast_to("double"), "key": KEY}
    right = {"if": "number > 0 -- {a comment}", "number": "name", "key": "many", "free": "many"}
    check_expressions(frame, right, used_as=used_as)
    wrong = {"if": "number", "number": "many", "key": "map(1, 2)", "free": "map(1, 2)"}
    with pytest.raises(SourceError) as error:
        check_expressions(frame, wrong, used_as=used_as)
    for key in used_as:
        assert f"\n    {key}: {wrong[key]}\n" in error.value.got
    assert "3 error(s)" in error.value.got
    with pytest.raises(SourceError, match="end of input"):
        check_expressions(frame, {"if": "number +"}, used_as=used_as)


def test_all_that_do_not_fit_are_named_in_their_order(frame: DataFrame) -> None:
    wrong = {f"place.{n}": f"missing_{n}" for n in range(4)}
    with pytest.raises(SourceError) as error:
        check_expressions(frame, {"good": "number", **wrong})
    said = str(error.value)
    assert "4 error(s)" in said
    places = [said.index(f"{place}: {sql}") for place, sql in wrong.items()]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "\n  An exception was thrown from the Python worker. Please see the stack.\n"
            'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\n'
            "trees.Error: check failed\nStack trace:\n  [bt] (0) lib.so\n\n\tat org.apache.X\n",
            "trees.Error: check failed",
        ),
        ("An error occurred while calling o7.fit.\n: java.lang.X", "An error occurred while"),
        ("", "RuntimeError"),
    ],
)
def test_of_a_failed_task_what_python_raised_is_said(text: str, said: str) -> None:
    assert raised_in_python(RuntimeError(text)).startswith(said)
