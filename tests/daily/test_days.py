"""The days of a run: which part of the tables they change, and which are refused."""

import math
import re
from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from reweight.build_samples.history import History
from reweight.build_samples.history_table import lookback
from reweight.clean_logs.section import Cleaning
from reweight.config import RunConfig, read_config
from reweight.core.errors import ConfigError, RunError, SourceError
from reweight.daily.days import (
    Day,
    check_columns,
    check_days,
    check_settings,
    check_volume,
    literal,
    micros,
    reopened,
    usual_rows,
)
from reweight.daily.section import Daily, cleaning_of, row_rules, wrong_for_days

HOUR = 3600 * 10**6
FIRST = date(2026, 1, 5)
SECTION = Daily(first=FIRST, paths={"log": "raw/day={day}"})


def day(number: int, **values: Any) -> Day:
    """A day of January that ended at its last second."""
    when = date(2026, 1, number)
    given: dict[str, Any] = {
        "day": when,
        "status": "done",
        "changed": (when,),
        "raw": {"log": 100},
        "events": 90,
        "last": micros(when) + 24 * HOUR - 10**6,
        "columns": {"log": {"ts": "string", "price": "double"}},
    }
    return Day(**(given | values))


def known(*days: Day) -> dict[date, Day]:
    return {d.day: d for d in days}


def test_a_day_opens_what_its_label_window_reaches() -> None:
    before = known(day(5), day(6), day(7))
    since, end = reopened(day(8), before, window=6 * 3600, first=FIRST)
    assert since == micros(date(2026, 1, 8)) - 10**6 - 6 * HOUR
    assert end == day(8).last


def test_the_usual_rows_of_a_day_are_those_of_its_window_too() -> None:
    before = known(day(5), day(6, raw={"log": 300}), day(7, raw={"log": 200}))
    assert usual_rows(date(2026, 1, 8), before, window=2 * 86400) == 600
    assert usual_rows(FIRST, before, window=0) == math.inf


def test_a_late_event_opens_its_day_and_a_window_before_it() -> None:
    late = day(8, changed=(date(2026, 1, 6), date(2026, 1, 8)))
    since, _ = reopened(late, known(day(5), day(6), day(7)), window=3600, first=FIRST)
    assert since == micros(date(2026, 1, 6)) - HOUR


def test_a_day_that_comes_late_opens_all_after_it_and_moves_no_end() -> None:
    since, end = reopened(day(6), known(day(5), day(7)), window=0, first=FIRST)
    assert (since, end) == (micros(date(2026, 1, 6)), day(7).last)


def test_the_first_day_is_the_limit() -> None:
    assert reopened(day(5), {}, window=9 * 86400, first=FIRST)[0] == micros(FIRST)
    assert reopened(day(5), known(day(5)), window=0, first=FIRST) == (micros(FIRST), day(5).last)


def test_a_time_is_written_to_the_microsecond() -> None:
    time = micros(date(2026, 1, 5)) + 2 * HOUR + 3 * 60 * 10**6 + 4 * 10**6 + 5
    assert literal(time) == "TIMESTAMP '2026-01-05 02:03:04.000005+00:00'"


@pytest.mark.parametrize(
    ("grain", "windows", "begins"),
    [
        (3600, ("all",), date(2026, 1, 5)),
        (3600, (3600, "all"), date(2026, 1, 4)),
        (86400, (86400 * 7,), date(2025, 12, 29)),
        # 2026-01-01 begins a week of 7 days since 1970.
        (86400 * 7, ("all",), date(2026, 1, 1)),
    ],
)
def test_rows_by_grain_reach_as_far_back_as_windows_and_begin_with_a_grain(
    grain: int, windows: tuple[Any, ...], begins: date
) -> None:
    history = History(keys=("user",), counts={"n": "true"}, windows=windows, grain=grain)
    assert lookback(history, FIRST) == begins


def test_a_day_has_its_own_files_and_no_times_of_others() -> None:
    cleaning = Cleaning.model_validate(
        {
            "sources": {"log": {"path": "raw", "format": "parquet", "where": "a > 1"}},
            "columns": {"event_time": "ts"},
            "not_before": "2025-01-01",
        }
    )
    section = Daily(first=FIRST, paths={"log": "raw/day={day}"}, where={"log": "day = '{day}'"})
    found = cleaning_of(date(2026, 1, 31), cleaning, section)
    assert found.sources["log"].path == "raw/day=2026-01-31"
    assert found.sources["log"].where == "(a > 1) AND (day = '2026-01-31')"
    assert found.not_before == "2026-01-24 00:00:00+00:00"
    assert found.not_after == "2026-01-31 23:59:59.999999+00:00"
    assert (
        cleaning_of(date(2026, 1, 6), cleaning, section).not_before == "2026-01-05 00:00:00+00:00"
    )
    other = Daily(first=FIRST, paths={"log": "raw/{day:%Y/%m}/{a,b}_{day:%Y%m%d}.csv"})
    found = cleaning_of(date(2026, 1, 31), cleaning, other)
    assert found.sources["log"].path == "raw/2026/01/{a,b}_20260131.csv"


@pytest.mark.parametrize("path", ["raw", "raw/{day:%Y-%m}", "raw/{day:%m%d}", "raw/{day:%H}"])
def test_a_path_that_does_not_tell_the_day_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="in the place of the day"):
        Daily(first=FIRST, paths={"log": path})


def test_ten_times_the_rows_are_refused_unless_allowed() -> None:
    before = known(*(day(number) for number in (5, 6, 7)))
    check_volume(day(8, raw={"log": 1000}), before, SECTION)
    with pytest.raises(SourceError, match="far more rows") as caught:
        check_volume(day(8, raw={"log": 1001}), before, SECTION)
    assert "daily.largest=null" in caught.value.fix
    check_volume(day(8, raw={"log": 1001}), before, SECTION.model_copy(update={"largest": None}))
    # Two days do not say what is usual.
    check_volume(day(7, raw={"log": 1001}), known(day(5), day(6)), SECTION)


def test_a_day_without_events_is_refused() -> None:
    with pytest.raises(SourceError, match="2026-01-08 has no events"):
        check_volume(day(8, events=0), known(day(7)), SECTION)


def test_columns_that_changed_overnight_are_named() -> None:
    now = day(8, columns={"log": {"ts": "string", "price_eur": "double"}})
    with pytest.raises(SourceError, match="between 2026-01-07 and 2026-01-08") as caught:
        check_columns(now, known(day(7)), SECTION)
    assert (caught.value.expected, caught.value.got) == ("price: double", "price_eur: double")
    check_columns(day(8), known(day(7)), SECTION)


def test_a_column_that_loses_all_its_values_is_named() -> None:
    now = day(8, empty=("coupon", "price"))
    before = known(day(6), day(7, empty=("coupon",)))
    with pytest.raises(SourceError, match=r"\['price'\] have no value on 2026-01-08") as caught:
        check_columns(now, before, SECTION)
    assert "daily: {may_be_empty: [price]}" in caught.value.fix
    check_columns(now, before, SECTION.model_copy(update={"may_be_empty": ("price",)}))


def test_days_that_cannot_be_taken_are_refused_before_any_work() -> None:
    with pytest.raises(RunError, match="no day is given"):
        check_days((), SECTION, {})
    with pytest.raises(RunError, match="2026-01-04 is before"):
        check_days((date(2026, 1, 4), FIRST), SECTION, {})
    begun = known(day(6, status="running"))
    with pytest.raises(RunError, match="2026-01-06 was begun and not finished") as caught:
        check_days((date(2026, 1, 7),), SECTION, begun)
    assert "--day 2026-01-06" in caught.value.fix
    check_days((date(2026, 1, 6), date(2026, 1, 7)), SECTION, begun)


def test_the_days_of_a_call() -> None:
    section = SECTION.model_copy(update={"begin": date(2026, 1, 31), "end": date(2026, 2, 2)})
    assert [d.day for d in section.days] == [31, 1, 2]
    assert SECTION.model_copy(update={"day": FIRST}).days == (FIRST,)
    for wrong in ({"begin": FIRST}, {"day": FIRST, "begin": FIRST, "end": FIRST}):
        with pytest.raises(ValidationError, match="--from and --to"):
            Daily.model_validate({"first": FIRST} | wrong)
    with pytest.raises(ValidationError, match="earlier day first"):
        Daily(first=FIRST, begin=date(2026, 1, 9), end=date(2026, 1, 8))


CONF = "conf/daily_demo.yaml"


# The config of the demo, with a lookup.
LOOKUP = "cleaning.lookups.items={source: {table: items}, keys: {item_id: id}, columns: "


def rules(*overrides: str) -> dict[str, str]:
    """What a config says about rows."""
    config = read_config(RunConfig, CONF, (f"{LOOKUP}{{brand: brand}}}}", *overrides))
    assert config.daily
    found = row_rules(config.cleaning, config.daily)
    return {name: str(value) for name, value in found.items()}


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("cleaning.columns.price=try_cast(price AS double) * 100", "cleaning.columns.price"),
        ("cleaning.columns.half=price / 2", "cleaning.columns"),
        ("cleaning.sources.log.where=ts IS NOT NULL", "cleaning.sources"),
        ("cleaning.sources.log.columns={price: '1.0D'}", "cleaning.sources"),
        ("cleaning.reject={bad: item_id = 'x'}", "cleaning.reject"),
        ("cleaning.required=[price]", "cleaning.required"),
        ("cleaning.allowed.event_type=[click]", "cleaning.allowed"),
        ("cleaning.ranges.price=[0, 1]", "cleaning.ranges"),
        ("cleaning.duplicates={keys: [event_id], prefer: price}", "cleaning.duplicates"),
        ("cleaning.not_before='2026-01-22'", "cleaning.not_before"),
        ("cleaning.not_after='2026-02-22'", "cleaning.not_after"),
        (f"{LOOKUP}{{brand: lower(brand)}}}}", "cleaning.lookups"),
        ("daily.where={log: \"ts > '{day}'\"}", "daily.where"),
        ("daily.reopen=8", "daily.reopen"),
    ],
)
def test_what_decides_about_rows_cannot_change_between_days(override: str, changed: str) -> None:
    with pytest.raises(RunError, match=f"^{changed} changed since the first day of run 'daily'"):
        check_settings(rules(override), rules(), "daily")


def test_where_files_lie_how_many_may_be_bad_and_what_was_not_noted_may_change() -> None:
    check_settings(rules("cleaning.sources.log.path=elsewhere"), rules(), "daily")
    items = "cleaning.lookups.items.source={table: null, format: csv, path: "
    check_settings(rules(f"{items}b.csv}}"), rules(f"{items}a.csv}}"), "daily")
    check_settings(rules("daily.paths={log: 'elsewhere/{day}'}"), rules(), "daily")
    check_settings(rules("cleaning.max_rejected=0.9", "daily.largest=null"), rules(), "daily")
    of_earlier_version = {"cleaning.columns": rules()["cleaning.columns"]}
    check_settings(rules(), of_earlier_version, "daily")


def test_which_days_a_call_takes_is_no_setting_of_the_run() -> None:
    days = ("daily.begin='2026-01-21'", "daily.end='2026-01-22'")
    one, other = read_config(RunConfig, CONF).hash(), read_config(RunConfig, CONF, days).hash()
    assert one == other != read_config(RunConfig, CONF, ("daily.largest=5",)).hash()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model_run_id=null", "model_run_id: days are scored"),
        (
            "cleaning.sources.second={path: raw, format: parquet}",
            r"the sources \['second'\] a day delivers; write daily.paths: \{second: raw/day=",
        ),
        ("daily.paths={other: 'raw/{day}'}", "expected sources out of"),
        ("sampling.label.window=null", "write window: 7 days"),
        ("splits={cuts: null, shares: [0.5, 0.3, 0.2]}", "splits.cuts: cuts by shares"),
        ("splits.cuts=['2026-01-25', '2026-01-27']", "at or before daily.first"),
        ("splits={by: group, cuts: null, open_windows: gap}", "splits.target_where"),
        (
            "features.sequence={keys: [user_id], fields: {item: {value: item_id, buckets: 8}}}",
            "features.sequence: the last events",
        ),
    ],
)
def test_what_days_cannot_be_made_with_is_refused_in_the_config(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_config(RunConfig, CONF, (override,))
    assert read_config(RunConfig, CONF).daily is not None


@pytest.mark.parametrize(
    ("form", "where", "said"),
    [
        ("csv", {}, [r"write daily.paths: \{log: raw/day=\{day\}\}$"]),
        ("delta", {}, [r"write daily.paths: \{log: raw/day=\{day\}\}, or daily.where: \{log: "]),
        (
            "json",
            {"log": "day = '{day}'"},
            [r"\['log'\] are files of text.*daily.paths: \{log: raw"],
        ),
        ("parquet", {"log": "day = '{day}'"}, []),
    ],
)
def test_a_condition_does_not_say_of_which_day_a_malformed_line_is(
    form: str, where: dict[str, str], said: list[str]
) -> None:
    config = read_config(RunConfig, CONF)
    source = {"path": "raw", "format": form} | ({"schema": "day string"} if form == "json" else {})
    columns = {"event_time": "ts"}
    cleaning = Cleaning.model_validate({"sources": {"log": source}, "columns": columns})
    section = Daily(first=date(2026, 1, 21), where=where)
    others = (config.sampling, config.splits, config.features)
    found = [*wrong_for_days(section, "reference", cleaning, *others)]
    assert len(found) == len(said)
    assert all(re.search(pattern, text) for pattern, text in zip(said, found, strict=True))
