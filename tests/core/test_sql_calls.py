"""Calls in a text of SQL, and the expressions that read numbers as times."""

import pytest

from reweight.core.epoch import time_expression
from reweight.core.sql_calls import calls, replaced, words


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
    ("sql", "found"),
    [
        ("a + price::double*2", ["price::double"]),
        ("NOT (a+b)::int", ["(a+b)::int"]),
        ("f(x, y)[0].z::decimal(10, 2)", ["f(x, y)[0].z::decimal(10, 2)"]),
        ("CASE WHEN x::int = 1 THEN y::date END", ["x::int", "y::date"]),
        ("`a b`.c::string::date", ["`a b`.c::string", "`a b`.c::string::date"]),
        ("raw:ts::timestamp", ["raw:ts::timestamp"]),
        ("date '2024-01-01'::timestamp", ["date '2024-01-01'::timestamp"]),
        ("f(x::int, 'a::b')", ["x::int"]),
        ("sum(x) OVER (PARTITION BY u)::int", ["sum(x) OVER (PARTITION BY u)::int"]),
        ("CASE WHEN a THEN b END::int", []),
    ],
)
def test_colons_are_casts_of_the_value_before_them(sql: str, found: list[str]) -> None:
    casts = [call for call in calls(sql) if call.name == "cast"]
    assert [call.text for call in casts] == found
    assert [" AS ".join(call.text.rsplit("::", 1)) for call in casts] == [
        call.arguments[0] for call in casts
    ]


def test_a_call_is_replaced_where_it_is_not_the_end_of_another() -> None:
    call = next(calls("t.x::int + x::int"))
    assert replaced("t.x::int + x::int", call, "y") == "y + x::int"
    call = next(calls("cast(x AS int)"))
    assert replaced("try_cast(x AS int) + cast(x AS int)", call, "y") == "try_cast(x AS int) + y"


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
