"""Columns of many kinds: the expression that reads them, and what is said about it."""

import pytest

from reweight.inspect_logs.guesses import RawColumn, guess
from reweight.inspect_logs.page import Page

DAY = "2024-03-0{} 10:00:00"
BARE = "regexp_replace(x, '[^0-9.,+-]', '')"
COMMAS = "replace(replace(x, '.', ''), ',', '.')"


def of(*values: str | None, name: str = "x", kind: str = "string") -> RawColumn:
    return RawColumn(name, name, kind, values)


@pytest.mark.parametrize(
    ("column", "kind", "sql", "said"),
    [
        (of("1", "22", None), "integer", "try_cast(x AS bigint)", "1 of 3 rows null"),
        (of("1.5", "2e3", "-1"), "number", "try_cast(x AS double)", "-1 .. 2e3"),
        (of("007", "012"), "text", "x", "leading zeros such as 007"),
        (of("9" * 25, "1"), "text", "x", "more than 64 bits"),
        (of("yes", "no", "TRUE"), "boolean", "try_cast(x AS boolean)", "booleans as words"),
        (of("0", "1", "1"), "integer", "try_cast(x AS bigint)", "1 (2), 0 (1)"),
        (of("a", "a", "b"), "text", "x", "2 distinct values: a 2, b 1"),
        (of("a", "a", ""), "text", "nullif(trim(x), '')", "1 empty text"),
        (of("a", "null", "null"), "text", "nullif(x, 'null')", "2 texts 'null' read as null"),
        (of("1", "NaN"), "integer", "try_cast(nullif(x, 'NaN') AS bigint)", "1 text 'NaN'"),
        (
            of("1,234.50", "12"),
            "number",
            "try_cast(replace(x, ',', '') AS double)",
            "1 with commas, such as '1,234.50': separators of thousands",
        ),
        (
            of("1.234,50", "12,5"),
            "number",
            "try_cast(replace(replace(x, '.', ''), ',', '.') AS double)",
            "decimal commas",
        ),
        (of("1,234", "5,678"), "number", "try_cast(replace(x, ',', '') AS double)", "ambiguous"),
        (
            of("$12.50", "$3"),
            "number",
            f"try_cast({BARE} AS double)",
            "with a unit, such as '$12.50'",
        ),
        (
            of("4,34 €", "€5,10", "-€3"),
            "number",
            f"try_cast(replace(replace({BARE}, '.', ''), ',', '.') AS double)",
            "with a unit, 2 with commas, such as '4,34 €': decimal commas",
        ),
        (
            of("$1,234.50", "12 $"),
            "number",
            f"try_cast(replace({BARE}, ',', '') AS double)",
            "separators of thousands",
        ),
        (
            of("1,234 USD", "$5"),
            "number",
            f"try_cast(replace({BARE}, ',', '') AS double)",
            "ambiguous, thousands or decimals; read as thousands; several units: USD, $",
        ),
        (of("1.234 €", "2.500 €"), "number", f"try_cast({BARE} AS double)", "ambiguous"),
        (of("1.234", "12"), "number", "try_cast(x AS double)", "ambiguous, decimals or thousands"),
        (of("1.234", "0.125"), "number", "try_cast(x AS double)", "0.125 .. 1.234, 2 distinct"),
        (of("1,234", "0,125"), "number", f"try_cast({COMMAS} AS double)", "decimal commas"),
        (of("5%", "7.5 %"), "number", f"try_cast({BARE} AS double)", "with a unit, such as '5%'"),
        (of("$4", "5%"), "text", "x", "$4"),
        (of("$4", "1e5"), "text", "x", "1e5"),
        (of(None, None), "text", "x", "its type is not known"),
        (of(None, kind="void"), "text", "CAST(x AS string)", "its type is not known"),
        (of("2024-03-01", kind="date"), "time", "CAST(x AS timestamp)", "dates without hours"),
        (of("a", kind="binary"), "other", "CAST(x AS string)", "binary"),
        (of("a\ufffd", kind="binary"), "other", "hex(x)", "binary"),
        (of("5", "6", kind="int"), "integer", "x", "int; 5 .. 6"),
        (of(*"123456789", "A1"), "text", "x", "9 numbers and 1 other texts: A1 (1)"),
    ],
)
def test_the_values_say_how_a_column_is_read(
    column: RawColumn, kind: str, sql: str, said: str
) -> None:
    found = guess(column)
    assert (found.kind, found.sql) == (kind, sql)
    assert said in "; ".join(found.evidence)


@pytest.mark.parametrize(
    ("values", "sql", "said"),
    [
        (["1709251200", "1709337599"], "timestamp_seconds(try_cast(ts AS bigint))", "10 digits"),
        (
            ["1709251200000", "1709337599000"],
            "timestamp_millis(try_cast(ts AS bigint))",
            "13 digits, 1709251200000 .. 1709337599000: milliseconds since 1970",
        ),
        (["1709251200000000"], "timestamp_micros(try_cast(ts AS bigint))", "microseconds"),
        (
            ["1709251200000000000"],
            "timestamp_micros(try_cast(ts AS bigint) div 1000)",
            "nanoseconds",
        ),
        (["1709251200.25"], "timestamp_seconds(try_cast(ts AS double))", "seconds since 1970"),
        (["20240301", "20240302"], "try_to_timestamp(CAST(ts AS string), 'yyyyMMdd')", "no zone"),
        (
            ["2024030100", "2024030123"],
            "try_to_timestamp(CAST(ts AS string), 'yyyyMMddHH')",
            "digits as yyyyMMddHH, such as 2024030100",
        ),
        (
            ["202403010059"],
            "try_to_timestamp(CAST(ts AS string), 'yyyyMMddHHmm')",
            "digits as yyyyMMddHHmm",
        ),
        (["0", "86400"], "timestamp_seconds(try_cast(ts AS bigint))", "ambiguous"),
        (["0.5", "86400"], "timestamp_seconds(try_cast(ts AS double))", "ambiguous"),
        (["2024-03-01 10:00:00"], "try_to_timestamp(ts)", "no zone: read as UTC"),
        (["2024-03-01T10:00:00.5+02:00"], "try_to_timestamp(ts)", "with a zone, such as +02:00"),
        (["2024-03-01 10:00:00 UTC"], "try_to_timestamp(ts)", "with a zone, such as UTC"),
        (["2024-03-01T10:00Z"], "try_to_timestamp(ts, \"yyyy-MM-dd'T'HH:mmXXX\")", "such as Z"),
        (
            ["2024-03-01 10:00 UTC", "2024-03-01 10:00:05 UTC"],
            "try_to_timestamp(ts, 'yyyy-MM-dd HH:mm[:ss] VV')",
            "with a zone, such as UTC",
        ),
        (["2024-03-01"], "try_to_timestamp(ts)", "dates without hours"),
        (["31.03.2024 10:00"], "try_to_timestamp(ts, 'dd.MM.yyyy HH:mm')", "day first"),
        (["3/31/2024 1:05 PM"], "try_to_timestamp(ts, 'M/dd/yyyy h:mm a')", "month first"),
        (["01/03/2024"], "try_to_timestamp(ts, 'MM/dd/yyyy')", "ambiguous: day or month first"),
        (
            ["01/Mar/2024:10:00:00 +0000"],
            "try_to_timestamp(ts, 'dd/MMM/yyyy:HH:mm:ss XX')",
            "with a zone, such as +0000",
        ),
        (["2024/03/01 10:00:00"], "try_to_timestamp(ts, 'yyyy/MM/dd HH:mm:ss')", "no zone"),
    ],
)
def test_times_are_read_by_how_they_are_written(values: list[str], sql: str, said: str) -> None:
    found = guess(of(*values, name="ts"))
    assert (found.kind, found.sql) == ("time", sql)
    assert said in "; ".join(found.evidence)


@pytest.mark.parametrize(
    ("values", "other"),
    [
        (["01/03/2024", "02/03/2024"], "try_to_timestamp(ts, 'dd/MM/yyyy')"),
        (["0", "86400"], "timestamp_millis(try_cast(ts AS bigint))"),
        (
            ["1709287200", "1709287200000"],
            "CASE WHEN try_cast(ts AS double) < 4102444800 THEN "
            "timestamp_seconds(try_cast(ts AS bigint)) ELSE "
            "timestamp_millis(try_cast(ts AS bigint)) END",
        ),
        (
            ["1709287200000", "1709287201000", "1709287200", "1709287200000000"],
            "CASE WHEN try_cast(ts AS double) < 4102444800 THEN "
            "timestamp_seconds(try_cast(ts AS bigint)) "
            "WHEN try_cast(ts AS double) < 4102444800000 THEN "
            "timestamp_millis(try_cast(ts AS bigint)) ELSE "
            "timestamp_micros(try_cast(ts AS bigint)) END",
        ),
        (["0.5", "86400"], "timestamp_millis(CAST(try_cast(ts AS double) AS bigint))"),
    ],
)
def test_what_is_ambiguous_is_said_with_the_other_way(values: list[str], other: str) -> None:
    found = guess(of(*values, name="ts"))
    assert "ambiguous" in "; ".join(found.evidence)
    assert [sql for sql, _ in found.others] == [other]


@pytest.mark.parametrize(
    "values",
    [
        ("\uff11\uff12", "3"),
        ("\u0663", "4"),
        ("5\xa0", "6"),
        ("2024-03-0\uff11",),
        ("2024-03-01\xa0",),
    ],
)
def test_what_spark_cannot_read_as_a_number_or_a_time_stays_text(values: tuple[str, ...]) -> None:
    assert guess(of(*values)).kind == "text"


def test_blanks_around_texts_and_times_are_cut_off() -> None:
    padded = guess(of("view  ", " buy", "view"))
    assert (padded.kind, padded.sql) == ("text", "trim(x)")
    assert padded.counts == {"view": 2, "buy": 1}
    assert padded.evidence[-1] == "2 with blanks around them, which are cut off"
    assert guess(of("view ", " ", "buy")).sql == "nullif(trim(x), '')"
    assert guess(of("007 ", "012 ")).sql == "trim(x)"
    assert guess(of(" 31.03.2024")).sql == "try_to_timestamp(trim(x), 'dd.MM.yyyy')"
    assert guess(of(" 5", "6 ")).sql == "try_cast(x AS bigint)"


def test_ids_with_a_point_stay_text() -> None:
    long = ["1058563274.1700000000", "1058563274.1700000001"]
    for found in (guess(of(*long, name="client")), guess(of("7.16", "8.5", name="user_pseudo_id"))):
        assert (found.kind, found.sql) == ("text", found.column.sql)
        assert "lose digits" in found.evidence[0]
    assert guess(of("7.0", "8.0", name="user_id")).kind == "number"
    assert guess(of("1234567.25", "8.123456789", name="price")).kind == "number"


def test_a_number_is_no_time_because_it_is_large_or_its_name_has_a_day() -> None:
    assert guess(of("1709251200", "1709337599", name="user_id")).kind == "integer"
    assert guess(of("0.2", "0.8", name="SpecialDay")).kind == "number"
    assert guess(of("99999999999999", name="ts")).kind == "integer"


def test_the_moments_of_a_zone_are_those_of_utc() -> None:
    found = guess(of("2024-03-01T02:00:00+02:00", "29.02.2024", name="ts")).moments
    assert found is None
    found = guess(of("2024-03-01T02:00:00+02:00", name="ts")).moments
    assert found is not None
    assert found.seconds == [1709251200.0]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("20240301", 1709251200),
        ("2024030110", 1709287200),
        ("202403011001", 1709287260),
        ("20240301100102", 1709287262),
    ],
)
def test_digits_are_the_time_that_they_write(value: str, seconds: float) -> None:
    found = guess(of(value, name="dt")).moments
    assert found is not None
    assert (found.seconds, found.hours) == ([seconds], len(value) > 8)


def test_percentages_may_be_shares() -> None:
    found = guess(of("5%", "12%"))
    assert found.others == ((f"{found.sql} / 100", "if 5% is to be 0.05"),)


@pytest.mark.parametrize("inside", [True, False])
def test_an_empty_text_is_quoted(inside: bool) -> None:
    page = Page()
    page.set(0, "quote", {"quote": ""} if inside else "")
    assert page.text == ("quote: {quote: ''}\n" if inside else "quote: ''\n")
