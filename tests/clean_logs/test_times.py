"""The times of a log: where it begins and ends, and times in another unit."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from reweight.clean_logs.section import Cleaning
from reweight.clean_logs.time_units import check_times
from reweight.clean_logs.times import (
    AFTER,
    BEFORE,
    REASON,
    Group,
    Span,
    early_ends,
    log_span,
    said,
    within,
)
from reweight.core.errors import SourceError

DAY = 86400 * 10**6
FAR = (date(2037, 4, 9) - date(1970, 1, 1)).days
START = (date(2024, 3, 1) - date(1970, 1, 1)).days


def section(**rest: Any) -> Cleaning:
    source = {"path": "log.csv", "format": "csv"}
    columns = {"event_time": "timestamp_seconds(try_cast(ts AS bigint))"}
    return Cleaning.model_validate({"sources": {"log": source}, "columns": columns} | rest)


def groups(days: dict[int, int], source: str = "log") -> list[Group]:
    return [
        Group(source, (), day, rows, rows, 0, day * DAY, day * DAY + 3_600_000_000)
        for day, rows in days.items()
    ]


def span(days: dict[int, int]) -> Span:
    return log_span(groups(days), section())


SIX_DAYS = {START + d: 81 for d in range(6)}


@pytest.mark.parametrize(
    "far",
    [
        {FAR: 1},
        {FAR: 1, -24_000: 1},
        {START + 7: 1},
        {START + 9: 4, FAR: 20},  # a clock that went back to its first date, on many phones
        {START + 7 + d: 1 for d in range(10)},  # a trickle
    ],
)
def test_a_few_rows_far_beyond_do_not_move_the_end_of_the_log(far: dict[int, int]) -> None:
    found = span(SIX_DAYS | far)
    assert found.last == START + 6  # its last day, and a silence of a day
    assert all(found.holds(day) for day in SIX_DAYS)
    assert [day for day in far if found.holds(day)] == []


def test_outliers_spread_over_many_days_are_no_log() -> None:
    draw = random.Random(0)
    strays = Counter(draw.randrange(0, FAR) for _ in range(20_000))
    found = span(dict(strays) | {START + d: 100_000 for d in range(9)})
    assert found.last == START + 9


@pytest.mark.parametrize(
    "days",
    [
        SIX_DAYS,
        {START: 900},
        {START + d: 1000 for d in range(300) if not 24 <= d <= 34} | {START + 300: 60},
        {START + 7 * w + d: 500 for w in range(20) for d in range(5)} | {START + 139: 3},
        {START + 30 * m: 200 + 100 * m for m in range(10) if m != 4},  # only months are known
        {START + d: 1 + d for d in range(2000)},  # a shop that grew
        {START + d: 4000 // (1 + d) for d in range(60)},  # a shop that closed
        {START + 11 * d: 1 for d in range(300)},  # a row a fortnight
        {START: 20, START + 3: 1, START + 900: 1},  # too few rows to know
        {START + d: 5000 for d in range(30)} | {START - d: 2 for d in range(1, 90)},  # late ones
        {START + d: 5000 for d in range(20)} | {START + 60 + d: 5000 for d in range(2)},  # a hole
    ],
)
def test_logs_without_a_wrong_clock_lose_nothing(days: dict[int, int]) -> None:
    found = span(days)
    assert [day for day in days if not found.holds(day)] == []


def test_each_source_has_an_end_of_its_own() -> None:
    clicks = {START + d: 5000 for d in range(30)}
    buys = {START + d: 60 for d in range(60)}
    found = log_span([*groups(clicks), *groups(buys | {FAR: 1}, "buys")], section())
    assert found == Span(START, START + 60)


def test_limits_of_the_config_replace_those_of_the_log() -> None:
    told = groups(SIX_DAYS | {FAR: 1, 3: 1})
    assert log_span(told, section()) == Span(START, START + 6)
    assert log_span(told, section(not_after="2040-01-01")) == Span(START, None)
    assert log_span(told, section(not_before="1970-01-01")) == Span(None, START + 6)


def test_rows_beyond_are_rejected_and_named_with_the_setting() -> None:
    told = groups(SIX_DAYS | {FAR: 1})
    found = log_span(told, section())
    cleaned = within(told, found)
    assert [(g.day, g.reasons) for g in cleaned if g.reasons] == [(FAR, (REASON,))]
    summary = said(cleaned, found)
    assert summary["times"] == "2024-03-01 00:00:00 to 2024-03-06 01:00:00"
    assert summary.keys() == {"times", "after the log"}
    assert "1 row, 2037-04-09" in summary["after the log"]
    assert "cleaning.not_after, which is now '2024-03-08'" in summary["after the log"]


def strange(rows: int, day: int = AFTER) -> Group:
    year = 31_556_952_000_000 * (54_179 if day == AFTER else -60)
    return Group("log", (REASON,), day, rows, rows, 0, year, year)


def test_many_implausible_times_are_refused_and_a_few_are_rejected() -> None:
    few = [*groups(SIX_DAYS), strange(1), strange(2, BEFORE)]
    check_times(few, section(), {})
    assert "3 rows, 1910" in said(few, log_span(few, section()))["implausible times"]
    with pytest.raises(SourceError) as error:
        check_times([*groups(SIX_DAYS), strange(60)], section(), {})
    assert "60 of 546 times" in error.value.what
    assert "timestamp_seconds" in error.value.got
    assert "the year 56149" in error.value.got
    assert "not_after" in error.value.fix


@pytest.mark.parametrize("factor", [10**3, 10**6])
def test_times_that_are_too_small_by_a_unit_are_refused(factor: int) -> None:
    micros = [(START + d) * DAY // factor for d in range(6)]
    told = [Group("log", (), m // DAY, 81, 81, 0, m, m) for m in micros]
    with pytest.raises(SourceError) as error:
        check_times(told, section(), {})
    assert "1970" in error.value.got
    check_times(told, section(not_before="1970-01-01"), {})
    # Seconds since the log began are not mistaken for them.
    check_times(groups(dict.fromkeys(range(30), 81)), section(), {})


@pytest.mark.parametrize("share", [0.01, 0.08, 0.3])
@pytest.mark.parametrize("early", [0, 19])
def test_zeros_and_times_in_too_small_a_unit_are_no_beginning_of_a_log(
    share: float, early: int
) -> None:
    told = groups(SIX_DAYS | {early: round(486 * share / (1 - share)), FAR: 1})
    found = log_span(told, section())
    assert found == Span(START, START + 6)
    assert "1970-01" in said(within(told, found), found)["before the log"]
    few = {START: 20, START + 9: 3, early: 1}
    assert [span(few).holds(day) for day in few] == [True, True, False]
    if share < 0.1:
        check_times(told, section(), {})
        return
    with pytest.raises(SourceError, match="208 of 695 times are in January 1970") as error:
        check_times(told, section(), {})
    assert "not_before: '1971-01-01'" in error.value.fix
    check_times(told, section(not_before="1971-01-01"), {})


@pytest.mark.parametrize(
    "days",
    [
        dict.fromkeys(range(30), 81) | {START: 3},  # seconds since the log began; a wrong clock
        dict.fromkeys(range(0, START, 40), 5),  # half a century
    ],
)
def test_a_log_may_begin_in_1970(days: dict[int, int]) -> None:
    check_times(groups(days), section(), {})
    assert all(map(log_span(groups(days), section()).holds, list(days)[:30]))


def test_each_source_has_a_unit_of_its_own() -> None:
    sources = {n: {"path": f"{n}.csv", "format": "csv"} for n in ("log", "buys")}
    both = section(sources=sources)
    clicks, few = groups({START + d: 5000 for d in range(30)}), strange(300)
    for buys in ([replace(few, source="buys")], groups({19: 300}, "buys")):
        with pytest.raises(SourceError, match="300 times of the source 'buys'"):
            check_times([*clicks, *buys], both, {})
    check_times([*clicks, few], both, {})
    small = groups({START: 8}, "buys")
    check_times([*clicks, *small, replace(strange(2), source="buys")], both, {})


def test_a_source_that_ends_before_the_log_is_named_with_the_setting() -> None:
    clicks = groups({START + d: 5000 for d in range(30)}, "clicks")
    weekly = groups({START + 7 * d: 300 for d in range(5)}, "weekly")
    few = groups({START + d: 1 for d in range(9)}, "few")
    assert early_ends([*clicks, *weekly, *few]) == {}
    march, april = ({START + 30 * m + d: 500 for d in range(31)} for m in (0, 1))
    assert early_ends([*groups(march, "march"), *groups(april, "april")]) == {}
    buys = groups({START + d: 60 for d in range(20)}, "buys")
    late = replace(buys[0], day=START + 25, reasons=(REASON,))
    ended = early_ends([*clicks, *weekly, *buys, late])
    assert ended.keys() == {"buys"}
    assert "2024-03-20, and others 2024-03-30" in ended["buys"]
    assert "cleaning.not_after: '2024-03-21'" in ended["buys"]
    assert early_ends(buys) == {}
