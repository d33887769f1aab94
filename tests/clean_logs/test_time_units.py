"""The expression that a log's numbers are read by, from a few of them."""

import pytest

from reweight.clean_logs.time_units import reading_all

SECONDS = "timestamp_seconds(try_cast(ts AS bigint))"
MILLIS = "timestamp_millis(try_cast(ts AS bigint))"
BOTH = f"CASE WHEN try_cast(ts AS double) < 4102444800 THEN {SECONDS} ELSE {MILLIS} END"


@pytest.mark.parametrize(
    ("sql", "well", "wrong", "meant"),
    [
        ("try_to_timestamp(ts)", [], ["1772359200", "None"], SECONDS),
        ("try_to_timestamp(ts)", [], ["5221"], SECONDS),
        (MILLIS, [], ["1772359200.5"], "timestamp_seconds(try_cast(ts AS double))"),
        (MILLIS, ["1772359200000"], ["1772359200", "0"], BOTH),
        (MILLIS, ["1772359200000"], ["0", "0"], None),
        (MILLIS, [], [], None),
        (
            "try_to_timestamp(ts)",
            ["2026-03-01"],
            ["1772359200"],
            f"coalesce(try_to_timestamp(ts), {SECONDS})",
        ),
    ],
)
def test_the_expression_reads_all_values(
    sql: str, well: list[str], wrong: list[str], meant: str | None
) -> None:
    assert reading_all("ts", sql, well, wrong) == meant
