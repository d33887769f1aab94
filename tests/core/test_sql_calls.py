"""Calls in a text of SQL, and the expressions that read numbers as times."""

import pytest

from reweight.core.epoch import time_expression
from reweight.core.sql_calls import calls, words


def test_calls_are_found_with_their_arguments() -> None:
    sql = "coalesce(try_cast(`a)b` AS decimal(10, 2)), f(')', x), 1 + (2))"
    found = [(call.name, call.arguments) for call in calls(sql)]
    assert found == [
        ("decimal", ("10", "2")),
        ("try_cast", ("`a)b` AS decimal(10, 2)",)),
        ("f", ("')'", "x")),
        ("coalesce", ("try_cast(`a)b` AS decimal(10, 2))", "f(')', x)", "1 + (2)")),
    ]
    assert words("upper(element.kind) = 'Buy' AND `a b` > 1") == [
        "upper",
        "element.kind",
        "AND",
        "`a b`",
    ]


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("1709301694", "timestamp_seconds(try_cast(ts AS bigint))"),
        ("1709301694000", "timestamp_millis(try_cast(ts AS bigint))"),
        ("1709301694000000", "timestamp_micros(try_cast(ts AS bigint))"),
        ("1709301694000000000", "timestamp_micros(try_cast(ts AS bigint) div 1000)"),
        ("5221", "timestamp_seconds(try_cast(ts AS bigint))"),
        ("20240301", "try_to_timestamp(CAST(ts AS string), 'yyyyMMdd')"),
        ("2024030112", "try_to_timestamp(CAST(ts AS string), 'yyyyMMddHH')"),
        ("202403011230", "try_to_timestamp(CAST(ts AS string), 'yyyyMMddHHmm')"),
        ("20240301123000", "try_to_timestamp(CAST(ts AS string), 'yyyyMMddHHmmss')"),
        ("2024-03-01", None),
        ("-5", None),
        ("nan", None),
    ],
)
def test_the_size_of_a_number_tells_its_unit(value: str, meant: str | None) -> None:
    assert time_expression("ts", value) == meant
